"""What UE and party share: calling, being called, ending calls."""

from __future__ import annotations

import asyncio
import itertools
import secrets

from pcscf.errors import PcscfError, SipError
from pcscf.lab.agent import Agent, ClientTransaction, NoResponseError, token
from pcscf.lab.call import MAX_FORWARDS, Call, Dialog, Habits, Manners, new_call_id
from pcscf.lab.media_kinds import medium_of
from pcscf.lab.medium import End, MediaFailedError, MediaLine
from pcscf.lab.net import Link
from pcscf.lab.tap import Tap
from pcscf.sip.headers import NameAddr
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.uri import Uri

ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"
SDP_TYPE = "application/sdp"


class CallRefusedError(PcscfError):
    """An INVITE ended with `status` other than 2xx; `warning` is the Warning, if any."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.reason}".strip())
        self.status = response.status
        self.warning = response.get("Warning") or ""
        self.call_id = response.call_id


class Witness:
    """Sees what becomes of calls that come in. This one looks away; override what matters."""

    def answered(self, call: Call) -> None:
        """We said 200."""

    def connected(self, call: Call) -> None:
        """The media session stands."""

    def received(self, call: Call, text: str) -> None:
        """A text came."""

    def ended(self, call: Call) -> None:
        """It is over, whoever ended it."""


class UserAgent(Agent):
    """A user agent for calls with one medium: MSRP, BFCP or T.38.

    uri       its address of record
    host      the IP address of its media
    manners   how it treats calls that come in; None answers them and leaves the rest to whoever holds the call
    received  every text that came in such calls, in order; `ended`: those that are over
    """

    def __init__(
        self, uri: str, host: str, habits: Habits, tap: Tap, *, manners: Manners | None = None, witness: Witness | None = None,
    ) -> None:
        super().__init__(tap)
        self.uri = uri
        self.host = host
        self.habits = habits
        self.manners = manners
        self.received: list[str] = []
        self.ended: list[Call] = []
        self._witness = witness or Witness()
        self.calls: dict[tuple[str, str], Call] = {}      # by Call-ID and our tag
        self._ringing: dict[tuple[str, int], asyncio.Task[Call | None]] = {}   # by Call-ID and CSeq number

    # what subclasses know

    async def link_to(self, next_hop: Uri) -> Link:
        """How requests towards `next_hop` leave. Raises UnreachableError."""
        raise NotImplementedError

    def contact(self, link: Link) -> str:
        """Value of our Contact on `link`."""
        raise NotImplementedError

    def preloaded_routes(self) -> list[str]:
        """Route values of requests outside a dialog."""
        return []

    def decorate(self, request: Request) -> None:
        """Header fields that this user agent puts into every request but ACK and CANCEL."""

    # calling

    async def call(self, target: str, next_hop: Uri, *, cancel_after: float | None = None) -> Call:
        """INVITE `target`; the call once it is answered, its media being opened.

        cancel_after: seconds until the call is given up with CANCEL.
        Raises CallRefusedError, NoResponseError or UnreachableError.
        """
        link = await self.link_to(next_hop)
        end = await medium_of(self.habits).offer(self.host)
        invite = self._invite(target, link, end.local)
        transaction = self.send_request(invite, link)
        if cancel_after is not None:
            self.spawn(self._cancel_later(transaction, cancel_after))
        try:
            response = await transaction.final_response()
        except NoResponseError:
            await end.close()
            raise
        if response.status >= 300:
            await end.close()
            raise CallRefusedError(response)
        return await self._accepted(transaction, response, end)

    def _invite(self, target: str, link: Link, local: MediaLine) -> Request:
        invite = Request("INVITE", target, [
            ("Max-Forwards", MAX_FORWARDS),
            *(("Route", route) for route in self.preloaded_routes()),
            ("From", str(NameAddr("", self.uri, (("tag", token()),)))),
            ("To", f"<{target}>"),
            ("Call-ID", new_call_id()),
            ("CSeq", "1 INVITE"),
            ("Contact", self.contact(link)),
            ("Allow", ALLOW),
        ])
        self.decorate(invite)
        invite.set_body(local.to_sdp(secrets.randbelow(2**31)), SDP_TYPE)
        return invite

    async def _cancel_later(self, transaction: ClientTransaction, delay: float) -> None:
        await asyncio.sleep(delay)
        await transaction.heard.wait()
        if transaction.final is None:
            self.send_cancel(transaction)

    async def _accepted(self, transaction: ClientTransaction, response: Response, end: End) -> Call:
        dialog = Dialog.of_caller(transaction.request, response)
        self.send_ack(dialog.request("ACK"), transaction)
        try:
            remote = medium_of(self.habits).read_untrusted(response.body)
        except SipError:
            await end.close()
            bye = dialog.request("BYE")
            self.decorate(bye)
            await self.send_request(bye, transaction.link).final_response()
            raise
        call = self._new_call(dialog, end, remote)
        call.confirmed.set()
        return call

    def _new_call(self, dialog: Dialog, end: End, remote: MediaLine) -> Call:
        call = Call(dialog, end, remote, self.tap, hang_up_by=self._bye, on_end=self._forget)
        self.calls[dialog.call_id, dialog.local_tag] = call
        call.start_media()
        return call

    def _forget(self, call: Call) -> None:
        self.calls.pop((call.dialog.call_id, call.dialog.local_tag), None)

    async def _bye(self, call: Call, reason: str) -> None:
        bye = call.dialog.request("BYE")
        self.decorate(bye)
        if reason:
            bye.add("Reason", reason)
        link = await self.link_to(call.dialog.next_hop)
        await self.send_request(bye, link).final_response()

    # being called

    async def on_request(self, request: Request, link: Link) -> None:
        if request.method == "CANCEL":
            self._on_cancel(request, link)
        elif request.to_tag:
            await self._on_dialog_request(request, link)
        elif request.method == "INVITE":
            await self._on_invite(request, link)
        else:
            status = 200 if request.method == "OPTIONS" else 405
            response = response_to(request, status, to_tag=token())
            response.add("Allow", ALLOW)
            self.respond(request, response, link)

    async def _on_invite(self, invite: Request, link: Link) -> None:
        link.send(response_to(invite, 100))
        key = (invite.call_id, invite.cseq[0])
        task = self._ringing[key] = asyncio.create_task(self._answer(invite, link))
        await asyncio.wait([task])
        del self._ringing[key]
        if task.cancelled():
            self.respond(invite, response_to(invite, 487, to_tag=token()), link)
        elif (call := task.result()) is not None:
            await self._converse(call)

    async def _answer(self, invite: Request, link: Link) -> Call | None:
        tag = token()
        try:
            medium = medium_of(self.habits)
            offer = medium.read_untrusted(invite.body)
            if self.manners is not None:
                await self._alert(self.manners, invite, tag, link)
                if self.manners.reject:
                    self.respond(invite, response_to(invite, self.manners.reject, to_tag=tag), link)
                    return None
            end = await medium.answer(offer, self.host)
        except SipError as error:
            response = response_to(invite, error.status, error.reason, to_tag=tag)
            response.add("Warning", f'399 lab "{error.what}"')
            self.respond(invite, response, link)
            return None
        call = self._new_call(Dialog.of_callee(invite, tag), end, offer)
        self._respond_with_sdp(invite, call, link)
        self._witness.answered(call)
        return call

    async def _alert(self, manners: Manners, invite: Request, tag: str, link: Link) -> None:
        if manners.ring:
            ringing = response_to(invite, 180, to_tag=tag)
            ringing.copy_lines(invite, "Record-Route")
            ringing.add("Contact", self.contact(link))
            link.send(ringing)
        await asyncio.sleep(manners.delay)

    async def _converse(self, call: Call) -> None:
        """Take messages, and reply, until the call ends."""
        if self.manners is None:
            return
        try:
            await call.session()
            self._witness.connected(call)
            for count in itertools.count(1):
                text = await call.receive_text()
                self.received.append(text)
                self._witness.received(call, text)
                if self.manners.reply:
                    await call.send_text(self.manners.reply.replace("{text}", text))
                if count == self.manners.hang_up_after:
                    await call.hang_up()
        except MediaFailedError:
            await call.ended.wait()   # the media is gone; the signalling says when the call is
        self.ended.append(call)
        self._witness.ended(call)

    def on_ack(self, ack: Request) -> None:
        if (call := self.calls.get((ack.call_id, ack.to_tag))) is not None:
            call.confirmed.set()

    def _respond_with_sdp(self, request: Request, call: Call, link: Link) -> None:
        response = response_to(request, 200, to_tag=call.dialog.local_tag)
        response.copy_lines(request, "Record-Route")
        response.add("Contact", self.contact(link))
        response.add("Allow", ALLOW)
        response.set_body(call.local.to_sdp(1), SDP_TYPE)
        self.respond(request, response, link)

    def _on_cancel(self, cancel: Request, link: Link) -> None:
        task = self._ringing.get((cancel.call_id, cancel.cseq[0]))
        status = 481 if task is None else 200
        self.respond(cancel, response_to(cancel, status, to_tag=token()), link)
        if task is not None:
            task.cancel()

    async def _on_dialog_request(self, request: Request, link: Link) -> None:
        call = self.calls.get((request.call_id, request.to_tag))
        if call is None:
            self.respond(request, response_to(request, 481), link)
        elif request.method == "BYE":
            self.respond(request, response_to(request, 200), link)
            await call.end("peer", request.get("Reason") or "")
        elif request.method in {"INVITE", "UPDATE"} and request.body:
            self._respond_with_sdp(request, call, link)   # a refresh: nothing about the session changes (RFC 3264 §8)
        else:
            self.respond(request, response_to(request, 200), link)

    async def close(self) -> None:
        for call in list(self.calls.values()):
            await call.end("us", "")
        await super().close()
