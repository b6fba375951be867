"""Bad input on every socket: the right answer where one is due, and a process that goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.call import Manners
from pcscf.lab.net import Target
from pcscf.sip.message import Request, Response
from pcscf.sip.parse import StreamParser, parse_datagram_untrusted
from tests.support.processes import DOMAIN, Pcscf, Stage, converse, pcscf, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLY = "Got it: {text}"


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with stage() as around, pcscf(tmp_path_factory.mktemp("bad"), around.core.address) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def unharmed(site: Site) -> AsyncIterator[None]:
    """After each test a UE registers and calls, no descriptor is left, no context, and no bug stands in the log."""
    before = site.pcscf.descriptors()
    yield
    party = await site.stage.new_party(Manners(reply=REPLY))
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    call = await converse(ue, party, "still here")
    await within(call.hang_up(), "the answer to BYE")
    await ue.deregister()
    await site.stage.leave()
    await site.pcscf.nothing_left()
    site.pcscf.assert_log_is_clean()
    await until(lambda: site.pcscf.descriptors() <= before, lambda: (before, site.pcscf.descriptors()))


class Wire:
    """A bare socket to one listener."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.is_stream = target.transport != "udp"
        self._in: asyncio.Queue[bytes] = asyncio.Queue()   # b"" = closed
        self._parser = StreamParser()
        self._responses: list[Response] = []
        self._transport: Any = None

    async def open(self) -> Wire:
        loop = asyncio.get_running_loop()
        _, host, port = self.target
        if self.is_stream:
            context = tls.client_context() if self.target.transport == "tls" else None
            self._transport, _ = await within(
                loop.create_connection(lambda: _Stream(self._in), host, port, ssl=context), "the connection")
        else:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._in), remote_addr=(host, port))
        return self

    def send(self, data: bytes) -> None:
        self._transport.write(data) if self.is_stream else self._transport.sendto(data)

    async def response(self) -> Response | None:
        """The next response; None where the connection was closed."""
        while not self._responses:
            data = await within(self._in.get(), "a response, or the end of the connection")
            if not data:
                return None
            messages = self._parser.feed(data) if self.is_stream else [parse_datagram_untrusted(data)]
            self._responses += [each for each in messages if isinstance(each, Response)]
        return self._responses.pop(0)

    async def answers(self, data: bytes) -> list[Response | None]:
        """What `data` is answered with, up to the end of the connection, or to the answer to the good request behind it."""
        self.send(data)
        probe = text("OPTIONS", f"sip:{self.target.host}:{self.target.port}", transport=self.target.transport)
        self.send(probe.encode())
        call_id = probe.partition("Call-ID: ")[2].partition("\r\n")[0]
        found: list[Response | None] = []
        while True:
            response = await self.response()
            if response is not None and response.get("Call-ID") == call_id:
                assert response.status == 200
                return found
            found.append(response)
            if response is None:
                return found

    def close(self) -> None:
        self._transport.abort()


class _Stream(asyncio.Protocol):
    def __init__(self, into: asyncio.Queue[bytes]) -> None:
        self._into = into

    def data_received(self, data: bytes) -> None:
        self._into.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._into.put_nowait(b"")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, into: asyncio.Queue[bytes]) -> None:
        self._into = into

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._into.put_nowait(data)


