"""User agents on a wire that loses datagrams: they repeat what RFC 3261 §17 and §13.3.1.4 and RFC 3262 §3 have them repeat."""

from __future__ import annotations

import asyncio

from pcscf.sip.message import Request, Response
from pcscf.sip.parse import parse_datagram_untrusted
from tests.support.flowbed import Bed, Message, Peer

T1 = 0.5
T2 = 4.0


class Diligent(Peer):
    """A far end that repeats its requests and answers until they are answered, and answers again what comes again."""

    def __init__(self, *what: object) -> None:
        super().__init__(*what)  # type: ignore[arg-type]
        self._repeating: set[tuple[object, ...]] = set()
        self._answers: dict[tuple[str, str], bytes] = {}              # by branch and method of the request
        self._acks: dict[tuple[str, int, str], bytes] = {}            # by Call-ID, CSeq and To-tag of the 2xx
        self._heard: set[bytes] = set()
        self._acknowledged: set[tuple[str, int, str]] = set()

    def send(self, message: Message | str | bytes) -> None:
        super().send(message)
        data = self.sent[-1]
        sent = parse_datagram_untrusted(data)
        if isinstance(sent, Response):
            self._answers[sent.top_via.branch or "", sent.cseq[1]] = data
            if sent.cseq[1] == "INVITE" and (sent.status >= 200 or sent.get("RSeq")):
                self._repeat(self._awaited(sent), data)
        elif sent.method == "ACK":
            self._acks[sent.call_id, sent.cseq[0], sent.to_tag] = data
        elif self.flow.transport == "udp":
            self._repeat(("request", sent.top_via.branch, sent.method), data)

    def receive(self, data: bytes) -> None:
        got = parse_datagram_untrusted(data)
        is_repeated, _ = data in self._heard, self._heard.add(data)
        if isinstance(got, Response):
            self._repeating.discard(("request", got.top_via.branch, got.cseq[1]))
            again = self._acks.get((got.call_id, got.cseq[0], got.to_tag)) if 200 <= got.status < 300 else None
        else:
            again = self._answers.get((got.top_via.branch or "", got.method))
            self._repeating.discard(("2xx", got.call_id, got.cseq[0], got.to_tag) if got.method == "ACK" else ())
            self._repeating.discard(("refusal", got.top_via.branch) if got.method == "ACK" else ())
            self._repeating.discard(("reliable", got.call_id, got.to_tag, (got.get("RAck") or "").partition(" ")[0]))
            if got.method == "ACK" and self._has_acknowledged(got):
                return
        if is_repeated and again is not None:
            self._carry(again)
        super().receive(data)

    def _has_acknowledged(self, ack: Request) -> bool:
        """Each copy of an ACK to a 2xx takes a way of its own; the first one counts."""
        key = ack.call_id, ack.cseq[0], ack.to_tag
        known = key in self._acknowledged
        self._acknowledged.add(key)
        return known

    @staticmethod
    def _awaited(sent: Response) -> tuple[object, ...]:
        """What ends the repetition of a response to INVITE: ACK end to end, ACK hop by hop, or PRACK."""
        if sent.status < 200:
            return "reliable", sent.call_id, sent.to_tag, sent.get("RSeq")
        if sent.status < 300:
            return "2xx", sent.call_id, sent.cseq[0], sent.to_tag
        return "refusal", sent.top_via.branch

    def _repeat(self, key: tuple[object, ...], data: bytes) -> None:
        self._repeating.add(key)
        self._later(key, data, T1, 64 * T1)

    def _later(self, key: tuple[object, ...], data: bytes, after: float, left: float) -> None:
        def fire() -> None:
            if key in self._repeating and left > 0:
                self._carry(data)
                self._later(key, data, min(2 * after, T2), left - after)

        asyncio.get_running_loop().call_later(after, fire)

    def _carry(self, data: bytes) -> None:
        self.bed.net.carry(self.name, data, lambda: self.bed.net.arrive(data, self.flow))


def lose_every_first_datagram(bed: Bed) -> list[bytes]:
    """SIP over UDP and Iq lose every datagram once, and get every repetition twice. What was lost, as it happens."""
    lost: list[bytes] = []
    seen: set[tuple[object, bytes]] = set()

    def lose(sender: str, data: bytes) -> bool:
        vias = [line for line in data.splitlines() if line.lower().startswith(b"via:")]
        rest = b"\n".join(line for line in data.splitlines() if line not in vias)   # each ACK to a 2xx has a branch of its own
        if b"/UDP" not in vias[0] or (sender, rest) in seen:
            return False
        seen.add((sender, rest))
        lost.append(data)
        return True

    def copies(sender: object, _receiver: object, data: bytes) -> int:
        if (sender, data) in seen:
            return 2
        seen.add((sender, data))
        lost.append(data)
        return 0

    loop = asyncio.get_running_loop()
    bed.net.lose = lose
    loop.copies = copies  # type: ignore[attr-defined]
    return lost
