"""The small values of a configuration: addresses, ports, next hops.

Each is checked where it is read, and a wrong one says what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    InstanceOf,
    PlainSerializer,
    ValidationInfo,
)
from pydantic_core import CoreSchema, PydanticCustomError

Transport = Literal["udp", "tcp", "tls"]
LogLevel = Literal["debug", "info", "warning", "error"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST_PORT = r"(?P<host>\[[^\]]*\]|[^\[\]:;@?]+)(?::(?P<port>\d+))?"
_NEXT_HOP = re.compile(rf"sip:{_HOST_PORT}(?:;transport=(?P<transport>\w+))?", re.IGNORECASE)
_ENDPOINT = re.compile(_HOST_PORT)
_PORTS = re.compile(r"(\d+)\s*-\s*(\d+)")
# RFC 3525 Annex B.2: a domain name in <>, an address in [], both with an optional port, or a device name.
_MID = re.compile(r"<[A-Za-z0-9.-]+>(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?|[A-Za-z][A-Za-z0-9_/.@-]{0,63}")


def fault(what: str, hint: str = "") -> PydanticCustomError:
    """An error of one value: what is wrong, and what to write instead."""
    return PydanticCustomError("pcscf", "{what}", {"what": what, "hint": hint})


class Block(BaseModel):
    """A mapping of the configuration: no unknown keys, no silent conversion, never changed after it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Word:
    """What the reference calls a kind of value."""

    text: str


class OneOrList:
    """Tells the JSON Schema of a list that one value may stand for a list of one."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        several = handler(schema)
        return {"anyOf": [several["items"], several]}


class NextHop(NamedTuple):
    """Where the core is reached. `host` is an address (IPv6 without brackets).

    `transport` None leaves the choice to RFC 3261 §18.1.1: UDP, and TCP for large requests.
    """

    host: str
    port: int
    transport: Literal["udp", "tcp"] | None


class Endpoint(NamedTuple):
    """An address (IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _normal_address(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ip_address(bare)
    except ValueError:
        raise fault(
            f"{text!r} is not an IP address",
            "write an IPv4 or IPv6 address, e.g. 192.0.2.1 or 2001:db8::1; names are not resolved",
        ) from None
    return str(address)


def _port_number(text: str, default: int) -> int:
    port = int(text) if text else default
    if not 1 <= port <= 65535:
        raise fault(f"{text} is not a port", "ports go from 1 to 65535")
    return port


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise fault(
            f"{text!r} cannot be a name", "use letters, digits, - and _, at most 64, the first a letter or digit"
        )
    return text


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text) or len(text) > 253:
        raise fault(f"{text!r} is not a domain name", "write a name such as ims.example")
    return text.lower()


def _next_hop(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _NEXT_HOP.fullmatch(value)
    hint = (
        'write "sip:192.0.2.1:5060" or "sip:[2001:db8::1]:5060", with ;transport=udp or ;transport=tcp to insist on one'
    )
    if match is None:
        raise fault(f"{value!r} is not a next hop", hint)
    transport = (match["transport"] or "").lower()
    if transport not in ("", "udp", "tcp"):
        raise fault(f"the next hop cannot use transport {transport!r}", hint)
    chosen: Literal["udp", "tcp"] | None = "udp" if transport == "udp" else "tcp" if transport == "tcp" else None
    return NextHop(_normal_address(match["host"]), _port_number(match["port"], 5060), chosen)


def _endpoint(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _ENDPOINT.fullmatch(value)
    if match is None:
        raise fault(f"{value!r} is not ADDRESS:PORT", 'write e.g. "192.0.2.1:2944" or "[2001:db8::1]:2944"')
    return Endpoint(_normal_address(match["host"]), _port_number(match["port"], 2944))


def _port_range(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _PORTS.fullmatch(value.strip())
    if match is None:
        raise fault(f"{value!r} is not a range of ports", 'write FIRST-LAST, e.g. "12000-21999"')
    first, last = int(match[1]), int(match[2])
    if not 1024 <= first <= last <= 65535:
        raise fault(f"the ports {value} cannot be used", "write FIRST-LAST with 1024 <= FIRST <= LAST <= 65535")
    return PortRange(first, last)


def _mid(text: str) -> str:
    if not _MID.fullmatch(text):
        raise fault(
            f"{text!r} is not an mId", 'write "[192.0.2.1]:2944", "<gw1.example>:2944" or a device name such as gw1'
        )
    return text


def _peer(text: str) -> str:
    try:
        return str(ip_network(text)) if "/" in text else _normal_address(text)
    except ValueError:
        if _MID.fullmatch(text):
            return text
        raise fault(
            f"{text!r} is neither an address, a network nor an mId",
            'write e.g. 192.0.2.7, 192.0.2.0/24, "[192.0.2.7]:2944" or "<gw1.example>:2944"',
        ) from None


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) or value is None else (value,)


def _file(value: object, info: ValidationInfo) -> object:
    """A file's path; a relative one is looked for beside the configuration file."""
    if not isinstance(value, str) or not value:
        raise fault(
            "must be the path of a file", "write a path; a relative one starts at the configuration file's folder"
        )
    directory: Path = (info.context or {}).get("directory", Path())
    return directory / Path(value).expanduser()


def _certificate(value: object, info: ValidationInfo) -> object:
    return value if value == "lab" or value is None else _file(value, info)


Item = TypeVar("Item")

Name = Annotated[str, AfterValidator(_name), Word("name")]
Domain = Annotated[str, AfterValidator(_domain), Word("domain name")]
Address = Annotated[str, AfterValidator(_normal_address), Word("address")]
Mid = Annotated[str, AfterValidator(_mid), Word("mId")]
Peer = Annotated[str, AfterValidator(_peer), Word("address, network or mId")]
Port = Annotated[int, Field(ge=0, le=65535), Word("port")]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Seconds = Annotated[float, Field(gt=0, le=604_800, allow_inf_nan=False), Word("seconds")]
Ports = Annotated[
    InstanceOf[PortRange], BeforeValidator(_port_range, json_schema_input_type=str), PlainSerializer(str), Word("FIRST-LAST")
]
Hop = Annotated[InstanceOf[NextHop], BeforeValidator(_next_hop, json_schema_input_type=str), Word("SIP URI")]
HostPort = Annotated[
    InstanceOf[Endpoint], BeforeValidator(_endpoint, json_schema_input_type=str), PlainSerializer(str), Word("ADDRESS:PORT")
]
Profile = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}/[1-9][0-9]?$"), Word("NAME/VERSION")]
File = Annotated[
    InstanceOf[Path], BeforeValidator(_file, json_schema_input_type=str), PlainSerializer(lambda path: str(path.absolute())),
    Word("file"),
]  # fmt: skip
Certificate = Annotated[
    InstanceOf[Path] | Literal["lab"] | None,
    BeforeValidator(_certificate, json_schema_input_type=str | None),
    Word("file or `lab`"),
]
Listed = Annotated[tuple[Item, ...], Field(strict=False)]
OneOrMore = Annotated[tuple[Item, ...], Field(strict=False), BeforeValidator(_as_list), OneOrList()]


def own_default(block: type[Block]) -> Any:
    """A field that is absent is the block with every knob at its own default."""
    return Field(default_factory=block)
