"""User agents of stories, with the same few verbs wherever they stand: behind the P-CSCF or in the core."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from pcscf.lab.call import Dialog
from pcscf.procedures.binding import Binding
from pcscf.sip.headers import parse_name_addr, parse_via
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import parse_datagram_untrusted
from tests.support.flowbed import CORE, REGISTRAR, Bed, Message, Peer

DOMAIN = "ims.example"
CORE_URI = f"<sip:{REGISTRAR[0]}:{REGISTRAR[1]};lr>"


class End:
    """A user agent that does what a story says. `offer` and `answer`: its session descriptions."""

    def __init__(self, bed: Bed, peer: Peer, user: str, offer: str, answer: str) -> None:
        self.bed = bed
        self.peer = peer
        self.user = user
        self.uri = f"sip:{user}@{DOMAIN}"
        self.offer = offer
        self.answer = answer
        self.routes: list[str] = []   # of requests outside a dialog
        self.host = peer.flow.remote[0]   # where it believes to be: a NAT may know better
        self._announced: list[str] = []
        self._numbers = itertools.count(1)

    @property
    def contact(self) -> str:
        host, port = _bracketed(self.host), self.peer.flow.remote[1]
        transport = "" if self.peer.flow.transport == "udp" else f";transport={self.peer.flow.transport}"
        return f"<sip:{self.user}@{host}:{port}{transport}>"

    async def expect(self, wanted: str | int, within: float = 300.0) -> Message:
        return await self.peer.expect(wanted, within)

    def send(self, request: Request) -> Request:
        """Put our Via on `request` and send it."""
        host, port = _bracketed(self.host), self.peer.flow.remote[1]
        branch = f"z9hG4bK{self.user}{next(self._numbers)}"
        request.prepend("Via", f"SIP/2.0/{self.peer.flow.transport.upper()} {host}:{port};branch={branch};rport")
        self.peer.send(request)
        return request

    # registration, of ends behind the P-CSCF

    async def register(self, *, expires: int = 600) -> None:
        request = Request("REGISTER", f"sip:{DOMAIN}", [
            ("Max-Forwards", "70"), ("From", f"<{self.uri}>;tag=reg"), ("To", f"<{self.uri}>"), ("Call-ID", f"reg-{self.user}"),
            ("CSeq", f"{next(self._numbers)} REGISTER"), ("Contact", f"{self.contact};expires={expires}"),
            *self._security(),
            *(("Security-Verify", entry) for entry in self._announced), ("Content-Length", "0"),
        ])
        self.send(request)
        asked = await self.bed.core.expect("REGISTER")
        granted = response_to(asked, 200, to_tag="core")
        granted.add("Contact", f"{self.contact};expires={expires}")
        granted.add("Service-Route", CORE_URI)
        granted.add("P-Associated-URI", f"<{self.uri}>")
        self.bed.core.send(granted)
        answer = await self.peer.expect(200)
        self.routes, self._announced = answer.values("Service-Route"), answer.get_all("Security-Server")

    def _security(self) -> list[tuple[str, str]]:
        """The mechanisms that the bed knows, if any (RFC 3329 §2.3.1)."""
        listed = ", ".join(f"{each};mediasec" for each in self.bed.mechanisms)
        return [("Security-Client", listed), ("Require", "mediasec"), ("Proxy-Require", "mediasec")] if listed else []

    # calling

    def opening(self, target: str, routes: Iterable[str]) -> Request:
        """An INVITE outside a dialog, without an offer."""
        return Request("INVITE", target, [
            ("Max-Forwards", "70"), *(("Route", route) for route in routes), ("From", f"<{self.uri}>;tag={self.user}"),
            ("To", f"<{target}>"), ("Call-ID", f"call-of-{self.user}"), ("CSeq", f"{next(self._numbers)} INVITE"),
            ("Contact", self.contact), ("Content-Length", "0"),
        ])

    def invite(self, target: str, routes: Iterable[str]) -> Request:
        request = self.opening(target, routes)
        request.set_body(self.offer.encode(), "application/sdp")
        return self.send(request)

    def cancel(self, invite: Request) -> None:
        request = self._beside(invite, "CANCEL")
        request.copy_lines(invite, "To")
        self.peer.send(request)

    async def refused(self, invite: Request, status: int, within: float = 300.0) -> Response:
        """Wait for this failure of our INVITE, and acknowledge it."""
        response = await self.peer.expect(status, within)
        assert response.cseq == invite.cseq
        ack = self._beside(invite, "ACK")
        ack.set("To", response.get("To") or "")
        self.peer.send(ack)
        return response

    def acknowledge(self, invite: Request, answer: Response) -> Dialog:
        dialog = Dialog.of_caller(invite, answer)
        self.send(dialog.request("ACK"))
        return dialog

    def _beside(self, invite: Request, method: str) -> Request:
        """A request of the INVITE's own transaction."""
        request = Request(method, invite.uri, [("Via", invite.get("Via") or ""), ("Max-Forwards", "70")])
        request.copy_lines(invite, "Route", "From", "Call-ID")
        request.add("CSeq", f"{invite.cseq[0]} {method}")
        request.add("Content-Length", "0")
        return request

    # being called

    def reply(self, request: Request, status: int, *, tag: str = "", body: str = "") -> None:
        response = response_to(request, status, to_tag=tag or self.user)
        if status < 300 and request.method == "INVITE":
            response.copy_lines(request, "Record-Route")
            response.add("Contact", self.contact)
        if body:
            response.set_body(body.encode(), "application/sdp")
        self.peer.send(response)

    def accept(self, invite: Request, *, tag: str = "", body: str = "") -> Dialog:
        self.reply(invite, 200, tag=tag, body=body or self.answer)
        return Dialog.of_callee(invite, tag or self.user)

    async def answer_bye(self) -> Request:
        bye = await self.peer.expect("BYE")
        self.reply(bye, 200)
        return bye

    # within a dialog

    def say(self, dialog: Dialog, method: str) -> Request:
        return self.send(dialog.request(method))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class ProxyCore(Peer):
    """A core between two half-calls: stateless; a registered user is found along the Path. REGISTER is left to the story."""

    def receive(self, data: bytes) -> None:
        message = parse_datagram_untrusted(data)
        if isinstance(message, Response):
            message.remove_first_value("Via")
            self.send(message)
        elif message.method == "REGISTER":
            super().receive(data)
        else:
            self.seen.append(message)
            self.send(self._onward(message))

    def _onward(self, request: Request) -> Request:
        onward = request.copy()
        while (routes := onward.values("Route")) and parse_name_addr(routes[0]).uri_parsed.host == REGISTRAR[0]:
            onward.remove_first_value("Route")
        if not onward.values("Route") and onward.uri_parsed.host == DOMAIN:
            binding = next(each for each in self.bed.store.bindings() if each.address_of_record == onward.uri)
            onward.uri = binding.contact
            onward.add("Route", path_of(binding))
        if onward.method == "INVITE" and not onward.to_tag:
            onward.prepend("Record-Route", CORE_URI)
        branch = f"z9hG4bKcore{parse_via(request.values('Via')[0]).branch}"   # the same for CANCEL, as it came with the same
        onward.prepend("Via", f"SIP/2.0/UDP {REGISTRAR[0]}:{REGISTRAR[1]};branch={branch};rport")
        return onward


