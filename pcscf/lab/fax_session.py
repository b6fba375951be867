"""One fax call over T.38 (ITU-T T.30 §5): pages in both directions, each confirmed by who got it.

A page is octets: those of a text by themselves, where a fax machine has an image in the coding of T.4. T.38 carries either
unread. The caller sends its pages when it was told of a receiver (DIS), and polls those of the called side (DTC). Error
correction mode is not used: a page that lost octets on the way is refused (RTN), and sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field

from pcscf.lab.datagrams import Datagrams
from pcscf.lab.medium import NotTakenError, Running, SessionClosedError
from pcscf.lab.t30 import CHOICE, MAX_FRAME_BYTES, Fcf, Frame, T30Error, dis, has_page, parse_frame_untrusted
from pcscf.lab.t38 import (
    Data,
    Field,
    FieldType,
    Ifp,
    Indicator,
    Modulation,
    Sequencer,
    T38Error,
    encode_ifp,
    parse_ifp_untrusted,
    redundant,
)
from pcscf.lab.tap import Direction, Tap

T2 = 6.0                   # seconds without a command, after which the phase begins anew (T.30 §5.4)
T4 = 3.0                   # seconds until a command is repeated
ATTEMPTS = 3               # of a command (T.30 §5.4)
GREET_TIMEOUT = 30.0       # seconds for the first DIS
PAGE_TIMEOUT = 60.0        # seconds for one page, its training included
PIECE_BYTES = 40           # of a page in one packet: 33 ms at 9,600 bit/s
TRAINING_BYTES = 1_800     # zeros for 1.5 seconds (T.30 §5.3.6.1.3, TCF)
PACE = 0.002               # seconds between datagrams: no socket on the way is to overflow
REDUNDANCY = 2             # earlier packets that every datagram repeats
MAX_PAGE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Block:
    """What one modulated signal carried: training, or a page. whole: no packet of it was lost."""

    data: bytes
    whole: bool


Event = Frame | Block | None   # None: look again what there is to send


@dataclass(slots=True)
class _Page:
    data: bytes
    sent: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FaxSession(Running[bytes]):
    """`limit`: the largest UDPTL packet that the peer takes (T38FaxMaxDatagram)."""

    def __init__(self, datagrams: Datagrams, *, caller: bool, limit: int, tap: Tap, flow: str) -> None:
        super().__init__()
        self.counted = Sequencer()
        self._datagrams = datagrams
        self._caller = caller
        self._tap = tap
        self._flow = flow
        self._sender = _Sender(datagrams, limit)
        self._listener = _Listener()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._outbox: deque[_Page] = deque()
        self._receiver_there = asyncio.Event()

    async def greet(self) -> None:
        """The caller waits until a fax machine has answered."""
        if self._caller:
            async with asyncio.timeout(GREET_TIMEOUT):
                await self._receiver_there.wait()
            self._check_open()

    async def send_text(self, text: str) -> None:
        """A page of these octets."""
        await self.send_page(text.encode())

    async def send_page(self, octets: bytes) -> None:
        """Returns once the peer confirmed it (MCF). Raises NotTakenError, SessionClosedError or TimeoutError."""
        self._check_open()
        page = _Page(octets)
        self._outbox.append(page)
        self._events.put_nowait(None)
        async with asyncio.timeout(PAGE_TIMEOUT):
            await page.sent

    async def receive_text(self) -> str:
        return (await self.receive_page()).decode(errors="replace")

    async def receive_page(self) -> bytes:
        """The next page. Raises SessionClosedError once none can come any more."""
        return await self._next_that_came()

    async def _run(self) -> None:
        """Both directions, until one of them ends; closed by us, we disconnect (DCN)."""
        stories = [asyncio.create_task(self._listen()), asyncio.create_task(self._speak())]
        try:
            await asyncio.wait(stories, return_when=asyncio.FIRST_COMPLETED)
            await next(story for story in stories if story.done())
        except (SessionClosedError, OSError) as error:
            self.failure = str(error)
        except asyncio.CancelledError:
            self.failure = "closed by us"
            await _stop(stories)
            with contextlib.suppress(OSError):   # the peer may have gone before
                await self._say(Frame(Fcf.DCN))
            raise
        finally:
            try:
                await _stop(stories)
            finally:   # whoever closes us now cancels the line above
                self._end()

    def _end(self) -> None:
        self._datagrams.close()
        self._came.put_nowait(None)
        self._receiver_there.set()
        for page in self._outbox:
            if not page.sent.done():
                page.sent.set_exception(SessionClosedError(self.failure))

    # what comes

    async def _listen(self) -> None:
        while True:
            lost = self.counted.lost
            for packet in self.counted.take_untrusted(await self._datagrams.receive()):
                try:
                    ifp = parse_ifp_untrusted(packet)
                except T38Error:
                    self._listener.harmed = True
                    continue
                self._listener.harmed |= self.counted.lost > lost
                for event in self._listener.take(ifp):
                    self._show("in", event)
                    self._events.put_nowait(event)

    async def _next(self, patience: float | None) -> Event:
        """The next event; None when there is something to send or `patience` seconds are over. Raises SessionClosedError."""
        try:
            async with asyncio.timeout(patience):
                event = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(event, Frame) and event.fcf is Fcf.DCN:
            raise SessionClosedError("the peer disconnected")
        return event

    # what is said

    async def _speak(self) -> None:
        await (self._as_caller() if self._caller else self._as_called())

    async def _as_called(self) -> None:
        """Say who we are until told what to do; after the last page (EOP) the caller has the word."""
        await self._sender.indicate(Indicator.CED)
        last = False
        while True:
            if not last:
                await self._say(dis(has_page=bool(self._outbox)))
            event, last = await self._next(T4), False
            match event:
                case Frame(Fcf.DCS):
                    last = await self._take_page() is Fcf.EOP
                case Frame(Fcf.DTC) if self._outbox:
                    await self._give_page()
                case Frame(Fcf.EOM | Fcf.EOP | Fcf.MPS):
                    await self._say(Frame(Fcf.MCF))   # the one before did not arrive

    async def _as_caller(self) -> None:
        """Once a receiver is there, send what we have, and ask for what it has."""
        await self._sender.indicate(Indicator.CNG)
        while True:
            event = await self._next(None)
            if isinstance(event, Frame) and event.fcf is Fcf.DIS:
                self._receiver_there.set()
            if self._outbox and self._receiver_there.is_set():
                await self._give_page()
            elif isinstance(event, Frame) and event.fcf is Fcf.DIS and has_page(event):
                await self._say(Frame(Fcf.DTC))
                await self._take_page()

    async def _give_page(self) -> None:
        """Train, send, ask whether it arrived (T.30 §5.2, phases B to D). The page is told what came of it."""
        page = self._outbox[0]   # until it is known what becomes of it
        outcome = "no answer to the training"
        for _ in range(ATTEMPTS):
            await self._say(Frame(Fcf.DCS, CHOICE))
            await self._send_block(bytes(TRAINING_BYTES))
            if await self._answer(Fcf.CFR, Fcf.FTT) is not Fcf.CFR:
                continue
            await self._send_block(page.data)
            outcome = await self._ask_whether_it_arrived()
            if not outcome:
                break
        self._outbox.popleft()
        if page.sent.done():
            return
        if outcome:
            page.sent.set_exception(NotTakenError(outcome))
        else:
            page.sent.set_result(None)

    async def _ask_whether_it_arrived(self) -> str:
        """"" or why it did not. EOM: the phase of agreement begins anew after it."""
        for _ in range(ATTEMPTS):
            await self._say(Frame(Fcf.EOM))
            match await self._answer(Fcf.MCF, Fcf.RTN):
                case Fcf.MCF:
                    return ""
                case Fcf.RTN:
                    return "the page did not arrive whole"
        return "no answer to the end of the page"

    async def _answer(self, *expected: Fcf) -> Fcf | None:
        """Which of the expected frames came within T4; other events are passed over."""
        deadline = asyncio.get_running_loop().time() + T4
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            event = await self._next(left)
            if isinstance(event, Frame) and event.fcf in expected:
                return event.fcf
        return None

    async def _take_page(self) -> Fcf | None:
        """Judge the training, take the page, confirm it: what came after it, or None where nothing came for T2."""
        trained, page = False, None
        deadline = asyncio.get_running_loop().time() + T2
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            event = await self._next(left)
            if event is not None:
                deadline = asyncio.get_running_loop().time() + T2
            match event:
                case Block() if not trained:
                    trained = event.whole and bool(event.data) and not any(event.data)
                    await self._say(Frame(Fcf.CFR if trained else Fcf.FTT))
                case Block():
                    page = event
                case Frame(Fcf.DCS):
                    trained, page = False, None
                case Frame(Fcf.EOM | Fcf.EOP | Fcf.MPS as after):
                    if page is None or not page.whole:
                        await self._say(Frame(Fcf.RTN))
                        continue
                    await self._say(Frame(Fcf.MCF))
                    self._came.put_nowait(page.data)
                    return after
        return None

    async def _say(self, frame: Frame) -> None:
        self._show("out", frame)
        await self._sender.indicate(Indicator.V21_PREAMBLE)
        octets = frame.to_bytes(caller=self._caller)
        await self._sender.send(Data(Modulation.V21, (Field(FieldType.HDLC_DATA, octets),)))
        await self._sender.send(Data(Modulation.V21, (Field(FieldType.HDLC_FCS_OK_SIG_END),)))
        await self._sender.fall_silent()

    async def _send_block(self, data: bytes) -> None:
        self._show("out", Block(data, whole=True))
        await self._sender.indicate(Indicator.V29_9600_TRAINING)
        for start in range(0, len(data), PIECE_BYTES):
            piece = Field(FieldType.T4_NON_ECM_DATA, data[start:start + PIECE_BYTES])
            await self._sender.send(Data(Modulation.V29_9600, (piece,)))
        await self._sender.send(Data(Modulation.V29_9600, (Field(FieldType.T4_NON_ECM_SIG_END),)))
        await self._sender.fall_silent()

    def _show(self, direction: Direction, event: Frame | Block) -> None:
        text = event.fcf.name if isinstance(event, Frame) else f"{len(event.data)} octets"
        self._tap.event(
            "T.38", direction, text, flow=self._flow, local=self._datagrams.local, peer=self._datagrams.peer,
            facts={"recovered": self.counted.recovered, "lost": self.counted.lost},
        )


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Sender:
    """Numbers packets, and repeats earlier ones in every datagram."""

    def __init__(self, datagrams: Datagrams, limit: int) -> None:
        self._datagrams = datagrams
        self._limit = limit
        self._sequence = 0
        self._earlier: deque[bytes] = deque(maxlen=REDUNDANCY)

    async def send(self, packet: Ifp) -> None:
        encoded = encode_ifp(packet)
        self._datagrams.send(redundant(self._sequence, encoded, self._earlier, self._limit).to_bytes())
        self._earlier.appendleft(encoded)
        self._sequence = (self._sequence + 1) % (1 << 16)
        await asyncio.sleep(PACE)

    async def indicate(self, indicator: Indicator) -> None:
        await self.send(indicator)

    async def fall_silent(self) -> None:
        """As often as it takes for the last packet of a signal to be repeated to the full."""
        for _ in range(REDUNDANCY):
            await self.indicate(Indicator.NO_SIGNAL)


class _Listener:
    """Joins fields into frames and blocks. harmed: something of the present signal is missing."""

    def __init__(self) -> None:
        self.harmed = False
        self._frame = bytearray()
        self._block = bytearray()

    def take(self, packet: Ifp) -> list[Frame | Block]:
        if isinstance(packet, Indicator):
            if packet is not Indicator.NO_SIGNAL:   # a signal begins
                self._frame.clear()
                self._block.clear()
                self.harmed = False
            return []
        return [event for each in packet.fields if (event := self._take_field(each)) is not None]

    def _take_field(self, given: Field) -> Frame | Block | None:
        match given.type:
            case FieldType.HDLC_DATA:
                self._frame += given.data[:MAX_FRAME_BYTES + 1 - len(self._frame)]
            case FieldType.HDLC_FCS_OK | FieldType.HDLC_FCS_OK_SIG_END:
                return self._end_frame()
            case FieldType.HDLC_FCS_BAD | FieldType.HDLC_FCS_BAD_SIG_END:
                self._frame.clear()
            case FieldType.T4_NON_ECM_DATA | FieldType.T4_NON_ECM_SIG_END:
                self.harmed |= len(self._block) + len(given.data) > MAX_PAGE_BYTES
                self._block += given.data[:MAX_PAGE_BYTES - len(self._block)]
                if given.type is FieldType.T4_NON_ECM_SIG_END:
                    return self._end_block()
        return None

    def _end_frame(self) -> Frame | None:
        octets = bytes(self._frame)
        self._frame.clear()
        try:
            return None if self.harmed else parse_frame_untrusted(octets)
        except T30Error:
            return None

    def _end_block(self) -> Block:
        block = Block(bytes(self._block), whole=not self.harmed)
        self._block.clear()
        return block
