"""One MSRP session against a peer that is nothing but octets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from pcscf.lab.media import MsrpListener, MsrpMedia, connect, new_uri
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.msrp import Frame, Parser, Request, Response, response_to
from pcscf.lab.msrp_session import MsrpSession, SendRefusedError, SessionClosedError
from pcscf.lab.streams import PlainStream
from pcscf.lab.tap import NoTap

OURS = new_uri("127.0.0.1", 9, secure=False)
THEIRS = new_uri("127.0.0.1", 10, secure=False)


@dataclass
class Wire:
    """The far end of a session's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parser: Parser

    def write(self, frame: Frame) -> None:
        self.writer.write(frame.to_bytes())

    async def read(self) -> Frame:
        while True:
            data = await self.reader.read(4096)
            assert data, "the session closed the connection"
            if frames := self.parser.feed(data):
                assert len(frames) == 1
                return frames[0]

    async def ask(self, frame: Request) -> int:
        self.write(frame)
        answer = await self.read()
        assert isinstance(answer, Response)
        assert answer.transaction == frame.transaction
        return answer.status


@pytest.fixture
async def pair() -> AsyncIterator[tuple[MsrpSession, Wire]]:
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *pair: accepted.put_nowait(pair), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    session = MsrpSession(PlainStream(await accepted.get()), local=OURS, remote=(THEIRS,), tap=NoTap(), flow="call")
    yield session, Wire(reader, writer, Parser())
    await session.close()
    writer.close()
    await writer.wait_closed()
    server.close()


