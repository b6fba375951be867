"""Floor control over real connections on loopback, and what a server says to those who ask wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from pcscf.lab.bfcp import Attribute, ErrorCode, Group, Kind, Message, Number, Octets, Parser, Primitive, find, status_of
from pcscf.lab.bfcp_session import MAX_REQUESTS, Conference, FloorParticipant, FloorServer
from pcscf.lab.medium import NotTakenError, SessionClosedError
from pcscf.lab.streams import Listener, PlainStream, dial
from pcscf.lab.tap import NoTap

PATIENCE = 20
CONFERENCE = Conference(4711, 12, (3, 5))


@dataclass
class Line:
    server: FloorServer
    stream: PlainStream   # of who asks

    def ask(self, primitive: int, *attributes: Attribute, conference: int = 4711, user: int = 12, transaction: int = 9) -> None:
        self.stream.write(Message(primitive, conference, transaction, user, attributes).to_bytes())

    async def answers(self, count: int = 1) -> list[Message]:
        parser, got = Parser(), []
        while len(got) < count:
            got += parser.feed(await self.stream.read())
        return got


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    listener = await Listener.open("127.0.0.1")
    stream = PlainStream(await dial(*listener.address))
    server = FloorServer(PlainStream(await listener.accept()), CONFERENCE, NoTap(), "call")
    async with asyncio.timeout(PATIENCE):
        yield Line(server, stream)
    stream.close()
    await server.close()
    listener.close()


def code(message: Message) -> int:
    found = find(message.attributes, Kind.ERROR_CODE)
    assert isinstance(found, Octets)
    return found.value[0]


@pytest.mark.parametrize(("asked", "expected"), [
    ({"primitive": 11, "conference": 1}, ErrorCode.CONFERENCE_UNKNOWN),
    ({"primitive": 11, "user": 1}, ErrorCode.USER_UNKNOWN),
    ({"primitive": 9}, ErrorCode.PRIMITIVE_UNKNOWN),
    ({"primitive": 200}, ErrorCode.PRIMITIVE_UNKNOWN),
    ({"primitive": 1, "attributes": (Number(Kind.FLOOR_ID, 4),)}, ErrorCode.FLOOR_UNKNOWN),
    ({"primitive": 1}, ErrorCode.FLOOR_UNKNOWN),
    ({"primitive": 7, "attributes": (Number(Kind.FLOOR_ID, 4),)}, ErrorCode.FLOOR_UNKNOWN),
    ({"primitive": 2, "attributes": (Number(Kind.FLOOR_REQUEST_ID, 4),)}, ErrorCode.FLOOR_REQUEST_UNKNOWN),
    ({"primitive": 3}, ErrorCode.FLOOR_REQUEST_UNKNOWN),
    ({"primitive": 1, "attributes": (Octets(99, b""),)}, ErrorCode.MANDATORY_ATTRIBUTE_UNKNOWN),
])
async def test_errors(line: Line, asked: dict[str, object], expected: ErrorCode) -> None:
    given = dict(asked)
    attributes = given.pop("attributes", ())
    line.ask(given.pop("primitive"), *attributes, **given)   # type: ignore[arg-type, misc]
    [answer] = await line.answers()
    assert (answer.primitive, answer.transaction, code(answer)) == (Primitive.ERROR, 9, expected)
    assert answer.conference == asked.get("conference", 4711)


async def test_a_floor_is_given_to_one_after_the_other(line: Line) -> None:
    for transaction in (1, 2):
        line.ask(Primitive.FLOOR_REQUEST, Number(Kind.FLOOR_ID, 3), transaction=transaction)
    told = [(each.transaction, status_of(each)) for each in await line.answers(3)]
    assert told == [(1, (1, 1)), (0, (1, 3)), (2, (2, 1))], "the second one waits"
    line.ask(Primitive.FLOOR_QUERY, Number(Kind.FLOOR_ID, 3), transaction=3)
    [status] = await line.answers()
    assert [each.id for each in status.attributes if isinstance(each, Group)] == [1, 2]
    line.ask(Primitive.FLOOR_RELEASE, Number(Kind.FLOOR_REQUEST_ID, 1), transaction=4)
    assert [(each.transaction, status_of(each)) for each in await line.answers(2)] == [(4, (1, 6)), (0, (2, 3))]
    line.ask(Primitive.FLOOR_REQUEST_QUERY, Number(Kind.FLOOR_REQUEST_ID, 2), transaction=5)
    assert [(each.transaction, status_of(each)) for each in await line.answers()] == [(5, (2, 3))]


async def test_who_waits_may_cancel_and_not_too_many_wait(line: Line) -> None:
    for _ in range(MAX_REQUESTS + 1):
        line.ask(Primitive.FLOOR_REQUEST, Number(Kind.FLOOR_ID, 5))
    *_, last = await line.answers(MAX_REQUESTS + 2)
    assert code(last) == ErrorCode.TOO_MANY_REQUESTS
    line.ask(Primitive.FLOOR_RELEASE, Number(Kind.FLOOR_REQUEST_ID, 7))
    assert [status_of(each) for each in await line.answers()] == [(7, 5)]


async def test_octets_that_are_no_bfcp_end_the_connection(line: Line) -> None:
    line.stream.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await line.stream.read() == b""
    with pytest.raises(SessionClosedError, match="version 2"):
        await line.server.receive_text()
    with pytest.raises(SessionClosedError):
        await line.server.send_text("nobody there")
    with pytest.raises(SessionClosedError):
        await line.server.greet()


async def test_a_participant_and_its_server() -> None:
    listener = await Listener.open("127.0.0.1")
    pair = await dial(*listener.address)
    server = FloorServer(PlainStream(await listener.accept()), CONFERENCE, NoTap(), "call")
    participant = FloorParticipant(PlainStream(pair), CONFERENCE, NoTap(), "call")
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(server.greet(), participant.greet())
        for words in ("may I?", "", "ü" * 126):
            await participant.send_text(words)
            assert await server.receive_text() == words
        await server.send_text("you had it")
        assert await participant.receive_text() == "you had it"
        assert [each.value for each in (await participant.query_floor(5)).attributes] == [5]   # type: ignore[union-attr]
        for talker, text in ((participant, "x" * 254), (server, "x" * 240)):
            with pytest.raises(NotTakenError, match="at most"):
                await talker.send_text(text)
        with pytest.raises(NotTakenError, match="error 6"):
            await participant.query_floor(1)
        await server.close()
        with pytest.raises(SessionClosedError, match="peer closed"):
            await participant.receive_text()
        with pytest.raises(SessionClosedError):
            await participant.send_text("hello?")
    await participant.close()
    listener.close()
