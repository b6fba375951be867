"""What a person needs to try the product: a UE, a SIP core and a party behind it, with endpoints of their own.

Nothing here shares code with the gateway: the far ends judge the product, so they must not repeat its mistakes.
"""
