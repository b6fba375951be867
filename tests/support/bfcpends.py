"""BFCP ends for live tests: a SIP agent whose offers and answers the test writes, and media over sockets and Python's ssl."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Literal

from pcscf.lab import tls
from pcscf.lab.agent import ClientTransaction, token
from pcscf.lab.call import MAX_FORWARDS, Dialog, new_call_id
from pcscf.lab.net import Link
from pcscf.lab.party import Party
from pcscf.lab.ue import Ue
from pcscf.lab.useragent import SDP_TYPE, UserAgent
from pcscf.sip.headers import NameAddr
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.uri import Uri
from tests.support.processes import within

WAIT = 10.0   # seconds for one step on a media socket: reached only when it never comes

HELLO = struct.pack(">BBHIHH", 0x20, 11, 0, 1, 1, 1)
"""A BFCP Hello of floor client 1 in conference 1 (RFC 8855 §5.1)."""
HELLO_ACK = struct.pack(">BBHIHH", 0x20, 12, 0, 1, 1, 1)


def sdp(*, port: int, setup: str = "", connection: str = "new", fingerprint: str = "", e2ae: str = "", secure: bool = False,
        extra: str = "", version: int = 1) -> str:
    """A description with one BFCP line at 127.0.0.1."""
    lines = [
        "v=0", f"o=- 77 {version} IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
        f"m=application {port} {'TCP/TLS/BFCP' if secure else 'TCP/BFCP'} *", "a=floorctrl:c-only", "a=confid:1", "a=userid:1",
    ]
    lines += [f"a={name}:{value}" for name, value in (
        ("setup", setup), ("connection", connection), ("fingerprint", fingerprint), ("3ge2ae", e2ae)) if value]
    return "\r\n".join([*lines, *([extra] if extra else [])]) + "\r\n"


def said(body: bytes, name: str) -> str:
    """The value of an attribute in a description, "" where it is missing."""
    return next((line.partition(":")[2] for line in body.decode().splitlines() if line.startswith(f"a={name}:")), "")


def media_port(body: bytes) -> int:
    line = next(line for line in body.decode().splitlines() if line.startswith("m="))
    return int(line.split()[1])


_sockets: list[socket.socket] = []


def close_sockets() -> None:
    """Close every media socket that was made here."""
    while _sockets:
        _sockets.pop().close()


class _Agent(UserAgent):
    """Requests that come wait in `requests` until the test answers them; nothing is answered by itself but BYE."""

    def _prepare(self) -> None:
        self.requests: asyncio.Queue[tuple[Request, Link]] = asyncio.Queue()
        self.byes: list[Request] = []

    async def on_request(self, request: Request, link: Link) -> None:
        if request.method == "BYE":
            self.byes.append(request)
            self.respond(request, response_to(request, 200), link)
            return
        self.requests.put_nowait((request, link))

    async def expect(self, method: str) -> tuple[Request, Link]:
        request, link = await within(self.requests.get(), method)
        assert request.method == method
        return request, link

    def progress(self, request: Request, body: str, link: Link) -> str:
        """183 with a description; the tag of the early dialog."""
        tag = token()
        response = response_to(request, 183, to_tag=tag)
        response.copy_lines(request, "Record-Route")
        response.add("Contact", self.contact(link))
        response.set_body(body.encode(), SDP_TYPE)
        self.respond(request, response, link)
        return tag

    def accept(self, request: Request, link: Link, body: str = "", *, tag: str = "") -> Dialog:
        tag = request.to_tag or tag or token()
        response = response_to(request, 200, to_tag=tag)
        response.copy_lines(request, "Record-Route")
        response.add("Contact", self.contact(link))
        if body:
            response.set_body(body.encode(), SDP_TYPE)
        self.respond(request, response, link)
        return Dialog.of_callee(request, tag)

    async def ask(self, request: Request, link: Link) -> tuple[ClientTransaction, Response]:
        transaction = self.send_request(request, link)
        return transaction, await within(transaction.final_response(), f"the answer to {request.method}")

    async def begin(self, target: str, next_hop: Uri, body: str) -> ClientTransaction:
        link = await self.link_to(next_hop)
        invite = Request("INVITE", target, [
            ("Max-Forwards", MAX_FORWARDS), *(("Route", route) for route in self.preloaded_routes()),
            ("From", str(NameAddr("", self.uri, (("tag", token()),)))), ("To", f"<{target}>"), ("Call-ID", new_call_id()),
            ("CSeq", "1 INVITE"), ("Contact", self.contact(link)),
        ])
        self.decorate(invite)
        invite.set_body(body.encode(), SDP_TYPE)
        return self.send_request(invite, link)

    async def finish(self, transaction: ClientTransaction) -> tuple[Dialog, bytes]:
        response = await within(transaction.final_response(), "the answer to INVITE")
        assert response.status == 200, response.to_bytes()
        dialog = Dialog.of_caller(transaction.request, response)
        self.send_ack(dialog.request("ACK"), transaction)
        return dialog, response.body

    async def re_invite(self, dialog: Dialog, body: str) -> ClientTransaction:
        link = await self.link_to(dialog.next_hop)
        invite = dialog.request("INVITE")
        invite.add("Contact", self.contact(link))
        self.decorate(invite)
        invite.set_body(body.encode(), SDP_TYPE)
        return self.send_request(invite, link)

    async def acknowledge(self, dialog: Dialog, transaction: ClientTransaction) -> bytes:
        response = await within(transaction.final_response(), "the answer to a further INVITE")
        assert response.status == 200, response.to_bytes()
        self.send_ack(dialog.request("ACK"), transaction)
        return response.body

    async def hang_up(self, dialog: Dialog) -> None:
        bye = dialog.request("BYE")
        self.decorate(bye)
        _, response = await self.ask(bye, await self.link_to(dialog.next_hop))
        assert response.status == 200


class BfcpUe(_Agent, Ue):
    async def start(self) -> None:
        self._prepare()
        await super().start()


class Server(_Agent, Party):
    """A conference server behind the core."""

    async def start(self, port: int = 0) -> tuple[str, int]:
        self._prepare()
        return await super().start(port)


@dataclass(frozen=True, slots=True)
class Wire:
    """A media connection that is up."""

    channel: socket.socket

    async def say(self, data: bytes) -> None:
        await asyncio.to_thread(self.channel.sendall, data)

    async def hear(self, size: int) -> bytes:
        def read() -> bytes:
            got = b""
            while len(got) < size:
                more = self.channel.recv(size - len(got))
                if not more:
                    break
                got += more
            return got
        return await asyncio.to_thread(read)

    async def is_over(self) -> bool:
        """Waits for the end; False when bytes come instead."""
        try:
            return await asyncio.to_thread(self.channel.recv, 1) == b""
        except OSError:
            return True

    def close(self) -> None:
        self.channel.close()


class Far:
    """One end of a media connection. `tls`: its role there, None without TLS; it listens from the start."""

    def __init__(self, role: Literal["client", "server"] | None = None, identity: tls.Identity | None = None) -> None:
        self.role = role
        self.identity = identity
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT)
        _sockets.append(self._listener)
        self.port: int = self._listener.getsockname()[1]

    async def accept(self) -> Wire:
        return await asyncio.to_thread(lambda: self._wrapped(self._listener.accept()[0]))

    async def connect(self, port: int) -> Wire:
        return await self.shake_hands(await self.dial(port))

    async def dial(self, port: int) -> socket.socket:
        """TCP alone, for an end that is early."""
        return await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), WAIT)

    async def shake_hands(self, dialled: socket.socket) -> Wire:
        return await asyncio.to_thread(self._wrapped, dialled)

    async def open(self, setup: str, port: int) -> Wire:
        """As our a=setup says."""
        return await (self.connect(port) if setup == "active" else self.accept())

    def _wrapped(self, raw: socket.socket) -> Wire:
        raw.settimeout(WAIT)
        _sockets.append(raw)
        if self.role is None:
            return Wire(raw)
        assert self.identity is not None
        context = (tls.server_context if self.role == "server" else tls.client_context)(self.identity)
        channel = context.wrap_socket(raw, server_side=self.role == "server", do_handshake_on_connect=False)
        _sockets.append(channel)
        channel.do_handshake()
        return Wire(channel)
