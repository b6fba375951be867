"""What a person needs to try the product: a UE, a SIP core and an MSRP party, with endpoints of their own.

Nothing here shares code with the gateway: the far ends judge the product, so they must not repeat its mistakes.
"""
