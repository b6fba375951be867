"""BFCP on the wire (RFC 4582, RFC 8855): messages, their attributes, and a parser for a stream of them.

Nothing here does I/O; `bfcp_session` puts it on a connection. Version 1 alone: BFCP over a reliable transport.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from pcscf.errors import PcscfError

VERSION = 1
MAX_PAYLOAD_BYTES = 16_384   # of one message; the format allows 262,140
MAX_ATTRIBUTES = 256         # of one message, those in groups included
MAX_DEPTH = 4                # groups within groups: the standard has two
MAX_TEXT_BYTES = 253         # what an attribute's one octet of length leaves (RFC 8855 §5.2)

_HEADER = struct.Struct("!BBHIHH")


class BfcpError(PcscfError):
    """Octets that are not BFCP: the connection must be closed."""


class Primitive(IntEnum):
    """RFC 8855 §5.1, table 1."""

    FLOOR_REQUEST = 1
    FLOOR_RELEASE = 2
    FLOOR_REQUEST_QUERY = 3
    FLOOR_REQUEST_STATUS = 4
    USER_QUERY = 5
    USER_STATUS = 6
    FLOOR_QUERY = 7
    FLOOR_STATUS = 8
    CHAIR_ACTION = 9
    CHAIR_ACTION_ACK = 10
    HELLO = 11
    HELLO_ACK = 12
    ERROR = 13
    FLOOR_REQUEST_STATUS_ACK = 14
    FLOOR_STATUS_ACK = 15
    GOODBYE = 16
    GOODBYE_ACK = 17


class Kind(IntEnum):
    """Types of attributes (RFC 8855 §5.2, table 2)."""

    BENEFICIARY_ID = 1
    FLOOR_ID = 2
    FLOOR_REQUEST_ID = 3
    PRIORITY = 4
    REQUEST_STATUS = 5
    ERROR_CODE = 6
    ERROR_INFO = 7
    PARTICIPANT_PROVIDED_INFO = 8
    STATUS_INFO = 9
    SUPPORTED_ATTRIBUTES = 10
    SUPPORTED_PRIMITIVES = 11
    USER_DISPLAY_NAME = 12
    USER_URI = 13
    BENEFICIARY_INFORMATION = 14
    FLOOR_REQUEST_INFORMATION = 15
    REQUESTED_BY_INFORMATION = 16
    FLOOR_REQUEST_STATUS = 17
    OVERALL_REQUEST_STATUS = 18


class RequestStatus(IntEnum):
    """RFC 8855 §5.2.5, table 4."""

    PENDING = 1
    ACCEPTED = 2
    GRANTED = 3
    DENIED = 4
    CANCELLED = 5
    RELEASED = 6
    REVOKED = 7


class ErrorCode(IntEnum):
    """RFC 8855 §5.2.6, table 5."""

    CONFERENCE_UNKNOWN = 1
    USER_UNKNOWN = 2
    PRIMITIVE_UNKNOWN = 3
    MANDATORY_ATTRIBUTE_UNKNOWN = 4
    UNAUTHORIZED = 5
    FLOOR_UNKNOWN = 6
    FLOOR_REQUEST_UNKNOWN = 7
    TOO_MANY_REQUESTS = 8
    USE_TLS = 9
    CANNOT_PARSE = 10
    USE_DTLS = 11
    VERSION_UNSUPPORTED = 12
    LENGTH_WRONG = 13
    GENERIC = 14


_NUMBERS = {Kind.BENEFICIARY_ID, Kind.FLOOR_ID, Kind.FLOOR_REQUEST_ID}
_TEXTS = {
    Kind.ERROR_INFO, Kind.PARTICIPANT_PROVIDED_INFO, Kind.STATUS_INFO, Kind.USER_DISPLAY_NAME, Kind.USER_URI,
}
_GROUPS = {
    Kind.BENEFICIARY_INFORMATION, Kind.FLOOR_REQUEST_INFORMATION, Kind.REQUESTED_BY_INFORMATION,
    Kind.FLOOR_REQUEST_STATUS, Kind.OVERALL_REQUEST_STATUS,
}


@dataclass(frozen=True, slots=True)
class Number:
    """An Unsigned16: an ID."""

    kind: int
    value: int
    mandatory: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 text of at most MAX_TEXT_BYTES octets."""

    kind: int
    value: str
    mandatory: bool = False


@dataclass(frozen=True, slots=True)
class Octets:
    """Everything else: PRIORITY, REQUEST-STATUS, ERROR-CODE, lists, and attributes that nobody here knows."""

    kind: int
    value: bytes
    mandatory: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """A grouped attribute: an ID, then attributes."""

    kind: int
    id: int
    members: tuple[Attribute, ...] = ()
    mandatory: bool = True


Attribute = Number | Text | Octets | Group


@dataclass(frozen=True, slots=True)
class Message:
    """A message. transaction 0: a notification of the server (RFC 8855 §8.2)."""

    primitive: int
    conference: int
    transaction: int
    user: int
    attributes: tuple[Attribute, ...] = ()

    def to_bytes(self) -> bytes:
        payload = b"".join(map(_encode, self.attributes))
        return _HEADER.pack(
            VERSION << 5, self.primitive, len(payload) // 4, self.conference, self.transaction, self.user,
        ) + payload

    @property
    def name(self) -> str:
        return "".join(word.capitalize() for word in Primitive(self.primitive).name.split("_")) \
            if self.primitive in set(Primitive) else f"primitive {self.primitive}"


def request_status(status: RequestStatus, queue_position: int = 0) -> Octets:
    return Octets(Kind.REQUEST_STATUS, bytes([status, queue_position]))


def error_code(code: ErrorCode, details: bytes = b"") -> Octets:
    return Octets(Kind.ERROR_CODE, bytes([code]) + details)


