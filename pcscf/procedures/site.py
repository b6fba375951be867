"""Who we are on the wire: our interfaces with their addresses, the realms behind them, and the waits we allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from pcscf.config.policy import MediaPolicy
from pcscf.sip.headers import parse_name_addr
from pcscf.sip.uri import Uri


class Side(StrEnum):
    ACCESS = "access"
    CORE = "core"

    @property
    def other(self) -> Side:
        return _CORE if self is _ACCESS else _ACCESS


# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_ACCESS: Final = Side.ACCESS
_CORE: Final = Side.CORE


@dataclass(frozen=True, slots=True)
class Interface:
    """One listener as SIP sees it. `host` without brackets; `announced`: mechanisms that UEs on it are told (may be empty)."""

    name: str
    side: Side
    realm: str
    transport: str
    host: str
    port: int
    announced: tuple[str, ...] = ()

    def uri(self, token: str) -> str:
        """Our URI on this interface, for Record-Route and Path."""
        return f"<sip:{token}@{self.hostport}"

    @property
    def hostport(self) -> str:
        """What stands in our URI behind the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        transport = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"{host}:{self.port}{transport};lr>"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Waits, in seconds. Those on responses are the transactions' own (runtime).

    challenge    how long what a 401 taught is kept for the next REGISTER
    ack          the ACK to a 2xx; then the session is released
    session      a session in which nothing was signalled for so long is released
    tombstone    how long an ended session still answers requests that crossed its end
    connection   how long the gateway's connection to one end waits for that of the other
    """

    challenge: float = 240.0
    ack: float = 32.0
    session: float = 86_400.0
    tombstone: float = 32.0
    connection: float = 60.0


@dataclass(frozen=True, slots=True)
class Expiry:
    """Bounds on what a registrar grants, and how long a binding outlives it, in seconds."""

    least: float = 60.0
    most: float = 604_800.0
    grace: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    bindings: int = 100_000
    sessions: int = 50_000
    bindings_per_flow: int = 64


@dataclass(frozen=True, slots=True)
class Reactions:
    """What becomes of a session when the gateway reports that nothing failed: "log" leaves it, "release" ends it.

    closed  an end closed a connection; silent: no media crossed the gateway for as long as it was told to wait
    """

    closed: Literal["log", "release"] = "log"
    silent: Literal["log", "release"] = "release"


@dataclass(frozen=True, slots=True)
class Site:
    """Our place in the network.

    name       who we are in Warnings
    network    the visited network, for P-Visited-Network-ID and orig-ioi
    core_hop   URI of the next hop towards the core
    policy     (interface, identity, user agent) -> the block of media rules that applies
    addresses  those that are ours
    core       the interface whose address stands in what the core sees: UDP where there is one, for it says nothing of transport
    """

    name: str
    network: str
    interfaces: Mapping[str, Interface]
    core_realm: str
    core_hop: str
    policy: Callable[[Interface, str, str], MediaPolicy]
    deadlines: Deadlines = field(default_factory=Deadlines)
    expiry: Expiry = field(default_factory=Expiry)
    limits: Limits = field(default_factory=Limits)
    addresses: frozenset[tuple[str, int]] = frozenset()
    reactions: Reactions = field(default_factory=Reactions)
    core: Interface = field(init=False)
    _ends: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        ours = [each for each in self.interfaces.values() if each.side is Side.CORE]
        object.__setattr__(self, "core", next((each for each in ours if each.transport == "udp"), ours[0]))
        object.__setattr__(self, "_ends", frozenset(each.hostport for each in self.interfaces.values()))

    def is_ours(self, host: str, port: int) -> bool:
        return (host, port) in self.addresses

    def is_our_uri(self, uri: Uri) -> bool:
        """Whether a SIP URI names one of our listeners."""
        return (uri.host, uri.port or (5061 if uri.scheme == "sips" else 5060)) in self.addresses

    def named_by(self, route: str) -> str | None:
        """What stands before the @ of a Route, Record-Route or Path that is ours; None: it is not. Raises MalformedMessage."""
        start, _, end = route.partition("@")
        if end in self._ends and start.startswith("<sip:"):
            name = start[5:]
            if name.isascii() and name.replace("-", "_").isidentifier():
                return name   # as we wrote it
        uri = parse_name_addr(route).uri_parsed
        return uri.user if self.is_our_uri(uri) else None

    def interface(self, listener: str) -> Interface:
        return self.interfaces[listener]
