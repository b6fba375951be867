"""Calls as text: one message per line, from who says it to who must hear it.

    caller: INVITE                  a request or response, and the other end must get it
    callee: 183 reliable (offer)    with a description: one of the sender's own, or of the story's
    caller: PRACK (answer)
    callee: 200 INVITE              a response to the last request of this method; left out, to the last request of any
    callee: 200 {X-Field: value}    with header fields
    caller: INVITE (offer) !        it gets no further than the P-CSCF
    pcscf: 491 caller               the P-CSCF says it, of its own accord
    pcscf: BYE callee               BYE and CANCEL are answered as they should be

What comes to the core must never show a certificate or a wish for protection, whichever message carries it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pcscf.lab.call import Dialog
from pcscf.sip.message import Message, Request, Response, response_to
from tests.support.audit import run
from tests.support.ends import End
from tests.support.plays import Play

_RUNG = re.compile(
    r"(?P<who>caller|callee|pcscf): (?P<what>[A-Z]+|\d{3})(?: (?P<of>[A-Z]+))?(?P<reliable> reliable)?(?: (?P<to>caller|callee))?"
    r"(?: \((?P<body>[^)]+)\))?(?: \{(?P<fields>[^}]*)\})?(?P<stays> !)?")

Body = str | Callable[[End], str]

BEGINS = "caller: INVITE (offer)\ncallee: 200 (answer)\ncaller: ACK\n"
"""A session in three messages, with the ends' own descriptions."""
ENDS = "caller: BYE\ncallee: 200\n"


class Rung(NamedTuple):
    who: str
    what: str
    of: str | None
    reliable: str | None
    to: str | None
    body: str | None
    fields: str | None
    stays: str | None


