"""What gateways notify (TS 23.334 §8: IP Bearer Released, Termination heartbeat indication), as typed events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pcscf.h248 import packages
from pcscf.h248.message import Command, ObservedEvent, ObservedEvents, same_name
from pcscf.iq.media import line_of, place_of

Layer: TypeAlias = Literal["tcp", "tls", "dtls", ""]

MAX_CAUSE: Final = 120
RELEASED: Final = frozenset({"rel", "cut", "mfl"})
"""Values of Type that end a bearer (Q.1950: released, cut through lost, malfunction); Est and Mod do not."""

GENERAL_CAUSES: Final = frozenset({"NR", "UR", "FT", "FP", "IW", "UN"})
"""Generalcause: normal release, unavailable resources, failure temporary or permanent, interworking error, unsupported."""


@dataclass(frozen=True, slots=True)
class BearerReleased:
    """A connection of a stream ended or could not be made.

    stream  StreamID, None where the gateway did not say; `line` is the index of its m-line
    kind    the layer that broke; "" where only a cause was notified
    cause   the gateway's words, printable, at most MAX_CAUSE characters
    general Generalcause in upper case: NR, UR, FT, FP, IW, UN; "" where none was notified
    """

    context: int
    termination: str
    stream: int | None
    kind: Layer
    cause: str
    general: str = ""

    @property
    def line(self) -> int | None:
        return None if self.stream is None else line_of(self.stream)


@dataclass(frozen=True, slots=True)
class TerminationHeartbeat:
    """The gateway asks whether this context is still wanted (H.248.36)."""

    context: int
    termination: str


@dataclass(frozen=True, slots=True)
class MediaStopped:
    """No media crossed a termination for as long as was asked (H.248.40)."""

    context: int
    termination: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The TCP connection of a stream is up, or the TLS or DTLS session on it: its peer is verified."""

    context: int
    termination: str
    stream: int
    layer: Layer = "tcp"

    @property
    def place(self) -> int:
        return place_of(self.stream)


Notification: TypeAlias = BearerReleased | TerminationHeartbeat | MediaStopped | Connected


@dataclass(frozen=True, slots=True)
class Overloaded:
    """A gateway has too much to do (H.248.11)."""


@dataclass(frozen=True, slots=True)
class Congested:
    """A gateway wants less, by so many per cent; 0: no less than usual (H.248.10)."""

    reduction: int


_LAYERS: Final[dict[str, Layer]] = {
    packages.TCP_CHANGE: "tcp",
    packages.TLS_CHANGE: "tls",
    packages.DTLS_CHANGE: "dtls",
}


def notifications_untrusted(context: int, notify: Command) -> Iterator[Notification]:
    """The events of one Notify; what is not known is passed over. A bearer's release and its cause become one event."""
    causes: dict[int | None, str] = {}
    general: dict[int | None, str] = {}
    layers: dict[int | None, Layer] = {}
    for event in _observed(notify):
        name = packages.canonical(event.name)
        if name == packages.HANGING_TERMINATION:
            yield TerminationHeartbeat(context, notify.termination)
        elif name == packages.MEDIA_STOPPED:
            yield MediaStopped(context, notify.termination)
        elif name == packages.CAUSE:
            causes[_stream(event)] = _cause(event)
            said = _text(event, packages.GENERAL_CAUSE).upper()
            general[_stream(event)] = said if said in GENERAL_CAUSES else ""
        elif name in _LAYERS and same_name(_text(event, packages.CHANGE_TYPE), packages.CHANGE_ESTABLISHED):
            stream = _stream(event)
            if stream is not None:
                yield Connected(context, notify.termination, stream, _LAYERS[name])
        elif name in _LAYERS and _text(event, packages.CHANGE_TYPE).lower() in RELEASED:
            layers[_stream(event)] = _LAYERS[name]
    for stream in dict.fromkeys((*layers, *causes)):
        yield BearerReleased(
            context, notify.termination, stream, layers.get(stream, ""), causes.get(stream, ""), general.get(stream, ""))


def load_untrusted(notify: Command) -> Iterator[Overloaded | Congested]:
    """What a Notify of ROOT says about the gateway's load."""
    for event in _observed(notify):
        name = packages.canonical(event.name)
        if name == packages.OVERLOAD:
            yield Overloaded()
        elif name == packages.CONGESTION:
            text = _text(event, packages.CONGESTION_REDUCTION)
            if text.isascii() and text.isdigit() and len(text) <= 3:
                yield Congested(int(text))


def _observed(notify: Command) -> Iterator[ObservedEvent]:
    for descriptor in notify.descriptors:
        if isinstance(descriptor, ObservedEvents):
            yield from descriptor.events


def _text(event: ObservedEvent, name: str) -> str:
    return next((each.value.text for each in event.parameters if same_name(each.name, name)), "")


def _stream(event: ObservedEvent) -> int | None:
    text = _text(event, packages.STREAM)
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 5 and int(text) else None


def _cause(event: ObservedEvent) -> str:
    text = _text(event, packages.FAILURE_CAUSE) or _text(event, packages.GENERAL_CAUSE)
    return (text if text.isprintable() else repr(text))[:MAX_CAUSE]