def send(body: bytes | None = b"hi", *, to: str = str(OURS), transaction: str = "t001", **headers: str) -> Request:
    fields = {"To-Path": to, "From-Path": str(THEIRS), "Message-ID": "m001"}
    if body is not None:
        fields |= {"Byte-Range": f"1-{len(body)}/{len(body)}", "Content-Type": "text/plain"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(transaction, "SEND", tuple((name, value) for name, value in fields.items() if value), body)


async def test_a_message_is_answered_and_delivered(pair: tuple[MsrpSession, Wire]) -> None:
    session, wire = pair
    assert await wire.ask(send(b"hello")) == 200
    assert (await session.receive()).content == b"hello"


async def test_the_empty_send_is_answered_and_carries_nothing(pair: tuple[MsrpSession, Wire]) -> None:
    session, wire = pair
    assert await wire.ask(send(None)) == 200
    assert await wire.ask(send(b"first", transaction="t002")) == 200
    assert (await session.receive()).content == b"first"


@pytest.mark.parametrize("to", [
    str(OURS).replace("msrp:", "msrps:"),
    str(OURS).replace(":9/", ":8/"),
    str(OURS).replace("127.0.0.1", "127.0.0.2"),
    str(OURS).replace(OURS.session, OURS.session.upper()),
    str(OURS).replace(";tcp", ";ws"),
    f"{OURS} {OURS}",
    str(THEIRS),
])
async def test_whose_path_is_not_exactly_ours_gets_481(pair: tuple[MsrpSession, Wire], to: str) -> None:
    session, wire = pair
    assert await wire.ask(send(b"lost", to=to)) == 481
    assert await wire.ask(send(b"kept", transaction="t002")) == 200
    assert (await session.receive()).content == b"kept"


@pytest.mark.parametrize(("frame", "status"), [
    (send(to=""), 481),
    (send(to="nonsense"), 400),
    (send(Message_ID=""), 400),
    (send(From_Path=""), 400),
    (send(Content_Type=""), 400),
    (Request("t001", "AUTH", (("To-Path", str(OURS)), ("From-Path", str(THEIRS)), ("Message-ID", "m"))), 501),
])
async def test_what_cannot_be_served_is_refused(pair: tuple[MsrpSession, Wire], frame: Request, status: int) -> None:
    _, wire = pair
    assert await wire.ask(frame) == status


@pytest.mark.parametrize(("wish", "status"), [("no", 501), ("partial", 200)])
async def test_nobody_is_answered_who_does_not_want_it(pair: tuple[MsrpSession, Wire], wish: str, status: int) -> None:
    _, wire = pair
    method = "SEND" if status == 200 else "AUTH"
    wire.write(Request("quiet", method, send(Failure_Report=wish).headers, b"x"))
    assert await wire.ask(send(transaction="loud")) == 200


async def test_a_report_is_sent_when_asked_for_and_never_answered(pair: tuple[MsrpSession, Wire]) -> None:
    session, wire = pair
    wire.write(send(b"hello", Success_Report="yes"))
    while len(frames := wire.parser.feed(await wire.reader.read(4096))) < 2:
        pass
    report = frames[1]
    assert isinstance(report, Request)
    assert (report.method, report.get("Status"), report.get("Byte-Range"), report.get("Message-ID")) == (
        "REPORT", "000 200 OK", "1-5/5", "m001")
    wire.write(Request("rep1", "REPORT", (
        ("To-Path", str(OURS)), ("From-Path", str(THEIRS)), ("Message-ID", "mine"), ("Byte-Range", "1-2/2"),
        ("Status", "000 413 too long"),
    )))
    assert await wire.ask(send(transaction="t002")) == 200
    assert [(each.message_id, each.status) for each in session.reports] == [("mine", 413)]


async def test_what_the_peer_refuses_is_raised(pair: tuple[MsrpSession, Wire]) -> None:
    session, wire = pair
    sending = asyncio.create_task(session.send("hello"))
    request = await wire.read()
    assert isinstance(request, Request)
    assert (request.get("To-Path"), request.get("From-Path")) == (str(THEIRS), str(OURS))
    wire.write(response_to(request, 413, "no thanks"))
    with pytest.raises(SendRefusedError, match="413 no thanks"):
        await sending


async def test_a_closed_connection_ends_everything(pair: tuple[MsrpSession, Wire]) -> None:
    session, wire = pair
    sending = asyncio.create_task(session.send("hello"))
    await wire.read()
    wire.writer.close()
    with pytest.raises(SessionClosedError):
        await sending
    with pytest.raises(SessionClosedError):
        await session.receive()
    with pytest.raises(SessionClosedError):
        await session.send("again")
    assert session.closed


async def test_garbage_ends_the_session(pair: tuple[MsrpSession, Wire]) -> None:
    session, wire = pair
    wire.writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await session.wait_closed()
    assert "not an MSRP start line" in session.failure


def described(port: int) -> MsrpMedia:
    return MsrpMedia("127.0.0.1", port, (new_uri("127.0.0.1", port, secure=False),), setup="passive")


async def test_the_passive_side_serves_one_connection_only() -> None:
    listener = await MsrpListener.open("127.0.0.1")
    local = described(listener.address[1])
    first, second = described(9), described(9)
    accepting = asyncio.create_task(listener.accept(local, first, None, NoTap(), "call"))
    one, _ = await connect(first, local, None, NoTap(), "call")
    await one.bind()
    session, facts = await accepting
    assert isinstance(session, MsrpSession)
    assert facts is None
    other, _ = await connect(second, local, None, NoTap(), "call")
    with pytest.raises(SendRefusedError, match="506"):
        await other.bind()
    stranger, _ = await connect(second, described(listener.address[1]), None, NoTap(), "call")
    with pytest.raises(SendRefusedError, match="481"):
        await stranger.bind()
    await one.send("still here")
    assert (await session.receive()).content == b"still here"
    for each in (one, other, stranger):
        await each.close()
    await listener.close()


async def test_nobody_there_is_told() -> None:
    listener = await MsrpListener.open("127.0.0.1")
    port = listener.address[1]
    await listener.close()
    with pytest.raises(MediaFailedError):
        await connect(described(9), described(port), None, NoTap(), "call")
