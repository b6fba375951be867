"""What the transaction layer counts since its start: plain integers, added to where something happens."""

from __future__ import annotations

from typing import Final

METHODS: Final = (
    "REGISTER", "INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "OPTIONS", "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER",
    "PUBLISH",
)
OTHER: Final = "other"
"""Any other method: who writes it does not make us count under a new name."""


class SipCounts:
    """
    requests_received, requests_sent    by method, each request once
    responses_received, responses_sent  by the first digit of the status; those received with their repetitions
    repeats_received                    requests that came again
    repeats_sent                        requests and responses that went out again, by a timer or because a request came again
    timed_out        requests of ours without final response, INVITEs that rang for too long included
    unacknowledged   failures of an INVITE that nobody acknowledged
    unreachable      requests of ours whose transport failed
    undeliverable    transactions of others whose way back failed
    stray            responses to no request of ours
    malformed        messages that could not be read
    """

    __slots__ = (
        "malformed", "repeats_received", "repeats_sent", "requests_received", "requests_sent", "responses_received",
        "responses_sent", "stray", "timed_out", "unacknowledged", "undeliverable", "unreachable",
    )

    def __init__(self) -> None:
        self.requests_received = dict.fromkeys((*METHODS, OTHER), 0)
        self.requests_sent = dict.fromkeys((*METHODS, OTHER), 0)
        self.responses_received = [0] * 7
        self.responses_sent = [0] * 7
        self.repeats_received = self.repeats_sent = 0
        self.timed_out = self.unacknowledged = self.unreachable = self.undeliverable = self.stray = self.malformed = 0

    def failures(self) -> dict[str, int]:
        """What went wrong, by name."""
        return {
            "timed-out": self.timed_out, "unacknowledged": self.unacknowledged, "unreachable": self.unreachable,
            "undeliverable": self.undeliverable, "stray-response": self.stray, "malformed": self.malformed,
        }