def supported(primitives: tuple[Primitive, ...], attributes: tuple[Kind, ...]) -> tuple[Octets, Octets]:
    """The two lists of a HelloAck (RFC 8855 §5.2.10, §5.2.11); a type of attribute takes the upper seven bits."""
    return (
        Octets(Kind.SUPPORTED_PRIMITIVES, bytes(primitives)),
        Octets(Kind.SUPPORTED_ATTRIBUTES, bytes(kind << 1 for kind in attributes)),
    )


def find(attributes: tuple[Attribute, ...], kind: Kind) -> Attribute | None:
    """The first of this kind, in groups as well."""
    for attribute in attributes:
        if attribute.kind == kind:
            return attribute
        if isinstance(attribute, Group) and (inner := find(attribute.members, kind)) is not None:
            return inner
    return None


def text_of(message: Message, kind: Kind) -> str:
    """The text of the first attribute of this kind, or "" """
    found = find(message.attributes, kind)
    return found.value if isinstance(found, Text) else ""


def number_of(message: Message, kind: Kind) -> int | None:
    found = find(message.attributes, kind)
    return found.value if isinstance(found, Number) else None


def status_of(message: Message) -> tuple[int, RequestStatus] | None:
    """Floor Request ID and status that a FloorRequestStatus or FloorStatus tells, or None where it tells none."""
    group = find(message.attributes, Kind.FLOOR_REQUEST_INFORMATION)
    if not isinstance(group, Group):
        return None
    status = find(group.members, Kind.REQUEST_STATUS)
    if not isinstance(status, Octets) or len(status.value) != 2 or status.value[0] not in set(RequestStatus):
        return None
    return group.id, RequestStatus(status.value[0])


def unknown_mandatory(attributes: tuple[Attribute, ...]) -> tuple[int, ...]:
    """Types that we would have to understand and do not (RFC 8855 §5.2, the M bit)."""
    known = set(Kind)
    return tuple(each.kind for each in attributes if each.mandatory and each.kind not in known)


def _encode(attribute: Attribute) -> bytes:
    match attribute:
        case Number():
            contents = struct.pack("!H", attribute.value)
        case Text():
            contents = attribute.value.encode()
        case Octets():
            contents = attribute.value
        case Group():
            contents = struct.pack("!H", attribute.id) + b"".join(map(_encode, attribute.members))
    length = 2 + len(contents)
    if length > 255:
        raise ValueError(f"attribute {attribute.kind} is {length} octets long, 255 fit")
    return bytes([attribute.kind << 1 | attribute.mandatory, length]) + contents + bytes(-length % 4)


class Parser:
    """Messages out of a byte stream. `feed` raises BfcpError once; after that the connection is of no use."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _HEADER.size:
            length = _HEADER.size + 4 * int.from_bytes(self._buffer[2:4])
            _check_start(self._buffer[0], length)
            if len(self._buffer) < length:
                break
            messages.append(parse_message_untrusted(bytes(self._buffer[:length])))
            del self._buffer[:length]
        return messages


def _check_start(first: int, length: int) -> None:
    if first >> 5 != VERSION:
        raise BfcpError(f"BFCP version {first >> 5}; a connection has version {VERSION}")
    if first & 0b1000:
        raise BfcpError("a fragment, which only unreliable transports have (RFC 8855 §6.2.3)")
    if length > _HEADER.size + MAX_PAYLOAD_BYTES:
        raise BfcpError("message too long")


def parse_message_untrusted(data: bytes) -> Message:
    """One whole message. Raises BfcpError."""
    if len(data) < _HEADER.size:
        raise BfcpError("shorter than a header")
    first, primitive, words, conference, transaction, user = _HEADER.unpack_from(data)
    _check_start(first, len(data))
    if len(data) != _HEADER.size + 4 * words:
        raise BfcpError("Payload Length differs from the length of the message")
    attributes = _Attributes().read_untrusted(data[_HEADER.size:], 0)
    return Message(primitive, conference, transaction, user, attributes)


class _Attributes:
    """Reads attributes, and counts them all."""

    def __init__(self) -> None:
        self._count = 0

    def read_untrusted(self, data: bytes, depth: int) -> tuple[Attribute, ...]:
        if depth > MAX_DEPTH:
            raise BfcpError("groups nested too deep")
        attributes: list[Attribute] = []
        position = 0
        while position < len(data):
            self._count += 1
            if self._count > MAX_ATTRIBUTES:
                raise BfcpError("too many attributes")
            if position + 2 > len(data):
                raise BfcpError("attribute cut short")
            head, length = data[position], data[position + 1]
            if length < 2 or position + length > len(data):
                raise BfcpError(f"attribute {head >> 1} has an impossible length, {length}")
            attributes.append(self._read_one(head >> 1, bool(head & 1), data[position + 2:position + length], depth))
            position += length + -length % 4
        return tuple(attributes)

    def _read_one(self, kind: int, mandatory: bool, contents: bytes, depth: int) -> Attribute:
        if kind in _TEXTS:
            try:
                return Text(kind, contents.decode(), mandatory)
            except UnicodeDecodeError as error:
                raise BfcpError(f"attribute {kind} is not UTF-8") from error
        if kind in _NUMBERS and len(contents) != 2:
            raise BfcpError(f"attribute {kind} is no Unsigned16")
        if kind in _NUMBERS:
            return Number(kind, int.from_bytes(contents), mandatory)
        if kind in _GROUPS and len(contents) < 2:
            raise BfcpError(f"group {kind} has no ID")
        if kind in _GROUPS:
            return Group(kind, int.from_bytes(contents[:2]), self.read_untrusted(contents[2:], depth + 1), mandatory)
        return Octets(kind, contents, mandatory)
