"""aiosipua as the UE's SIP stack in front of a real P-CSCF: it registers, calls, is called and hangs up. MSRP, which it does not
know, is the lab's, along the SDP that aiosipua read and wrote.

It knows nothing of IMS, so its transport adds what a UE of TS 24.229 says more. And it cannot stand behind any proxy that
records its route: it takes neither Record-Route nor Contact from a response (RFC 3261 §12.1.2) and puts no Record-Route into
its own (§12.1.1). The test does that for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiosipua import (
    IncomingCall,
    OutgoingCall,
    Registration,
    RegistrationState,
    SipDigestAuth,
    SipRequest,
    SipResponse,
    SipUAC,
    SipUAS,
    UdpSipTransport,
    parse_sdp,
    serialize_sdp,
    stringify_uri,
)

from pcscf.lab import media, tls
from pcscf.lab.call import Habits, Manners
from pcscf.lab.description import answer_setup
from pcscf.lab.msrp_session import MsrpSession
from pcscf.lab.tap import NoTap
from tests.support.kamailio import free_port
from tests.support.processes import DOMAIN, PASSWORD, Pcscf, Stage, pcscf, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "127.0.0.1"
REPLY = "Got it: {text}"
IDENTITY = tls.self_signed("aiosipua")
HABITS = Habits(secure=True, identity=IDENTITY, choice="active", e2ae="requested")
MEDIASEC = (("Require", "mediasec"), ("Proxy-Require", "mediasec"))


class Transport(UdpSipTransport):
    """Adds the header fields of the security agreement and the recorded route; learns both from what comes in."""

    def __init__(self, port: int) -> None:
        super().__init__(local_addr=(HOST, port))
        self.announced: list[str] = []
        self.routes: list[str] = []
        self.proxy_route = ""
        self.recorded: dict[str, list[str]] = {}   # Record-Route of INVITEs that came in, by Call-ID

    def send(self, message: Any, addr: tuple[str, int]) -> None:
        if isinstance(message, SipRequest) and message.method not in {"ACK", "CANCEL"}:
            more = [("Security-Verify", value) for value in self.announced]
            if message.method == "REGISTER":
                more += [("Supported", "path"), ("Security-Client", "msrp-tls;mediasec")]
            if message.method == "INVITE":
                more += [("Route", route) for route in (self.proxy_route, *self.routes)]
            for name, value in [*more, *MEDIASEC]:
                message.headers.append(name, value)
        if isinstance(message, SipResponse) and message.cseq is not None and message.cseq.method == "INVITE":
            for route in self.recorded.get(message.call_id or "", []):
                message.headers.append("Record-Route", route)
        super().send(message, addr)

    def _dispatch(self, data: bytes, addr: tuple[str, int]) -> None:
        given = self.on_message

        def learn(message: SipRequest | SipResponse, source: tuple[str, int]) -> None:
            if isinstance(message, SipRequest) and message.method == "INVITE":
                self.recorded[message.call_id or ""] = message.headers.get("record-route")
            if isinstance(message, SipResponse) and message.cseq is not None and message.cseq.method == "REGISTER":
                self.announced = message.headers.get("security-server") or self.announced
                self.routes = message.headers.get("service-route") or self.routes
            assert given is not None
            given(message, source)

        self.on_message = learn
        try:
            super()._dispatch(data, addr)
        finally:
            self.on_message = given


class Phone:
    """One user agent: registration, calls out, calls in."""

    def __init__(self, user: str, proxy: tuple[str, int]) -> None:
        self.uri = f"sip:{user}@{DOMAIN}"
        self.proxy = proxy
        self.transport = Transport(free_port())
        self.transport.proxy_route = f"<sip:{proxy[0]}:{proxy[1]};lr>"
        self.uac = SipUAC(self.transport)
        self.uas = SipUAS(self.transport, uac=self.uac)
        self.auth = SipDigestAuth(user, PASSWORD)
        self.rang: asyncio.Queue[IncomingCall] = asyncio.Queue()
        self.left: list[str] = []
        self.uas.on_invite = self.rang.put_nowait
        self.uas.on_bye = lambda call, _bye: self.left.append(call.call_id)

    async def register(self) -> Registration:
        registration = Registration(self.uac, self.uri, self.proxy, auth=self.auth)
        registration.register()
        ended = {RegistrationState.REGISTERED, RegistrationState.FAILED}
        await until(lambda: registration.state in ended, lambda: registration.state)
        return registration

    async def call(self, target: str) -> tuple[OutgoingCall, MsrpSession]:
        local = HABITS.describe(HOST, media.DISCARD_PORT, setup="active", secure=True, e2ae="requested")
        offer = parse_sdp(media.write_sdp(local, session=7).decode())
        call = self.uac.send_invite(self.uri, target, self.proxy, offer)
        given = self.transport.on_message

        def learn(message: SipRequest | SipResponse, source: tuple[str, int]) -> None:
            if isinstance(message, SipResponse) and message.status_code == 200 and message.call_id == call.call_id:
                call.dialog.route_set = message.headers.get("record-route")[::-1]
                call.dialog.remote_target = stringify_uri(message.contact[0].uri)
            assert given is not None
            given(message, source)

        self.transport.on_message = learn
        await within(call.wait_answered(), "the answer")
        assert call.sdp_answer is not None
        return call, await _msrp(local, serialize_sdp(call.sdp_answer), call.call_id)

    async def answer(self) -> tuple[IncomingCall, MsrpSession]:
        call: IncomingCall = await within(self.rang.get(), "an INVITE")
        assert call.sdp_offer is not None
        call.ringing()
        offered = serialize_sdp(call.sdp_offer)
        setup = answer_setup(media.read_sdp_untrusted(offered.encode()).setup, "active")
        local = HABITS.describe(HOST, media.DISCARD_PORT, setup=setup, secure=True)
        call.accept(parse_sdp(media.write_sdp(local, session=8).decode()))
        return call, await _msrp(local, offered, call.call_id)


async def _msrp(local: media.MsrpMedia, remote: str, flow: str) -> MsrpSession:
    """The session with what the other side described."""
    session, facts = await within(
        media.connect(local, media.read_sdp_untrusted(remote.encode()), IDENTITY, NoTap(), flow), "the MSRP session")
    assert facts is not None
    assert facts.version in {"TLSv1.2", "TLSv1.3"}
    await within(session.bind(), "the first SEND")
    assert isinstance(session, MsrpSession)
    return session


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def around(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Pcscf, Stage]]:
    async with stage() as made, pcscf(tmp_path_factory.mktemp("aiosipua"), made.core.address) as running:
        yield running, made


@pytest_asyncio.fixture(loop_scope="module")
async def phone(around: tuple[Pcscf, Stage]) -> AsyncIterator[Phone]:
    running, made = around
    proxy = running.listeners["gm-udp"]
    phone = Phone("alice", (proxy.host, proxy.port))
    await phone.uas.start()
    yield phone
    await phone.uas.stop()
    await made.leave()
    await running.nothing_left()


@pytest.mark.interop("aiosipua", "registration with digest and mediasec, and deregistration; Gm over udp")
async def test_a_registration(phone: Phone) -> None:
    registration = await phone.register()
    assert registration.state is RegistrationState.REGISTERED
    assert phone.transport.announced == ["msrp-tls;mediasec"]
    assert phone.transport.routes
    registration.unregister()
    await until(lambda: registration.state is RegistrationState.UNREGISTERED)


@pytest.mark.interop("aiosipua", "a wrong password is refused")
async def test_a_wrong_password(phone: Phone) -> None:
    phone.auth.password = "not-the-one"
    assert (await phone.register()).state is RegistrationState.FAILED


@pytest.mark.interop("aiosipua", "call from it, protected MSRP both ways, BYE from it")
async def test_it_calls(phone: Phone, around: tuple[Pcscf, Stage]) -> None:
    _, made = around
    party = await made.new_party(Manners(ring=True, reply=REPLY))
    await phone.register()
    call, session = await phone.call(party.uri)
    await within(session.send("from aiosipua"), "the response to a message")
    assert (await within(session.receive(), "the reply")).content == b"Got it: from aiosipua"
    assert party.received == ["from aiosipua"]
    assert call.sdp_answer is not None
    [line] = call.sdp_answer.media
    assert (line.media, line.proto) == ("message", "TCP/TLS/MSRP")
    assert line.attributes["fingerprint"]
    await session.close()
    call.hangup(phone.uac)
    await until(lambda: bool(party.ended), lambda: party.calls)
    assert party.ended[0].ended_by == "peer"


@pytest.mark.interop("aiosipua", "call to it, protected MSRP both ways, BYE to it")
async def test_it_is_called(phone: Phone, around: tuple[Pcscf, Stage]) -> None:
    _, made = around
    party = await made.new_party()
    await phone.register()
    inviting = asyncio.create_task(party.invite(phone.uri))
    incoming, session = await phone.answer()
    call = await within(inviting, "the answer at the party")
    await within(call.send_text("for aiosipua"), "the response to a message")
    assert (await within(session.receive(), "the message")).content == b"for aiosipua"
    assert call.tls is None
    await within(call.hang_up(), "the answer to BYE")
    await until(lambda: phone.left == [incoming.call_id], lambda: phone.left)
    await session.close()


@pytest.mark.interop("aiosipua", "INVITE that is refused: its 404 comes through")
async def test_it_calls_nobody(phone: Phone) -> None:
    await phone.register()
    with pytest.raises(RuntimeError, match="404"):
        await phone.call(f"sip:nobody@{DOMAIN}")
