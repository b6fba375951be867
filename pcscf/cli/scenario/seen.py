"""What far ends saw: SIPp's own logs of its messages, and traces where the far end is one of the lab's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pcscf.cli.scenario.model import Moment
from pcscf.errors import SipError
from pcscf.observe.summary import summarise_sip
from pcscf.observe.trace import TraceEvent
from pcscf.sip.message import Response
from pcscf.sip.parse import parse_datagram_untrusted

Way = Literal["received", "sent"]

# SIPp 3.6 writes `UDP message received [586] bytes :` and `UDP message sent (537 bytes):`, an empty line, and the octets.
_HEADING = re.compile(
    rb"^-{20,} [^\n]+\n(?:UDP|TCP|TLS) message (?:received \[(\d+)\] bytes ?:|sent \((\d+) bytes\) ?:)\n\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """A SIP message at a far end. status: None for a request. lines: start line, header fields and body, unfolded.

    security: the names of Security-* fields and option tags in it; media: its m-lines, as `observe.summary` tells them.
    """

    way: Way
    method: str
    status: int | None
    lines: tuple[str, ...]
    security: Sequence[str] = ()
    media: Sequence[dict[str, Any]] = field(default_factory=list)

    def is_meant_by(self, moment: Moment) -> bool:
        """Whether it is one of the messages that `moment` names."""
        if self.way != ("received" if moment.receives is not None else "sent"):
            return False
        first, _, second = moment.selector.partition(" ")
        if first == "any":
            return True
        if not first.isdecimal():
            return self.status is None and self.method == first
        return self.status == int(first) and second in {"", self.method}

    def line_like(self, pattern: str) -> str | None:
        """The first line that a pattern fits: * is any text, ? one character, in any case."""
        wanted = pattern.lower().replace("[", "[[]")
        return next((line for line in self.lines if fnmatchcase(line.lower(), wanted)), None)

    @property
    def leaks(self) -> list[str]:
        """What only UE and edge may say to each other."""
        secrets = [name for line in self.media for name in ("fingerprint", "e2ae") if name in line]
        return [*self.security, *secrets]


def read_messages(log: Path) -> list[Seen]:
    """The messages in a log that SIPp writes with -trace_msg, [] while there is none. Raises OSError."""
    return list(messages_in(log.read_bytes())) if log.exists() else []


def messages_in(log: bytes) -> Iterator[Seen]:
    """As `read_messages`. A message whose end is not written yet is left out; one that is no SIP has method "?"."""
    place = 0
    while (heading := _HEADING.search(log, place)) is not None:
        way: Way = "received" if heading[1] else "sent"
        place = heading.end() + int(heading[1] or heading[2])
        if place <= len(log):
            yield _seen(way, log[heading.end():place])


def _seen(way: Way, wire: bytes) -> Seen:
    try:
        message = parse_datagram_untrusted(wire)
    except SipError:
        return Seen(way, "?", None, tuple(wire.decode(errors="replace").splitlines()))
    _, _, facts = summarise_sip(message)
    lines = (
        message.start_line, *(f"{name.strip()}: {' '.join(value.split())}" for name, value in message.headers),
        *message.body.decode(errors="replace").splitlines(),
    )
    status = message.status if isinstance(message, Response) else None
    return Seen(way, str(facts["method"]), status, lines, facts["security"], facts["media"])


def of_node(events: Iterable[TraceEvent], node: str) -> list[Seen]:
    """What an element of the lab traced. Its lines are those of the summary."""
    return [
        Seen(
            "received" if event.dir == "in" else "sent", str(event.facts.get("method", "?")), _status(event),
            tuple(event.text.split(" · ")), _listed(event, "security"), _listed(event, "media"),
        )
        for event in events if (event.node, event.proto) == (node, "SIP")
    ]


def _status(event: TraceEvent) -> int | None:
    status = event.facts.get("status")
    return status if isinstance(status, int) else None


def _listed(event: TraceEvent, name: str) -> list[Any]:
    value = event.facts.get(name)
    return value if isinstance(value, list) else []