def path_of(binding: Binding) -> str:
    """The Path that the registrar keeps for a binding."""
    return f"<sip:{binding.token}@{CORE[0]}:{CORE[1]};lr>"


def left_open(peer: Peer) -> Iterator[str]:
    """What an end was left with that nobody brought to an end: an INVITE without final response, a dialog without BYE.

    An end that was rung and said nothing at all is left alone, for nothing can be said to it (RFC 3261 §9.1).
    """
    sent = [parse_datagram_untrusted(data) for data in peer.sent]
    requests = [each for each in sent if isinstance(each, Request)]
    responses = [each for each in sent if isinstance(each, Response)]
    heard = [each for each in peer.seen if isinstance(each, Request)]
    finals = [each for each in peer.seen if isinstance(each, Response) and each.status >= 200]
    for invite in requests:
        if invite.method == "INVITE" and not any(_answers(final, invite) for final in finals):
            yield f"its INVITE {invite.call_id} has no final response"
    for invite in heard:
        mine = [each for each in responses if _answers(each, invite)]
        refused = any(each.status >= 300 for each in mine)
        if invite.method == "INVITE" and mine and not any(each.status >= 200 for each in mine) and not any(
                each.method == "CANCEL" and each.call_id == invite.call_id for each in heard):
            yield f"it still rings for {invite.call_id}"
        if invite.method == "INVITE" and refused and not any(
                each.method == "ACK" and each.call_id == invite.call_id for each in heard):
            yield f"its refusal of {invite.call_id} was not acknowledged"
    for answer in [*finals, *responses]:
        if answer.cseq[1] == "INVITE" and 200 <= answer.status < 300:
            byes = [each for each in (*requests, *heard) if each.method == "BYE" and _same_dialog(each, answer)]
            challenged = {final.cseq for final in finals if final.status in {401, 407}}
            if all(bye.cseq in challenged for bye in byes):   # else it has left, whatever it is answered (RFC 3261 §15.1.1)
                yield f"its dialog {answer.call_id} with {answer.to_tag} goes on"


def _answers(response: Response, request: Request) -> bool:
    return (response.call_id, response.cseq, response.from_tag) == (request.call_id, request.cseq, request.from_tag)


def _same_dialog(bye: Request, answer: Response) -> bool:
    return bye.call_id == answer.call_id and {bye.from_tag, bye.to_tag} == {answer.from_tag, answer.to_tag}
