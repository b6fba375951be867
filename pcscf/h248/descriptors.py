"""Reading the descriptors of commands (RFC 3525 Annex B.2: ammDescriptor, auditReturnParameter, serviceChangeDescriptor)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from pcscf.h248.message import (
    Audit,
    Descriptor,
    ErrorDescriptor,
    Event,
    Events,
    LocalControl,
    Media,
    Mode,
    ObservedEvent,
    ObservedEvents,
    OtherDescriptor,
    Packages,
    Property,
    Services,
    Signals,
    Statistics,
    Stream,
    Value,
)
from pcscf.h248.mid import is_mid
from pcscf.h248.scan import Scanner, long_token, unquoted
from pcscf.h248.values import MAX_NESTING, MAX_UINT32, NAME, ValueReader, is_number, is_packaged_name, octets

T = TypeVar("T")

_TIMESTAMP: Final = re.compile(r"\d{8}[Tt]\d{8}")
_PACKAGE: Final = re.compile(rf"({NAME})-(\d{{1,2}})")
_AUDIT_ITEM: Final = re.compile(rf"{NAME}(?:-\d{{1,2}}|/(?:{NAME}|\*))?|\*/(?:{NAME}|\*)")
_EXTENSION: Final = re.compile(r"[Xx][-+][A-Za-z0-9]{1,6}")
_MODES: Final = {mode.value: mode for mode in Mode}
_SWITCH: Final = {"on": True, "off": False}
_METHODS: Final = frozenset({"Restart", "Graceful", "Forced", "Disconnected", "HandOff", "Failover"})
_SERVICE_FIELDS: Final = {
    "Reason": "reason",
    "Delay": "delay",
    "ServiceChangeAddress": "address",
    "MgcIdToTry": "mgc_id_to_try",
    "Profile": "profile",
    "Version": "version",
    "Method": "method",
}

MAX_REMEMBERED: Final = 1024
"""Blocks that a memory keeps."""
MAX_REMEMBERED_TOKENS: Final = 32
MAX_REMEMBERED_CHARACTERS: Final = 256

_Memory = dict[tuple[str, ...], T]
_local_controls: _Memory[LocalControl] = {}
_events: _Memory[Event] = {}


def _remembered(scanner: Scanner, memory: _Memory[T], read: Callable[[], T]) -> T:
    """What `read` makes of the tokens up to the next closing brace: the same tokens give the same record.

    The events, signals and local controls of a session differ from the last one's in nothing, and are most of the work.
    """
    tokens, at = scanner.tokens, scanner.at
    try:
        end = tokens.index("}", at, at + MAX_REMEMBERED_TOKENS) + 1
    except ValueError:
        return read()
    key = tuple(tokens[at:end])
    known = memory.get(key)
    if known is not None:
        scanner.at = end
        return known
    result = read()
    if scanner.at == end and sum(map(len, key)) <= MAX_REMEMBERED_CHARACTERS:
        if len(memory) >= MAX_REMEMBERED:
            memory.clear()
        memory[key] = result
    return result


class _StreamParts:
    """The stream parameters read so far, each at most once."""

    __slots__ = ("control", "local", "remote", "statistics")

    def __init__(self) -> None:
        self.control: LocalControl | None = None
        self.local: str | None = None
        self.remote: str | None = None
        self.statistics: tuple[Property, ...] | None = None


class DescriptorReader(ValueReader):
    """One method per descriptor; its keyword is taken already."""

    __slots__ = ()

    def descriptor(self) -> Descriptor:
        keyword = long_token(self.scanner.take())
        match keyword:
            case "Media":
                return self.media()
            case "Events":
                return self.events()
            case "Signals":
                return self.signals()
            case "Audit":
                return Audit(self.audit_items())
            case "Error":
                return self.error()
            case "ObservedEvents":
                return self.observed_events()
            case "Statistics":
                return Statistics(self.statistics())
            case "Services":
                return self.services()
            case "Packages":
                return self.packages()
            case "Modem" | "Mux" | "DigitMap" | "EventBuffer":
                return self.other(keyword)
            case _:
                raise self.scanner.failure("unknown descriptor", code=444)

    def error(self) -> ErrorDescriptor:
        scanner = self.scanner
        symbol = scanner.value("an error code")
        if not is_number(symbol, 4):
            scanner.fail("expected an error code")
        scanner.expect("{")
        text = self.quoted(scanner.take()) if scanner.peek() != "}" else ""
        scanner.expect("}")
        return ErrorDescriptor(int(symbol), text)

    def other(self, keyword: str) -> OtherDescriptor:
        """A descriptor that Iq does not use, with its name or types and its block."""
        scanner = self.scanner
        parts: list[str] = []
        if scanner.peek()[:1] == "=":
            parts.append("=" + scanner.value("a name"))
        elif scanner.peek() == "[":
            while (symbol := scanner.take()) != "]":
                if symbol in ("", "}"):
                    scanner.fail("expected ']'")
                parts.append(symbol)
            parts.append("]")
        if scanner.peek() == "{":
            scanner.take()
            parts.append("{ " + self.block() + "}")
        return OtherDescriptor(keyword, " ".join(parts))

    # --- media

    def media(self) -> Media:
        scanner = self.scanner
        if scanner.peek() != "{":
            return Media()
        scanner.take()
        streams: list[Stream] = []
        direct: _StreamParts | None = None
        state: tuple[Property, ...] | None = None
        while True:
            symbol = scanner.take()
            keyword = long_token(symbol) if symbol[-1:] != "}" else None
            if keyword == "Stream":
                if direct is not None:
                    scanner.fail("Stream beside stream parameters")
                streams.append(self.stream())
            elif keyword == "TerminationState":
                if state is not None:
                    self.twice("TerminationState")
                scanner.expect("{")
                state = tuple(scanner.items(self._state_parameter))
            else:
                if streams:
                    scanner.fail("a stream parameter beside Stream")
                direct = direct or _StreamParts()
                self._stream_parameter(symbol, direct)
            symbol = scanner.take()
            if symbol == "}":
                break
            if symbol != ",":
                scanner.fail("expected ',' or '}'")
        if direct is not None:
            streams.append(Stream(1, direct.control, direct.local, direct.remote, direct.statistics, explicit=False))
        return Media(tuple(streams), state)

    def stream(self) -> Stream:
        scanner = self.scanner
        number = self.uint16(scanner.value("a StreamID"))
        scanner.expect("{")
        parts = _StreamParts()
        while True:
            self._stream_parameter(scanner.take(), parts)
            symbol = scanner.take()
            if symbol == "}":
                return Stream(number, parts.control, parts.local, parts.remote, parts.statistics)
            if symbol != ",":
                scanner.fail("expected ',' or '}'")

    def _stream_parameter(self, symbol: str, parts: _StreamParts) -> None:
        if symbol[-1:] == "}" and len(symbol) > 1:
            if symbol[0] in "Ll":
                if parts.local is not None:
                    self.twice("Local")
                parts.local = octets(symbol)
            else:
                if parts.remote is not None:
                    self.twice("Remote")
                parts.remote = octets(symbol)
            return
        match long_token(symbol):
            case "LocalControl":
                if parts.control is not None:
                    self.twice("LocalControl")
                parts.control = _remembered(self.scanner, _local_controls, self.local_control)
            case "Statistics":
                if parts.statistics is not None:
                    self.twice("Statistics")
                parts.statistics = self.statistics()
            case _ if "{" in symbol:
                self.scanner.fail("Local or Remote without its closing brace")
            case _:
                self.scanner.fail("unknown stream parameter", code=444)

    def local_control(self) -> LocalControl:
        scanner = self.scanner
        scanner.expect("{")
        mode: Mode | None = None
        value: bool | None = None
        group: bool | None = None
        properties: list[Property] = []
        while True:
            symbol = scanner.take()
            if is_packaged_name(symbol):
                properties.append(Property(symbol, self.value()))
            else:
                match long_token(symbol):
                    case "Mode":
                        if mode is not None:
                            self.twice("Mode")
                        mode = _MODES.get(long_token(scanner.value("a stream mode")) or "")
                        if mode is None:
                            scanner.fail("unknown stream mode")
                    case "ReservedValue":
                        value = self._switch()
                    case "ReservedGroup":
                        group = self._switch()
                    case _:
                        scanner.fail("expected a local control parameter")
            symbol = scanner.take()
            if symbol == "}":
                return LocalControl(mode, value, group, tuple(properties))
            if symbol != ",":
                scanner.fail("expected ',' or '}'")

    def _switch(self) -> bool:
        value = _SWITCH.get(self.scanner.value("ON or OFF").lower())
        if value is None:
            self.scanner.fail("expected ON or OFF")
        return value

    def _state_parameter(self) -> Property:
        symbol = self.scanner.take()
        if is_packaged_name(symbol):
            return Property(symbol, self.value())
        keyword = long_token(symbol)
        if keyword not in ("ServiceStates", "Buffer"):
            self.scanner.fail("expected a termination state parameter")
        state = self.scanner.value("a state")
        return Property("EventBufferControl" if keyword == "Buffer" else keyword, Value((long_token(state) or state,)))

    # --- events and signals

    def events(self) -> Events:
        scanner = self.scanner
        if scanner.peek()[:1] != "=":
            return Events()
        number = self._request_id()
        scanner.expect("{")
        return Events(number, tuple(scanner.items(self.event)))

    def _request_id(self) -> int:
        symbol = self.scanner.value("a RequestID")
        return MAX_UINT32 if symbol == "*" else self.uint32(symbol)

    def event(self) -> Event:
        scanner = self.scanner
        if scanner.tokens[scanner.at + 1] == "{":
            return _remembered(scanner, _events, self._event)
        return self._event()

    def _event(self) -> Event:
        name = self.scanner.take()
        if not is_packaged_name(name):
            self.scanner.fail("expected package/item")
        return Event(name, self.parameters())

    def signals(self) -> Signals:
        scanner = self.scanner
        if scanner.peek() != "{":
            return Signals()
        scanner.take()
        if scanner.peek() == "}":
            scanner.take()
            return Signals()
        return Signals(tuple(signal for group in scanner.items(self._signal) for signal in group))

    def _signal(self) -> tuple[Event, ...]:
        """One signal, or the signals of a list."""
        scanner = self.scanner
        if long_token(scanner.peek()) != "SignalList":
            return (self.event(),)
        scanner.take()
        self.uint16(scanner.value("a signal list id"))
        scanner.expect("{")
        return tuple(scanner.items(self.event))

    def observed_events(self) -> ObservedEvents:
        number = self._request_id()
        self.scanner.expect("{")
        return ObservedEvents(number, tuple(self.scanner.items(self._observed_event)))

    def _observed_event(self) -> ObservedEvent:
        scanner = self.scanner
        timestamp = ""
        if _TIMESTAMP.fullmatch(scanner.peek()):
            timestamp = scanner.take()
            scanner.expect(":")
        event = self.event()
        return ObservedEvent(event.name, event.parameters, timestamp)

    # --- audit, packages, services

    def audit_items(self) -> tuple[str, ...]:
        """The items of an Audit or ContextAudit descriptor."""
        self.scanner.expect("{")
        if self.scanner.peek() == "}":
            self.scanner.take()
            return ()
        return tuple(self._audit_list(1))

    def _audit_list(self, depth: int) -> list[str]:
        if depth > MAX_NESTING:
            self.scanner.fail(f"more than {MAX_NESTING} braces deep")
        seen: set[str] = set()
        return self.scanner.items(lambda: self._audit_item_once(depth, seen))

    def _audit_item_once(self, depth: int, seen: set[str]) -> str:
        item = self._audit_item(depth)
        if item in seen:
            self.twice("an audit item")
        seen.add(item)
        return item

    def _audit_item(self, depth: int) -> str:
        """One item in long tokens without blanks: `Media{TerminationState{ServiceStates}}`."""
        scanner = self.scanner
        symbol = scanner.take()
        item = long_token(symbol) or symbol
        if not _AUDIT_ITEM.fullmatch(item):
            scanner.fail("expected an audit item")
        if scanner.peek()[:1] == "=":
            item += "=" + scanner.value("a value")
        if scanner.peek() == "{":
            scanner.take()
            item += "{" + ",".join(self._audit_list(depth + 1)) + "}"
        return item

    def packages(self) -> Packages:
        if self.scanner.peek() != "{":
            return Packages()
        self.scanner.take()
        return Packages(tuple(self.scanner.items(self._package)))

    def _package(self) -> tuple[str, int]:
        match = _PACKAGE.fullmatch(self.scanner.take())
        if match is None:
            self.scanner.fail("expected package-version")
        return match[1], int(match[2])

    def services(self) -> Services:
        scanner = self.scanner
        scanner.expect("{")
        fields: dict[str, str] = {}
        extensions: list[Property] = []
        scanner.items(lambda: self._service_parameter(fields, extensions))
        if "address" in fields and "mgc_id_to_try" in fields:
            scanner.fail("ServiceChangeAddress and MgcIdToTry together")
        return Services(
            method=fields.get("method", ""),
            reason=fields.get("reason", ""),
            delay=self.uint32(fields["delay"]) if "delay" in fields else None,
            address=fields.get("address", ""),
            mgc_id_to_try=fields.get("mgc_id_to_try", ""),
            profile=fields.get("profile", ""),
            version=self.uint16(fields["version"]) if "version" in fields else None,
            timestamp=fields.get("timestamp", ""),
            extensions=tuple(extensions),
        )

    def _service_parameter(self, fields: dict[str, str], extensions: list[Property]) -> None:
        scanner = self.scanner
        symbol = scanner.take()
        keyword = long_token(symbol)
        name = "timestamp" if _TIMESTAMP.fullmatch(symbol) else _SERVICE_FIELDS.get(keyword or "", "")
        if name in fields:
            self.twice(keyword or name)
        if name == "timestamp":
            fields[name] = symbol
        elif name in ("address", "mgc_id_to_try"):
            fields[name] = self._service_address()
        elif name == "reason":
            fields[name] = self.value().text
        elif name:
            value = scanner.value(keyword or name)
            method = long_token(value)
            fields[name] = method if name == "method" and method in _METHODS else value
        elif keyword == "ServiceChangeInc":
            extensions.append(Property(keyword, Value(())))
        elif _EXTENSION.fullmatch(symbol):
            extensions.append(Property(symbol, self.value()))
        else:
            scanner.fail("unknown ServiceChange parameter", code=446)

    def _service_address(self) -> str:
        """A port number or an mId, which the scanner has cut into pieces."""
        scanner = self.scanner
        if scanner.peek()[:1] != "=":
            scanner.expect("=")
        parts = [unquoted(scanner.take())]
        while scanner.peek() not in (",", "}", ""):
            parts.append(scanner.take())
            if parts[-1] == "{":  # MTP{hex}
                parts += [scanner.take(), scanner.take()]
        text = "".join(parts)
        if not is_mid(text) and not is_number(text, 5):
            scanner.fail("expected a message identifier or a port")
        return text
