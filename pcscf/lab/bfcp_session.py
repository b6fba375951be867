"""One BFCP connection (RFC 8855): a floor participant, or a floor control server for it.

The text of a session is what people would read: the participant's is the words of a floor request (§5.2.8), the server's the
words of a floor status (§5.2.9). The server grants a free floor at once; what waits for it stands in a queue.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from pcscf.lab.bfcp import (
    MAX_TEXT_BYTES,
    Attribute,
    BfcpError,
    ErrorCode,
    Group,
    Kind,
    Message,
    Number,
    Octets,
    Parser,
    Primitive,
    RequestStatus,
    Text,
    error_code,
    find,
    number_of,
    request_status,
    status_of,
    supported,
    text_of,
    unknown_mandatory,
)
from pcscf.lab.medium import NotTakenError, Running, SessionClosedError
from pcscf.lab.streams import Stream
from pcscf.lab.tap import Direction, Tap

TRANSACTION_TIMEOUT = 10.0   # seconds for a response
GRANT_TIMEOUT = 30.0         # seconds for a floor
MAX_STATUS_TEXT = 239        # octets of STATUS-INFO that fit into its two groups
MAX_REQUESTS = 16            # floor requests that wait in one conference

PRIMITIVES = (
    Primitive.FLOOR_REQUEST, Primitive.FLOOR_RELEASE, Primitive.FLOOR_REQUEST_QUERY, Primitive.FLOOR_REQUEST_STATUS,
    Primitive.FLOOR_QUERY, Primitive.FLOOR_STATUS, Primitive.HELLO, Primitive.HELLO_ACK, Primitive.ERROR,
)


@dataclass(frozen=True, slots=True)
class Conference:
    """What the SDP of a floor control server says (RFC 8856 §5): conference, the participant's user ID, and its floors."""

    id: int
    user: int
    floors: tuple[int, ...] = (1,)


class _Connection(Running[str]):
    """What both roles have: a stream, a reader of it, and texts that came."""

    def __init__(self, stream: Stream, conference: Conference, tap: Tap, flow: str) -> None:
        super().__init__()
        self.conference = conference
        self._stream = stream
        self._tap = tap
        self._flow = flow

    async def receive_text(self) -> str:
        return await self._next_that_came()

    def _take(self, message: Message) -> None:
        raise NotImplementedError

    def _ended(self) -> None:
        """The connection is gone: whoever waits is told."""

    def _send(self, primitive: Primitive, transaction: int, *attributes: Attribute) -> None:
        message = Message(primitive, self.conference.id, transaction, self.conference.user, attributes)
        self._show("out", message)
        self._stream.write(message.to_bytes())

    async def _run(self) -> None:
        parser = Parser()
        try:
            while data := await self._stream.read():
                for message in parser.feed(data):
                    self._show("in", message)
                    self._take(message)
            self.failure = "the peer closed the connection"
        except (OSError, BfcpError) as error:
            self.failure = str(error)
        except asyncio.CancelledError:
            self.failure = "closed by us"
            raise
        finally:
            self._stream.close()
            self._came.put_nowait(None)
            self._ended()

    def _show(self, direction: Direction, message: Message) -> None:
        status = status_of(message)
        text = message.name + (f" {status[1].name.capitalize()}" if status else "")
        self._tap.event(
            "BFCP", direction, text, flow=self._flow, local=self._stream.local, peer=self._stream.peer,
            facts={"id": f"{message.conference}/{message.user}/{message.transaction}/{text}", "transaction": message.transaction},
        )


