"""Offer and answer: who opens the TCP connection (RFC 4145 §4)."""

from __future__ import annotations

# offered setup -> legal answers (RFC 4145 §4.1)
SETUP_ANSWERS = {
    "active": frozenset({"passive", "holdconn"}),
    "passive": frozenset({"active", "holdconn"}),
    "actpass": frozenset({"active", "passive", "holdconn"}),
    "holdconn": frozenset({"holdconn"}),
}
# offered setup -> what an answer without the attribute means: the complement, to actpass the default (RFC 4145 §4.1)
SETUP_COMPLEMENT = {"active": "passive", "passive": "active", "actpass": "passive", "holdconn": "holdconn"}
# offered setup -> the answer that lets the offerer open wherever that is legal
PASSIVE_ANSWER = SETUP_COMPLEMENT
# what one side is when the other is ...
OPPOSITE = {"active": "passive", "passive": "active", "holdconn": "holdconn"}

DISCARD_PORT = 9  # written by the side that opens, which has no port to connect to (RFC 4145 §4.1)
