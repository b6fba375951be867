"""The trace: one JSON object per line and event, the same from every process, so that files merge by time.

    {"t": 1763825000.123456, "node": "pcscf", "peer": "127.0.0.1:40000", "dir": "in", "proto": "SIP",
     "flow": "Call-ID, or `context 7`", "text": "one line for a person", "facts": {…}}

Facts that readers know: `local` (our address), `id` (equal at both ends of a message), `also` (further keys of the same flow).
Credentials, keys and whole bodies never get in.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pcscf.errors import SipError
from pcscf.observe.summary import summarise_h248, summarise_sip
from pcscf.sip.flow import Flow
from pcscf.sip.message import Message
from pcscf.sip.parse import parse_datagram_untrusted

Direction = Literal["in", "out"]
Address = tuple[str, int]

GATEWAY = "agw"   # node of what a gateway tells, whoever writes it down
LINK = "LINK"   # proto of an event that only says that two keys name one flow


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """t: seconds since the epoch. node: who writes. peer: the other end, an address or a node's name."""

    t: float
    node: str
    peer: str
    dir: Direction
    proto: str
    flow: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def to_line(self) -> bytes:
        text = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"), default=str)
        return text.encode("utf-8", "backslashreplace") + b"\n"   # an octet that is no UTF-8 becomes its JSON escape

    @property
    def id(self) -> str:
        return str(self.facts.get("id", ""))

    @property
    def local(self) -> str:
        return str(self.facts.get("local", ""))

    @property
    def keys(self) -> list[str]:
        """Every key of the flow that this event belongs to."""
        also = self.facts.get("also")
        return [key for key in (self.flow, *(map(str, also) if isinstance(also, list | tuple) else ())) if key]


class GatewayEvent(Protocol):
    """The shape of what a gateway tells; its `facts` give addresses as `host port`."""

    @property
    def time(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def termination(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def facts(self) -> Mapping[str, str]: ...


class TraceWriter:
    """Appends events of `node` to a file that several processes may share: one write per line.

    A disk that fails ends the trace, not the process; `lost` counts what was not written.
    """

    def __init__(self, path: Path, node: str) -> None:
        """Raises OSError where the file cannot be opened."""
        self.path = path
        self.node = node
        self.lost = 0
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, event: TraceEvent) -> None:
        line = event.to_line()
        try:
            if os.write(self._file, line) != len(line):
                self.lost += 1
        except OSError:
            self.lost += 1

    def event(
        self, proto: str, direction: Direction, text: str, *,
        flow: str, local: Address, peer: Address, facts: Mapping[str, object] | None = None,
    ) -> None:
        """An event in general: `text` is shown to a person, `flow` a Call-ID or `context n`."""
        self.write(TraceEvent(
            time.time(), self.node, address_text(peer), direction, proto, flow, text,
            {"local": address_text(local), **(facts or {})},
        ))

    def sip(self, direction: Direction, message: Message, wire: bytes, *, local: Address, peer: Address) -> None:
        """A SIP message at the socket."""
        text, flow, facts = summarise_sip(message)
        self.event("SIP", direction, text, flow=flow, local=local, peer=peer, facts={"id": _id(wire), **facts})

    def tap_sip(self, direction: str, wire: bytes, flow: Flow) -> None:
        """Octets at a SIP socket, which need not be a message."""
        way: Direction = "in" if direction == "in" else "out"
        try:
            message = parse_datagram_untrusted(wire)
        except SipError as error:
            text = f"unreadable: {error.what.partition(': ')[0]}"   # without the octets that it quotes
            self.event("SIP", way, text, flow="", local=flow.local, peer=flow.remote, facts={"id": _id(wire)})
        else:
            self.sip(way, message, wire, local=flow.local, peer=flow.remote)

    def tap_iq(self, direction: str, wire: bytes, peer: Address) -> None:
        """Octets at an Iq socket."""
        text, flow, facts = summarise_h248(wire)
        ours = (facts["kind"] == "request") == (direction == "out")
        owner = self.node if ours else address_text(peer)   # both sides number their transactions as they like
        also = [f"{key} of {owner}" for key in facts["transactions"]]
        self.write(TraceEvent(
            time.time(), self.node, address_text(peer), "in" if direction == "in" else "out", "Iq",
            flow or (also or [""])[0], text, {"id": _id(wire), **facts, "also": also},
        ))

    def tap_gateway(self, event: GatewayEvent) -> None:
        """What a gateway tells about the connections of its media side."""
        facts = {name: _spell(value) if name in {"local", "remote"} else value for name, value in event.facts.items()}
        bare, secure = ("UDP", "DTLS") if facts.get("transport") == "UDP" else ("TCP", "TLS")
        self.write(TraceEvent(
            event.time, GATEWAY, facts.get("remote", ""), "out" if event.kind == "tcp-connected" else "in",
            secure if event.kind.startswith("tls") else bare, context_key(event.context), event.text,
            {"kind": event.kind, "termination": event.termination, **facts},
        ))

    def link(self, call_id: str, context: int) -> None:
        """Tell readers that a gateway's context serves a call."""
        facts = {"also": [context_key(context)]}
        self.write(TraceEvent(time.time(), self.node, "", "out", LINK, call_id, "", facts))

    def close(self) -> None:
        os.close(self._file)


def context_key(context: int) -> str:
    """The flow key of events of one context of a gateway."""
    return f"context {context}"


def _spell(address: str) -> str:
    """`host port` of a gateway's facts as the `host:port` of a trace."""
    host, _, port = address.rpartition(" ")
    return address_text((host, int(port))) if host and port.isdecimal() else address


def address_text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _id(wire: bytes) -> str:
    return hashlib.blake2s(wire, digest_size=8).hexdigest()


def read_trace(path: Path) -> Iterator[TraceEvent]:
    """The events of a file, in its order; lines that are no event (a crash may cut the last) are passed over.

    Raises OSError.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield _event_of(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue


def _event_of(raw: Mapping[str, object]) -> TraceEvent:
    moment, facts = raw["t"], raw["facts"]
    if not isinstance(moment, int | float) or not isinstance(facts, dict):
        raise TypeError("not an event")
    return TraceEvent(
        float(moment), str(raw["node"]), str(raw["peer"]), "in" if raw["dir"] == "in" else "out",
        str(raw["proto"]), str(raw["flow"]), str(raw["text"]), facts,
    )


def merge_traces(paths: Iterable[Path]) -> list[TraceEvent]:
    """The events of several files by time. Raises OSError."""
    return sorted((event for path in paths for event in read_trace(path)), key=lambda event: event.t)