class FloorParticipant(_Connection):
    """The client. A text of ours asks for the first floor, and gives it back once it was granted."""

    def __init__(self, stream: Stream, conference: Conference, tap: Tap, flow: str) -> None:
        super().__init__(stream, conference, tap, flow)
        self._transactions = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._states: dict[int, asyncio.Queue[RequestStatus | None]] = {}   # by Floor Request ID

    async def greet(self) -> None:
        """Hello (RFC 8855 §10.8). Raises NotTakenError, SessionClosedError or TimeoutError."""
        await self._transact(Primitive.HELLO, Primitive.HELLO_ACK)

    async def send_text(self, text: str) -> None:
        """FloorRequest, until granted, then FloorRelease (RFC 8855 §10.1, §10.2)."""
        try:
            words = _text(Kind.PARTICIPANT_PROVIDED_INFO, text)
        except ValueError as error:
            raise NotTakenError(str(error)) from None
        answer = await self._transact(
            Primitive.FLOOR_REQUEST, Primitive.FLOOR_REQUEST_STATUS, Number(Kind.FLOOR_ID, self.conference.floors[0]), words,
        )
        told = status_of(answer)
        if told is None:
            raise NotTakenError("the FloorRequestStatus tells no status")
        request, status = told
        await self._granted(request, status)
        await self._transact(
            Primitive.FLOOR_RELEASE, Primitive.FLOOR_REQUEST_STATUS, Number(Kind.FLOOR_REQUEST_ID, request),
        )

    async def query_floor(self, floor: int) -> Message:
        """FloorQuery (RFC 8855 §10.5): the FloorStatus that answers. Raises as `send_text`."""
        return await self._transact(Primitive.FLOOR_QUERY, Primitive.FLOOR_STATUS, Number(Kind.FLOOR_ID, floor))

    async def _granted(self, request: int, status: RequestStatus) -> None:
        states = self._states.setdefault(request, asyncio.Queue())
        try:
            async with asyncio.timeout(GRANT_TIMEOUT):
                while status in {RequestStatus.PENDING, RequestStatus.ACCEPTED}:
                    later = await states.get()
                    if later is None:
                        raise SessionClosedError(self.failure)
                    status = later
        finally:
            self._states.pop(request, None)
        if status is not RequestStatus.GRANTED:
            raise NotTakenError(f"the floor is {status.name.lower()}")

    async def _transact(self, primitive: Primitive, expected: Primitive, *attributes: Attribute) -> Message:
        self._check_open()
        transaction = next(self._transactions)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = answer
        try:
            self._send(primitive, transaction, *attributes)
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                message = await answer
        finally:
            del self._waiting[transaction]
        if message.primitive == Primitive.ERROR:
            code = find(message.attributes, Kind.ERROR_CODE)
            number = code.value[0] if isinstance(code, Octets) and code.value else 0
            raise NotTakenError(f"BFCP error {number} {text_of(message, Kind.ERROR_INFO)}".rstrip())
        if message.primitive != expected:
            raise NotTakenError(f"{message.name} does not answer {primitive.name}")
        return message

    def _take(self, message: Message) -> None:
        if (message.conference, message.user) != (self.conference.id, self.conference.user):
            raise BfcpError("a message for another conference or user")
        answer = self._waiting.get(message.transaction)
        told = status_of(message)
        if told is not None and message.primitive == Primitive.FLOOR_REQUEST_STATUS and message.transaction == 0:
            self._states.setdefault(told[0], asyncio.Queue()).put_nowait(told[1])
        elif answer is not None and not answer.done():
            answer.set_result(message)
        if words := text_of(message, Kind.STATUS_INFO):
            self._came.put_nowait(words)

    def _ended(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SessionClosedError(self.failure))
        for states in self._states.values():
            states.put_nowait(None)


@dataclass(slots=True)
class _Request:
    """A floor request. words: what the participant said with it."""

    id: int
    floor: int
    words: str
    status: RequestStatus = RequestStatus.PENDING


@dataclass(slots=True)
class _Floors:
    """Who has which floor: the first request in a floor's queue."""

    queues: dict[int, list[_Request]] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def request(self, floor: int, words: str) -> _Request:
        made = _Request(next(self.numbers), floor, words)
        self.queues[floor].append(made)
        return made

    def find(self, request_id: int | None) -> _Request | None:
        return next((each for queue in self.queues.values() for each in queue if each.id == request_id), None)

    @property
    def waiting(self) -> int:
        return sum(map(len, self.queues.values()))