def climbs(bodies: Mapping[str, Body], place: str, *texts: str, **settings: object) -> None:
    """A whole call, told as text. `settings` are those of the bed."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, bodies)
        for text in texts:
            await ladder.climb(text)

    run(story, place, **settings)


class Ladder:
    """The messages of one call.

    heard    the last message that each end got, by end and by what it was
    dialogs  as each end knows them, by end and the tag of the callee
    """

    shows_certificates = False   # whether the core may see one

    def __init__(self, play: Play, bodies: Mapping[str, Body] | None = None) -> None:
        self.play = play
        self.bodies = dict(bodies or {})
        self.heard: dict[tuple[str, str], Message] = {}
        self.last: Message | None = None
        self.tag = ""                                    # of the callee; a story changes it to answer as another one
        self.dialogs: dict[tuple[str, str], Dialog] = {}
        self._asked: dict[tuple[str, str], Request] = {}    # (end, method) -> the request it got last
        self._latest: dict[str, Request] = {}
        self._sent: dict[tuple[str, str], Request] = {}     # (end, method) -> the request it sent last
        self._rseq = itertools.count(1)

    def end(self, name: str) -> End:
        return self.play.caller if name == "caller" else self.play.callee

    async def climb(self, text: str) -> None:
        for line in filter(None, (each.partition("#")[0].strip() for each in text.splitlines())):
            match = _RUNG.fullmatch(line)
            assert match is not None, f"not a rung: {line}"
            rung = Rung(**match.groupdict())
            if rung.who == "pcscf":
                await self._pcscf(rung)
            elif rung.what.isdigit():
                await self._respond(rung)
            else:
                await self._request(rung)

    def description(self, who: str, what: str) -> str:
        """What `who` got last of this kind, as text."""
        return self.heard[who, what].body.decode()

    async def _request(self, rung: Rung) -> None:
        end, other = self.end(rung.who), "callee" if rung.who == "caller" else "caller"
        request = self._build(rung, end)
        self._fill(request, rung, end)
        end.send(request)
        self._sent[rung.who, rung.what] = request
        if rung.stays is None:
            got = await self.end(other).expect(rung.what)
            assert isinstance(got, Request)
            self._asked[other, rung.what] = self._latest[other] = got
            if rung.what == "INVITE":
                self.play.got = got
            self._keep(other, rung.what, got)

    def _build(self, rung: Rung, end: End) -> Request:
        dialog = self.dialogs.get((rung.who, self.tag))
        if dialog is None:
            assert rung.what == "INVITE", f"no dialog for {rung.what}"
            self.play.sent = request = end.opening(self.play.target, self.play.routes)
            return request
        request = dialog.request(rung.what)
        if rung.what in {"INVITE", "UPDATE"}:
            request.add("Contact", end.contact)
        if rung.what == "ACK":
            request.set("CSeq", f"{self._sent[rung.who, 'INVITE'].cseq[0]} ACK")
        if rung.what == "PRACK":
            reliable = self.heard[rung.who, "reliable"]
            request.add("RAck", f"{reliable.get('RSeq')} {reliable.cseq[0]} INVITE")
        return request

    async def _respond(self, rung: Rung) -> None:
        end, other = self.end(rung.who), "callee" if rung.who == "caller" else "caller"
        request = self._asked[rung.who, rung.of] if rung.of else self._latest[rung.who]
        status, tag = int(rung.what), self.tag or end.user
        response = response_to(request, status, to_tag=tag)
        if status < 300:
            response.copy_lines(request, "Record-Route")
            response.add("Contact", end.contact)
        if rung.reliable:
            response.add("Require", "100rel")
            response.add("RSeq", str(next(self._rseq)))
        self._fill(response, rung, end)
        end.peer.send(response)
        if request.method == "INVITE" and not request.to_tag and status < 300:
            self.dialogs.setdefault((rung.who, self.tag), Dialog.of_callee(request, tag))
        if rung.stays is not None:
            return
        got = await self._final(other, status, request.method)
        if request.method == "INVITE" and status >= 300:
            await end.expect("ACK")
        elif request.method == "INVITE" and (other, self.tag) not in self.dialogs and isinstance(got, Response):
            self.dialogs[other, self.tag] = Dialog.of_caller(self._sent[other, "INVITE"], got)

    async def _final(self, who: str, status: int, method: str) -> Message:
        end, sent = self.end(who), self._sent[who, method]
        if method == "INVITE" and status >= 300:
            got: Message = await end.refused(sent, status)
        else:
            got = await end.expect(status)
            assert got.cseq == sent.cseq, f"{status} of {got.cseq}, not of {sent.cseq}"
        self._keep(who, str(status), got)
        if got.get("RSeq"):
            self.heard[who, "reliable"] = got
        return got

    async def _pcscf(self, rung: Rung) -> None:
        who = rung.to or ""
        end = self.end(who)
        if rung.what == "BYE":
            self._keep(who, "BYE", await end.answer_bye())
        elif rung.what == "CANCEL":
            end.reply(await end.expect("CANCEL"), 200)
            end.reply(self._asked[who, "INVITE"], 487, tag=self.tag)
            await end.expect("ACK")
        elif rung.what.isdigit():
            await self._final(who, int(rung.what), rung.of or "INVITE")
        else:
            self._keep(who, rung.what, await end.expect(rung.what))

    def _fill(self, message: Message, rung: Rung, end: End) -> None:
        for field in filter(None, (rung.fields or "").split(" | ")):
            name, _, value = field.partition(": ")
            message.add(name, value)
        if rung.body is None:
            return
        body = self.bodies.get(rung.body) or {"offer": end.offer, "answer": end.answer}[rung.body]
        text = body if isinstance(body, str) else body(end)
        message.set_body(text.encode(), message.get("Content-Type") or "application/sdp")

    def _keep(self, who: str, what: str, message: Message) -> None:
        self.heard[who, what] = self.last = message
        if self.end(who).peer is self.play.bed.core:
            shown = message.body.decode().lower()
            assert "3ge2ae:" not in shown, shown
            assert self.shows_certificates or "fingerprint" not in shown, shown
