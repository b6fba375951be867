"""SIP transactions as a user agent needs them, in their plainest form (RFC 3261 §17, §13.3.1.4)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine
from typing import Any

from pcscf.errors import PcscfError, SipError
from pcscf.lab.net import Link, SipSockets, host_port
from pcscf.lab.tap import Tap
from pcscf.sip.headers import MAGIC_COOKIE, Via
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import check_request

T1 = 0.5                 # seconds (RFC 3261 §17.1.1.1)
T2 = 4.0
TRANSACTION_TIMEOUT = 64 * T1
MAX_ANSWERED = 1_000     # server transactions remembered for retransmissions

Key = tuple[str, str]   # branch, method


class NoResponseError(PcscfError):
    """A request stayed without a final response."""


class ClientTransaction:
    """A request on its way; `next_response` gives every response as it comes."""

    def __init__(self, request: Request, link: Link) -> None:
        self.request = request
        self.link = link
        self.final: Response | None = None
        self.heard = asyncio.Event()   # a provisional or final response came
        self._responses: asyncio.Queue[Response] = asyncio.Queue()
        self._ack: Request | None = None

    async def next_response(self, patience: float = TRANSACTION_TIMEOUT) -> Response:
        """Raises NoResponseError after `patience` seconds of silence."""
        try:
            async with asyncio.timeout(patience):
                return await self._responses.get()
        except TimeoutError:
            raise NoResponseError(f"no response to {self.request.method}") from None

    async def final_response(self, patience: float = TRANSACTION_TIMEOUT) -> Response:
        while (response := await self.next_response(patience)).status < 200:
            pass
        return response

    def acknowledge(self, ack: Request) -> None:
        """Send the ACK to a final response, and again whenever that response is repeated."""
        self._ack = ack
        self.link.send(ack)

    def take(self, response: Response) -> None:
        self.heard.set()
        if self.final is None:
            if response.status >= 200:
                self.final = response
                if self.request.method == "INVITE" and response.status >= 300:
                    self.acknowledge(_ack_of_failure(self.request, response))
            self._responses.put_nowait(response)
        elif response.status >= 200 and self._ack is not None:
            self.link.send(self._ack)


def _ack_of_failure(invite: Request, response: Response) -> Request:
    """The ACK that is part of the INVITE transaction (RFC 3261 §17.1.1.3)."""
    ack = Request("ACK", invite.uri, [("Via", invite.get("Via") or ""), ("Max-Forwards", "70")])
    ack.copy_lines(invite, "Route", "From")
    ack.add("To", response.get("To") or "")
    ack.add("Call-ID", invite.call_id)
    ack.add("CSeq", f"{invite.cseq[0]} ACK")
    ack.add("Content-Length", "0")
    return ack


class Agent:
    """A SIP element that sends requests and answers them. Subclasses override `on_request` and `on_ack`."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.sockets = SipSockets(self._receive, tap)
        self._clients: dict[Key, ClientTransaction] = {}
        self._answers: dict[Key, Response | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._acked: dict[Key, asyncio.Event] = {}

    # what subclasses do

    async def on_request(self, request: Request, link: Link) -> None:
        self.respond(request, response_to(request, 405, to_tag=token()), link)

    def on_ack(self, ack: Request) -> None:
        """An ACK for a 2xx of ours."""

    # client side

    def send_request(self, request: Request, link: Link) -> ClientTransaction:
        """Put our Via on `request`, send it, and repeat it over UDP until something is heard."""
        branch = MAGIC_COOKIE + secrets.token_hex(8)
        host, port = link.local
        request.prepend("Via", str(Via(link.transport.upper(), host, port, (("branch", branch), ("rport", None)))))
        return self._start(request, link, (branch, request.method))

    def send_cancel(self, invite: ClientTransaction) -> ClientTransaction:
        """CANCEL the INVITE (RFC 3261 §9.1). The caller has heard a provisional response."""
        request = invite.request
        cancel = Request("CANCEL", request.uri, [("Via", request.get("Via") or ""), ("Max-Forwards", "70")])
        cancel.copy_lines(request, "Route", "From", "To", "Call-ID")
        cancel.add("CSeq", f"{request.cseq[0]} CANCEL")
        cancel.add("Content-Length", "0")
        return self._start(cancel, invite.link, (request.top_via.branch, "CANCEL"))

    def send_ack(self, ack: Request, invite: ClientTransaction) -> None:
        """Send the ACK to a 2xx, a transaction of its own (RFC 3261 §13.2.2.4)."""
        host, port = invite.link.local
        params = (("branch", MAGIC_COOKIE + secrets.token_hex(8)), ("rport", None))
        ack.prepend("Via", str(Via(invite.link.transport.upper(), host, port, params)))
        invite.acknowledge(ack)

    def _start(self, request: Request, link: Link, key: Key) -> ClientTransaction:
        transaction = self._clients[key] = ClientTransaction(request, link)
        link.send(request)
        if link.transport == "udp":
            self.spawn(self._repeat(transaction))
        return transaction

    async def _repeat(self, transaction: ClientTransaction) -> None:
        """Timers A and E: double from T1; E stops growing at T2, A ends with the first provisional response."""
        invite = transaction.request.method == "INVITE"
        interval, waited = T1, 0.0
        while waited < TRANSACTION_TIMEOUT:
            await asyncio.sleep(interval)
            waited += interval
            if transaction.final is not None or (invite and transaction.heard.is_set()):
                return
            transaction.link.send(transaction.request)
            interval = interval * 2 if invite else min(interval * 2, T2)

    # server side

    def respond(self, request: Request, response: Response, link: Link) -> None:
        """Answer `request`. The answer is kept for retransmissions; a final one to INVITE is repeated until the ACK."""
        key = _server_key(request)
        self._answers[key] = response
        link.send(response)
        if request.method == "INVITE" and response.status >= 200:
            acked = self._acked[_dialog_key(response)] = asyncio.Event()
            if response.status < 300 or link.transport == "udp":
                self.spawn(self._repeat_until_ack(response, link, acked))

    async def _repeat_until_ack(self, response: Response, link: Link, acked: asyncio.Event) -> None:
        interval, waited = T1, 0.0
        while waited < TRANSACTION_TIMEOUT:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await acked.wait()
            if acked.is_set():
                return
            waited += interval
            interval = min(interval * 2, T2)
            link.send(response)

    def was_answered(self, request: Request) -> bool:
        """Whether a final response to `request` was sent."""
        answer = self._answers.get(_server_key(request))
        return answer is not None and answer.status >= 200

    # receiving

    def _receive(self, message: Request | Response, link: Link) -> None:
        try:
            if isinstance(message, Response):
                key = (message.top_via.branch, message.cseq[1])
                if (transaction := self._clients.get(key)) is not None:
                    transaction.take(message)
                return
            check_request(message)
            self._receive_request(message, link)
        except SipError as error:
            if isinstance(message, Request) and message.method != "ACK":
                link.send(response_to(message, error.status, error.reason, to_tag=token()))

    def _receive_request(self, request: Request, link: Link) -> None:
        if request.method == "ACK":
            if (acked := self._acked.pop(_dialog_key(request), None)) is not None:
                acked.set()
                self.on_ack(request)
            return
        key = _server_key(request)
        if key in self._answers:
            if (answer := self._answers[key]) is not None:
                link.send(answer)
            return
        if len(self._answers) >= MAX_ANSWERED:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = None
        note_source(request, link)
        self.spawn(self._serve(request, link))

    async def _serve(self, request: Request, link: Link) -> None:
        try:
            await self.on_request(request, link)
        except SipError as error:
            if not self.was_answered(request):
                self.respond(request, response_to(request, error.status, error.reason, to_tag=token()), link)

    # life

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sockets.close()


def note_source(request: Request, link: Link) -> None:
    """Write where a request came from into its top Via (RFC 3261 §18.2.1, RFC 3581 §4)."""
    via = request.top_via
    host, port = link.peer
    params = [(name, value) for name, value in via.params if name.lower() not in {"received", "rport"}]
    if via.rport is not None:
        params += [("rport", str(port)), ("received", host)]
    elif via.host != host:
        params.append(("received", host))
    else:
        return
    request.remove_first_value("Via")
    request.prepend("Via", str(Via(via.transport, via.host, via.port, tuple(params))))


def _server_key(request: Request) -> Key:
    return f"{request.top_via.branch}@{host_port((request.top_via.host, request.top_via.port or 0))}", request.method


def _dialog_key(message: Request | Response) -> Key:
    return message.call_id, f"{message.to_tag}/{message.cseq[0]}"


def token() -> str:
    """A fresh tag, Call-ID part or nonce."""
    return secrets.token_hex(8)