class FloorServer(_Connection):
    """The floor control server of one participant."""

    def __init__(self, stream: Stream, conference: Conference, tap: Tap, flow: str) -> None:
        super().__init__(stream, conference, tap, flow)
        self._floors = _Floors({floor: [] for floor in conference.floors})
        self._greeted = asyncio.Event()
        self._served: dict[int, Callable[[Message], None]] = {
            Primitive.HELLO: self._on_hello,
            Primitive.FLOOR_REQUEST: self._on_request,
            Primitive.FLOOR_RELEASE: self._on_release,
            Primitive.FLOOR_REQUEST_QUERY: self._on_request_query,
            Primitive.FLOOR_QUERY: self._on_floor_query,
        }

    async def greet(self) -> None:
        """Wait for the participant's Hello. Raises TimeoutError, or SessionClosedError where none can come."""
        async with asyncio.timeout(TRANSACTION_TIMEOUT):
            await self._greeted.wait()
        self._check_open()

    async def send_text(self, text: str) -> None:
        """A FloorStatus with these words, that no query asked for (RFC 8855 §13.5.2)."""
        self._check_open()
        floor = self.conference.floors[0]
        queue = self._floors.queues[floor]
        made = queue[0] if queue else _Request(next(self._floors.numbers), floor, "", RequestStatus.RELEASED)
        try:
            self._send(Primitive.FLOOR_STATUS, 0, Number(Kind.FLOOR_ID, floor), self._information(made, text))
        except ValueError as error:
            raise NotTakenError(str(error)) from None

    def _take(self, message: Message) -> None:
        serve = self._served.get(message.primitive)
        if message.conference != self.conference.id:
            self._refuse(message, ErrorCode.CONFERENCE_UNKNOWN)
        elif message.user != self.conference.user:
            self._refuse(message, ErrorCode.USER_UNKNOWN)
        elif serve is None:
            self._refuse(message, ErrorCode.PRIMITIVE_UNKNOWN)
        elif unknown := unknown_mandatory(message.attributes):
            self._refuse(message, ErrorCode.MANDATORY_ATTRIBUTE_UNKNOWN, bytes(kind << 1 for kind in unknown))
        else:
            serve(message)

    def _on_hello(self, message: Message) -> None:
        self._send(Primitive.HELLO_ACK, message.transaction, *supported(PRIMITIVES, tuple(Kind)))
        self._greeted.set()

    def _on_request(self, message: Message) -> None:
        floor = number_of(message, Kind.FLOOR_ID)
        if floor is None or floor not in self._floors.queues:
            self._refuse(message, ErrorCode.FLOOR_UNKNOWN)
        elif self._floors.waiting >= MAX_REQUESTS:
            self._refuse(message, ErrorCode.TOO_MANY_REQUESTS)
        else:
            made = self._floors.request(floor, text_of(message, Kind.PARTICIPANT_PROVIDED_INFO))
            self._tell(made, message.transaction)
            self._grant(floor)

    def _on_release(self, message: Message) -> None:
        made = self._floors.find(number_of(message, Kind.FLOOR_REQUEST_ID))
        if made is None:
            self._refuse(message, ErrorCode.FLOOR_REQUEST_UNKNOWN)
            return
        granted = made.status is RequestStatus.GRANTED
        made.status = RequestStatus.RELEASED if granted else RequestStatus.CANCELLED
        self._floors.queues[made.floor].remove(made)
        self._tell(made, message.transaction)
        self._grant(made.floor)

    def _on_request_query(self, message: Message) -> None:
        made = self._floors.find(number_of(message, Kind.FLOOR_REQUEST_ID))
        if made is None:
            self._refuse(message, ErrorCode.FLOOR_REQUEST_UNKNOWN)
        else:
            self._tell(made, message.transaction)

    def _on_floor_query(self, message: Message) -> None:
        floor = number_of(message, Kind.FLOOR_ID)
        if floor is None or floor not in self._floors.queues:
            self._refuse(message, ErrorCode.FLOOR_UNKNOWN)
            return
        told = (self._information(each) for each in self._floors.queues[floor])
        self._send(Primitive.FLOOR_STATUS, message.transaction, Number(Kind.FLOOR_ID, floor), *told)

    def _grant(self, floor: int) -> None:
        """The first in the queue has the floor."""
        queue = self._floors.queues[floor]
        if queue and queue[0].status is not RequestStatus.GRANTED:
            queue[0].status = RequestStatus.GRANTED
            self._tell(queue[0], 0)
            self._came.put_nowait(queue[0].words)

    def _tell(self, made: _Request, transaction: int) -> None:
        self._send(Primitive.FLOOR_REQUEST_STATUS, transaction, self._information(made))

    def _information(self, made: _Request, words: str = "") -> Group:
        """RFC 8855 §5.2.15: the overall status, with words where there are some, and the floor. Raises ValueError."""
        if len(words.encode()) > MAX_STATUS_TEXT:
            raise ValueError(f"a status has at most {MAX_STATUS_TEXT} octets of text")
        queue = self._floors.queues[made.floor]
        position = min(queue.index(made), 255) if made in queue and made.status is RequestStatus.PENDING else 0
        status: tuple[Attribute, ...] = (request_status(made.status, position),)
        if words:
            status += (_text(Kind.STATUS_INFO, words),)
        overall = Group(Kind.OVERALL_REQUEST_STATUS, made.id, status)
        return Group(Kind.FLOOR_REQUEST_INFORMATION, made.id, (overall, Group(Kind.FLOOR_REQUEST_STATUS, made.floor)))

    def _refuse(self, message: Message, code: ErrorCode, details: bytes = b"") -> None:
        """Error, in the name of the conference and user that were asked for."""
        told = Message(
            Primitive.ERROR, message.conference, message.transaction, message.user, (error_code(code, details),),
        )
        self._show("out", told)
        self._stream.write(told.to_bytes())

    def _ended(self) -> None:
        self._greeted.set()


def _text(kind: Kind, text: str) -> Text:
    """Raises ValueError where it does not fit."""
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ValueError(f"a BFCP text has at most {MAX_TEXT_BYTES} octets")
    return Text(kind, text)