def text(
    method: str = "MESSAGE", uri: str = f"sip:bob@{DOMAIN}", *, transport: str = "udp", version: str = "SIP/2.0",
    more: tuple[str, ...] = (), without: str = "", body: str = "", **fields: str,
) -> str:
    """A request in good order but for what is given: fields (Call_ID for Call-ID), further lines, a field left out."""
    lines = {
        "Via": f"SIP/2.0/{transport.upper()} 192.0.2.1:5060;branch=z9hG4bK{secrets.token_hex(8)};rport",
        "From": f"<sip:mallory@{DOMAIN}>;tag={secrets.token_hex(4)}",
        "To": f"<sip:bob@{DOMAIN}>",
        "Call-ID": secrets.token_hex(8),
        "CSeq": f"1 {method}",
        "Max-Forwards": "70",
        "Content-Length": str(len(body.encode())),
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    head = [f"{name}: {value}" for name, value in lines.items() if name != without]
    return "\r\n".join([f"{method} {uri} {version}", *head[:-1], *more, head[-1], "", body])


@dataclass(frozen=True)
class Bad:
    """A text that is bad in one way. status: its answer, 0 for none; `on_stream` where that differs.

    breaks: nothing behind it on a stream can be trusted, so the connection is closed.
    """

    make: Callable[[str], str | bytes]
    status: int
    breaks: bool = False
    on_stream: int | None = None
    header: str = ""


def bad(status: int, *, breaks: bool = False, on_stream: int | None = None, header: str = "", **given: Any) -> Bad:
    return Bad(lambda transport: text(transport=transport, **given), status, breaks, on_stream, header)


BAD = {
    "a word instead of a start line": Bad(lambda _: "HELLO\r\n\r\n", 0, breaks=True),
    "another protocol": Bad(lambda _: "GET / HTTP/1.1\r\nHost: pcscf\r\n\r\n", 0, breaks=True),
    "two spaces in the start line": bad(400, breaks=True, uri=f" sip:bob@{DOMAIN}"),
    "a method that is no token": bad(0, breaks=True, method="IN<VITE"),
    "a version to come": bad(505, breaks=True, version="SIP/7.0"),
    "a header line without colon": bad(400, breaks=True, more=("Subject hello",)),
    "a bare LF that hides a header line": bad(400, breaks=True, more=("Subject: x\nRoute: <sip:192.0.2.9;lr>",)),
    "a bare CR that hides a header line": bad(400, breaks=True, more=("Subject: x\rRoute: <sip:192.0.2.9;lr>",)),
    "ten thousand header lines": bad(400, breaks=True, more=("a:b",) * 10_000),
    "a line of nine thousand characters": bad(400, breaks=True, more=("Subject: " + "x" * 9_000,)),
    "a negative Content-Length": bad(400, breaks=True, Content_Length="-1"),
    "a Content-Length in letters": bad(400, breaks=True, Content_Length="ten"),
    "two values of Content-Length": bad(400, breaks=True, more=("Content-Length: 7",)),
    "a body larger than any message": bad(400, breaks=True, on_stream=513, Content_Length="70000"),
    "a Content-Length of forty digits": bad(400, breaks=True, Content_Length="9" * 40),
    "unbalanced quotes": bad(400, From=f'"Mallory <sip:mallory@{DOMAIN}>;tag=1'),
    "an unclosed bracket": bad(400, To=f"<sip:bob@{DOMAIN}"),
    "a CSeq for another method": bad(400, CSeq="1 INVITE"),
    "a CSeq that is too large": bad(400, CSeq="4294967296 MESSAGE"),
    "no Call-ID": bad(400, without="Call-ID"),
    "no From": bad(400, without="From"),
    "two To": bad(400, more=(f"To: <sip:eve@{DOMAIN}>",)),
    "a Via that cannot be read": bad(400, Via="SIP/2.0/UDP [::1;branch=z9hG4bK1"),
    "an unknown scheme": bad(416, uri="nobody:knows"),
    "a Request-URI that cannot be read": bad(400, uri="sip:bob@[::1"),
    "header fields in the Request-URI": bad(400, uri=f"sip:bob@{DOMAIN}?Route=%3Csip:192.0.2.9%3E"),
    "Max-Forwards used up": bad(483, Max_Forwards="0"),
    "Max-Forwards used up on INVITE": bad(483, method="INVITE", Max_Forwards="0"),
    "Max-Forwards in letters": bad(400, Max_Forwards="many"),
    "Max-Forwards out of range": bad(400, Max_Forwards="256"),
    "an extension that nobody knows": bad(420, more=("Proxy-Require: teleport, sec-agree",), header="Unsupported"),
    "a NUL in a field": bad(403, more=("Subject: a\0b",)),
    "a route with a forged token": bad(403, more=("Route: <sip:s0AAAAAAAAAAAAAAAAAAAAAAAA@LISTENER;lr>",)),
    "a Route that cannot be read": bad(400, more=("Route: <sip:x@[",)),
    "a call of a stranger": bad(403, method="INVITE", Contact="<sip:mallory@192.0.2.1>"),
    "BYE for no dialog": bad(403, method="BYE", To=f"<sip:bob@{DOMAIN}>;tag=2"),
    "CANCEL for no INVITE": bad(481, method="CANCEL"),
    "ACK for no INVITE": bad(0, method="ACK"),
    "a response that nobody waits for": Bad(
        lambda transport: text(transport=transport).replace(f"MESSAGE sip:bob@{DOMAIN} SIP/2.0", "SIP/2.0 200 OK"), 0),
    "a status that is none": Bad(
        lambda transport: text(transport=transport).replace(f"MESSAGE sip:bob@{DOMAIN} SIP/2.0", "SIP/2.0 2000 OK"), 0,
        breaks=True),
}  # fmt: skip


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp"])
async def test_a_bad_text_gets_its_answer(site: Site, listener: str) -> None:
    target = site.pcscf.listeners[listener]
    wrong = []
    for name, case in BAD.items():
        wire = await Wire(target).open()
        made = case.make(target.transport)
        octets = made if isinstance(made, bytes) else made.replace("LISTENER", f"{target.host}:{target.port}").encode()
        answers = await wire.answers(octets)
        wire.close()
        wanted = case.on_stream if wire.is_stream and case.on_stream is not None else case.status
        if listener.startswith("mw") and wanted == 403 and "forged" not in name:
            wanted = 481 if "BYE" in name else 404   # the core is asked who is meant, not who asks
        expected = [wanted] * bool(wanted) + [0] * (case.breaks and wire.is_stream)
        seen = [answer.status if answer is not None else 0 for answer in answers]
        if seen != expected:
            wrong.append(f"{name}: {seen} instead of {expected}")
        if not all(_is_tagged(answer) for answer in answers if answer is not None):
            wrong.append(f"{name}: no To tag")
        if case.header and not (answers and answers[0] and answers[0].get(case.header)):
            wrong.append(f"{name}: no {case.header}")
    assert not wrong, "\n".join(wrong)


def _is_tagged(answer: Response) -> bool:
    """Whether To has a tag, as every response of ours must; a To that cannot be read can take none."""
    to = answer.get("To") or ""
    return ";tag=" in to or to.count("<") != to.count(">")


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp"])
async def test_noise(site: Site, listener: str) -> None:
    target = site.pcscf.listeners[listener]
    noise = random.Random(7)
    for size in (1, 5, 64, 1_400, 9_000, 60_000):
        wire = await Wire(target).open()
        wire.send(noise.randbytes(size))
        wire.send(b"\r\n\r\n\0\0\r\n\r\n")
        if not wire.is_stream:
            assert await wire.answers(b"\r\n\r\n") == []
        wire.close()


@pytest.mark.parametrize("listener", ["gm-tcp", "gm-tls", "mw-tcp"])
async def test_a_stream_that_never_ends_its_header_section(site: Site, listener: str) -> None:
    wire = await Wire(site.pcscf.listeners[listener]).open()
    wire.send(b"MESSAGE sip:bob@ims.example SIP/2.0\r\n" + b"Subject: on and on\r\n" * 5_000)
    assert await wire.response() is None
    wire.close()


@pytest.mark.parametrize("listener", ["gm-tcp", "gm-tls"])
async def test_half_messages(site: Site, listener: str) -> None:
    """What never becomes whole leaves nothing behind; what becomes whole octet by octet is served."""
    target = site.pcscf.listeners[listener]
    whole = text("OPTIONS", f"sip:{target.host}:{target.port}", transport=target.transport, body="four").encode()
    for part in (10, len(whole) - 30, len(whole) - 2):
        wire = await Wire(target).open()
        wire.send(whole[:part])
        wire.close()
    wire = await Wire(target).open()
    for octet in whole:
        wire.send(bytes([octet]))
    answer = await wire.response()
    assert answer is not None
    assert answer.status == 200
    wire.close()


@pytest.mark.parametrize("listener", ["gm-tcp", "gm-tls"])
async def test_a_ping_gets_its_pong(site: Site, listener: str) -> None:
    wire = await Wire(site.pcscf.listeners[listener]).open()
    wire.send(b"\r\n\r\n")
    assert await within(wire._in.get(), "the pong") == b"\r\n"
    wire.close()


async def test_noise_instead_of_a_handshake(site: Site) -> None:
    _, host, port = site.pcscf.listeners["gm-tls"]
    for octets in (b"\x16\x03\x01\x00\x05hello", text().encode(), random.Random(8).randbytes(500)):
        wire = await Wire(Target("tcp", host, port)).open()
        wire.send(octets)
        wire.send(b"\0" * 2_000)
        while await within(wire._in.get(), "the end of the connection"):
            pass
        wire.close()


SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
MSRP = "m=message 9 TCP/TLS/MSRP *\r\na=accept-types:text/plain\r\na=path:msrps://127.0.0.1:9/x;tcp\r\na=setup:active\r\n"
BAD_OFFERS = {
    "noise": (b"\xff\x00\xfe", 400),
    "no version": (SDP.partition("\r\n")[2].encode(), 400),
    "a line without type": (SDP.encode() + b"nonsense\r\n", 400),
    "a line for media that is too short": (SDP.encode() + b"m=message\r\n", 400),
    "a port that is no number": (SDP.encode() + MSRP.replace(" 9 ", " nine ").encode(), 400),
    "protection without fingerprint": (SDP.encode() + MSRP.encode() + b"a=3ge2ae:requested\r\n", 488),
    "nothing at all": (b"", 488),
}


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tls"])
async def test_a_bad_offer_of_a_registered_ue(site: Site, listener: str) -> None:
    party = await site.stage.new_party()
    ue = await site.stage.new_ue(site.pcscf.listeners[listener])
    link = await ue.link_to(ue.proxy_uri)
    wrong = []
    for name, (body, wanted) in {**BAD_OFFERS, "another type": (b"<pidf/>", 415)}.items():
        invite = ue._invite(party.uri, link, ue.habits.describe("127.0.0.1", 9, setup="active", secure=True, e2ae="requested"))
        invite.set_body(body, "application/pidf+xml" if wanted == 415 else "application/sdp")
        transaction = ue.send_request(invite, link)
        response = await within(transaction.final_response(), "the refusal")
        if response.status != wanted:
            wrong.append(f"{name}: {response.status} instead of {wanted}: {response.get('Warning')}")
    assert not wrong, "\n".join(wrong)


async def test_a_request_that_comes_back_unchanged_is_a_loop(site: Site) -> None:
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    await site.stage.new_party()
    link = await ue.link_to(ue.proxy_uri)
    options = Request("OPTIONS", f"sip:bob@{DOMAIN}", [
        ("From", f"<{ue.uri}>;tag=1"), ("To", f"<sip:bob@{DOMAIN}>"), ("Call-ID", secrets.token_hex(8)), ("CSeq", "1 OPTIONS"),
        ("Max-Forwards", "70"), ("Content-Length", "0"),
    ])
    await within(ue.send_request(options, link).final_response(), "an answer")
    forwarded = next(parse_datagram_untrusted(each) for each in site.stage.core.received if each.startswith(b"OPTIONS"))
    forwarded.remove("Route")
    forwarded.prepend("Via", f"SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{secrets.token_hex(8)};rport")
    wire = await Wire(site.pcscf.listeners["mw-udp"]).open()
    wire.send(forwarded.to_bytes())
    answer = await wire.response()
    assert answer is not None
    assert answer.status == 482
    wire.close()


@pytest.mark.parametrize("hop", ["[::1]:9", "127.0.0.1:9;transport=sctp", "127.0.0.1:9;transport=tcp", "no-such-host.invalid"])
async def test_a_route_that_leads_nowhere(site: Site, hop: str) -> None:
    """The core's side names a hop that cannot be reached: the UE is told, and its BYE ends the session all the same."""
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    binding = site.stage.core.bindings["alice"][-1]
    wire = await Wire(site.pcscf.listeners["mw-udp"]).open()
    wire.send(text(
        "INVITE", binding.contact, body=SDP + MSRP.replace("/TLS", "").replace("msrps", "msrp") + "a=msrp-cema\r\n",
        Contact="<sip:mallory@127.0.0.1:9>", Content_Type="application/sdp",
        more=(*(f"Route: {each}" for each in binding.path), f"Record-Route: <sip:{hop};lr>")).encode())
    while (answer := await wire.response()) is not None and answer.status < 200:
        pass
    assert answer is not None
    assert answer.status == 200
    [call] = ue.calls.values()
    await within(call.hang_up(), "the answer to BYE")
    await site.pcscf.nothing_left()
    wire.close()


CONFIDENTIAL = "the-plan-for-tuesday"
CREDENTIALS = f'Digest username="alice", realm="{DOMAIN}", nonce="{CONFIDENTIAL}", response="{CONFIDENTIAL}"'
KEY = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{CONFIDENTIAL}"


async def test_what_is_confidential_stays_out_of_the_log(site: Site) -> None:
    """At debug level: credentials, keys and bodies, in good messages as in those that nobody can read."""
    party = await site.stage.new_party(Manners(reply=REPLY))
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    call = await converse(ue, party, CONFIDENTIAL)
    await within(call.hang_up(), "the answer to BYE")
    link = await ue.link_to(ue.proxy_uri)
    for line in (KEY, f"a crypto {CONFIDENTIAL}", f"a=setup:{CONFIDENTIAL}", f"a=fingerprint:{CONFIDENTIAL}"):
        invite = ue._invite(party.uri, link, ue.habits.describe("127.0.0.1", 9, setup="active", secure=True, e2ae="requested"))
        invite.set_body(f"{SDP}{MSRP}{line}\r\n".encode(), "application/sdp")
        await within(ue.send_request(invite, link).final_response(), "an answer")
    for each in (
        text(transport="tcp", more=(f"Authorization: {CREDENTIALS}",)),
        text(transport="tcp", more=(f"Authorization {CREDENTIALS}",)),
        text(transport="tcp", more=(f"Proxy-Authorization: {CREDENTIALS}", "and no colon")),
        text(transport="tcp", body=CONFIDENTIAL),
        text(transport="tcp", body=f"{CONFIDENTIAL} and some words more\r\n\r\n", Content_Length="0"),
        text(transport="tcp", body=f"{SDP}{MSRP}{KEY}\r\n\r\n", Content_Length="3"),
    ):
        wire = await Wire(site.pcscf.listeners["gm-tcp"]).open()
        await wire.answers(each.encode())
        wire.close()
    log = site.pcscf.log
    for event in ("registered", "decided", "reserved", "refused", "malformed"):
        assert f"] {event}" in log
    assert CONFIDENTIAL not in log
    assert "inline:" not in log


STRANGERS = {
    "noise": random.Random(9).randbytes(1_000),
    "an empty datagram": b"",
    "half a message": b"MEGACO/2 [127.0.0.1]:9 Transaction=1{Context=1{Notify=ip/1/1/1{ObservedEvents=1{",
    "brackets without end": b"MEGACO/1 [127.0.0.1]:9 " + b"Transaction=1{" * 4_000,
    "another version": b"MEGACO/9 [127.0.0.1]:9 Transaction=1{Context=-{ServiceChange=ROOT{Services{Method=Restart}}}}",
    "a reply to nothing": b"MEGACO/2 [127.0.0.1]:9 Reply=1{Context=1{Subtract=ip/1/1/1}}",
    "replies to whatever may be open": (
        b"MEGACO/2 [127.0.0.1]:9 " + b"".join(b"Reply=%d{Context=*{Subtract=*}}" % number for number in range(50))),
    "an error": b'MEGACO/2 [127.0.0.1]:9 Error=500{"no"}',
    "a pending of nothing": b"MEGACO/2 [127.0.0.1]:9 Pending=1{}",
    "an end of every connection": (
        b"MEGACO/2 [127.0.0.1]:9 Transaction=5{Context=*{Notify=*{ObservedEvents=1{20200101T00000000:"
        b"g/cause{Generalcause=FT,Failurecause=\"x\"}}}}}"),
    "a Subtract of everything": b"MEGACO/2 [127.0.0.1]:9 Transaction=6{Context=*{W-Subtract=*}}",
    "a goodbye in another's name": (
        b"MEGACO/2 [127.0.0.1]:2945 Transaction=7{Context=-{ServiceChange=ROOT{Services{Method=Forced,Reason=\"905 x\"}}}}"),
    "a registration": (
        b"MEGACO/1 [127.0.0.2]:9 Transaction=8{Context=-{ServiceChange=ROOT{"
        b"Services{Method=Restart,Reason=\"901 Cold Boot\",Profile=iqprofile/1,Version=2}}}}"),
}  # fmt: skip


@pytest.mark.parametrize("end", ["controller", "gateway"])
async def test_strangers_on_iq(site: Site, end: str) -> None:
    """A stranger (another address of the loopback) changes nothing: the session that stands goes on, and can be ended."""
    party = await site.stage.new_party(Manners(reply=REPLY))
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    call = await converse(ue, party, "before the strangers")
    standing = site.pcscf.contexts()
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    where = site.pcscf.iq if end == "controller" else site.pcscf.gateway_iq
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(heard), local_addr=("127.0.0.2", 0), remote_addr=where)
    for octets in STRANGERS.values():
        transport.sendto(octets)
    await within(heard.get(), "a refusal")
    transport.close()
    await within(call.send_text("after them"), "the response to a message")
    assert await within(call.receive_text(), "the reply") == "Got it: after them"
    assert site.pcscf.contexts() == standing
    await within(call.hang_up(), "the answer to BYE")
    while not heard.empty():
        assert b"Error" in heard.get_nowait()


