"""What is written of the traffic beside the log: a trace (a line per message), and a capture (whole messages)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pcscf.observe.pcap import PcapWriter
from pcscf.observe.trace import TraceWriter
from pcscf.sip.flow import Flow

Address = tuple[str, int]
Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class TapFiles:
    """Where to, None for nowhere. The embedded gateway appends to the same files."""

    trace: Path | None = None
    pcap: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """These files as arguments of `pcscf gateway`."""
        named = {"--trace": self.trace, "--pcap": self.pcap}
        return [word for name, file in named.items() if file is not None for word in (name, str(file))]


class Taps:
    """The open files, as a context manager. `sip` and `iq` get what crosses the sockets, and are None where nobody writes."""

    def __init__(self, files: TapFiles, node: str) -> None:
        """Raises OSError where a file cannot be opened, ConfigError where it is no capture."""
        self.files = files
        self.trace: TraceWriter | None = None
        self._pcap: PcapWriter | None = None
        with ExitStack() as opened:
            if files.trace is not None:
                self.trace = TraceWriter(files.trace, node)
                opened.callback(self.trace.close)
            if files.pcap is not None:
                self._pcap = PcapWriter(files.pcap)
                opened.callback(self._pcap.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    @property
    def sip(self) -> Callable[[Direction, bytes, Flow], None] | None:
        trace, pcap = self.trace, self._pcap
        if trace is not None and pcap is not None:
            def both(direction: Direction, wire: bytes, flow: Flow) -> None:
                trace.tap_sip(direction, wire, flow)
                pcap.tap_sip(direction, wire, flow)

            return both
        return trace.tap_sip if trace is not None else pcap.tap_sip if pcap is not None else None

    def iq(self, own: Callable[[], Address]) -> Callable[[Direction, bytes, Address], None] | None:
        """`own`: where our end of Iq is bound, asked when something passes."""
        trace, pcap = self.trace, self._pcap
        if pcap is None:
            return trace.tap_iq if trace is not None else None

        def both(direction: Direction, wire: bytes, peer: Address) -> None:
            if trace is not None:
                trace.tap_iq(direction, wire, peer)
            pcap.tap_iq(direction, wire, own(), peer)

        return both
