"""Offer and answer: which line answers which (RFC 3264 §6), and who opens the TCP connection (RFC 4145 §4)."""

from __future__ import annotations

from pcscf.sdp.lines import MediaSection, Sdp

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


def pair(offer: Sdp, answer: Sdp) -> list[MediaSection | None]:
    """For each m-line of the offer the section that answers it; None where the answer is too short."""
    sections: list[MediaSection | None] = list(answer.media[: len(offer.media)])
    return sections + [None] * (len(offer.media) - len(sections))