RAW = {
    "an extension": (text(more=("Proxy-Require: RAW",)), 420),
    "a Call-ID": (text(Call_ID="RAW"), 403),
    "a name": (text(From="\"RAW\" <sip:mallory@ims.example>;tag=1"), 403),
    "a line without colon": (text(more=("RAW",)), 400),
    "a body": (text("OPTIONS", body="RAW"), 403),
}


async def test_octets_that_are_no_utf8(site: Site) -> None:
    wrong = []
    for name, (made, status) in RAW.items():
        wire = await Wire(site.pcscf.listeners["gm-udp"]).open()
        answers = await wire.answers(made.encode().replace(b"RAW", b"\xff\xc0\x80"))
        wire.close()
        if [answer.status for answer in answers if answer is not None] != [status]:
            wrong.append(f"{name}: {answers}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture
async def hurried(tmp_path: Path) -> AsyncIterator[Pcscf]:
    """A P-CSCF that waits for nobody."""
    settings = ("timers.idle_connection=1.0", "timers.tls_handshake=1.0")
    async with stage() as around, pcscf(tmp_path / "run", around.core.address, *settings) as running:
        yield running


@pytest.mark.asyncio(loop_scope="function")
async def test_connections_that_come_to_nothing_are_closed(hurried: Pcscf) -> None:
    """Silence, a trickle that never becomes a message, and a handshake that is never finished."""
    before = hurried.descriptors()
    tcp, (_, host, port) = hurried.listeners["gm-tcp"], hurried.listeners["gm-tls"]
    silent, slow, half = [
        await Wire(each).open() for each in (tcp, tcp, Target("tcp", host, port))
    ]
    half.send(_client_hello()[:40])
    slow.send(text(transport="tcp").encode()[:-2])
    trickle = asyncio.create_task(_trickle(slow))
    try:
        for wire in (silent, slow, half):
            assert await within(wire._in.get(), "the end of the connection") == b""
    finally:
        trickle.cancel()
        await asyncio.gather(trickle, return_exceptions=True)
        for wire in (silent, slow, half):
            wire.close()
    await until(lambda: hurried.descriptors() <= before, hurried.descriptors)


async def _trickle(wire: Wire) -> None:
    """One octet now and then, for ever: a header that goes on."""
    while True:
        wire.send(b"x")
        await asyncio.sleep(0.1)


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    channel = tls.client_context().wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        channel.do_handshake()
    return outgoing.read()
