"""The gateways that are known by name, and how sessions on gateways are watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from pcscf.config.values import Block, HostPort, Listed, Mid, Name, Seconds

Reaction = Literal["log", "release"]


class KnownGateway(Block):
    """A gateway of its own, known by its mId."""

    mid: Mid
    """Its mId as it writes it on Iq, e.g. "[192.0.2.21]:2945"."""
    address: HostPort
    """Where its Iq is, ADDRESS:PORT. It may register from this address only, whatever `allow` says, and is told when we start."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    """Its share of the sessions: with weights 1 and 3 it gets a quarter, or three."""
    realms: Listed[Name] = ()
    """The realms it serves, keys of `realms`; none: those that it tells, or any."""
    drain: bool = False
    """true: it gets no new sessions, and those it has go on."""


class Supervision(Block):
    """How sessions on gateways are watched."""

    hanging: Annotated[int, Field(ge=1, le=604_800)] = 3600
    """Seconds without a word about a termination after which a gateway asks whether it is still wanted (H.248.36)."""
    media_inactivity: Mapping[Literal["msrp", "bfcp", "fax"], Annotated[int, Field(ge=1, le=604_800)]] = Field(
        default_factory=dict
    )
    """Seconds without media, by medium, after which a gateway tells (H.248.40). A medium that is not named may be silent; a
    session with several waits for the longest."""
    on_media_inactivity: Reaction = "release"
    """What becomes of a session without media: release ends it with BYE both ways, log writes a record."""
    on_close: Reaction = "log"
    """What becomes of a session when an end closes a connection and nothing failed: log waits for the BYE of that end."""
    tls_start: Literal["gateway", "controller"] = "gateway"
    """Who begins TLS where a gateway is its client on TCP: the gateway as soon as TCP is up; or it reports that
    (`tcpbcc/BNCChange`, Est) and waits for our signal (EstBNC)."""
    tcp_start: Literal["gateway", "answer", "interlinked"] = "gateway"
    """Who begins TCP where a gateway opens the connection: the gateway, by itself; or we (`tcpbcc/EstBNC`, with the Remote that
    was withheld until then), once the answer is in, or once the end on the other side is connected and verified."""
    tcp_wait: Seconds = 60.0
    """With `tcp_start: interlinked`: an end that is to open its connection has so long after the last signalling, then the
    session is released. Looked at every few seconds."""
    compare: Seconds = 300.0
    """A gateway's contexts are compared with our sessions this often; what nobody owns is cleared on either side."""
