"""What follows from the descriptors of a stream: TCP role, source filter, and with them the plan of its connection."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from pcscf.errors import H248Error
from pcscf.gateway.certificate import strongest
from pcscf.gateway.description import Description
from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.items import armed, unsupported_value
from pcscf.gateway.model import LegKey, LegPlan, SourceFilter, Stream, TcpRole
from pcscf.gateway.policing import BURST_SECONDS, PEAK_SECONDS, Contract
from pcscf.h248 import packages
from pcscf.h248.message import Events, Mode, Property

_RECEIVES: Final = (Mode.SEND_RECEIVE, Mode.RECEIVE_ONLY)
_SENDS: Final = (Mode.SEND_RECEIVE, Mode.SEND_ONLY)

_VARIATIONS_PER_SECOND: Final = 10_000_000   # tman/dvt counts tenths of a microsecond
_ON: Final = frozenset({"on", "true"})


def tcp_role(local: str, remote: str, *, asked: bool) -> TcpRole | None:
    """The gateway's TCP role from the two `a=setup` values (RFC 4145 §4.1), as H.248.89 "package-less TCP control" has it.

    A Local value decides; actpass or a missing one leaves it to the complement of the Remote value; where neither says
    anything the gateway waits, unless EstBNC `asked` it to connect. None: nobody connects now (holdconn). Raises
    H248Error 473 when both sides have the same role.
    """
    if "holdconn" in (local, remote):
        return None
    if local == remote and local in ("active", "passive"):
        raise H248Error(473, f"Conflicting values: a=setup:{local} in Local and in Remote")
    if local == "active" or (local != "passive" and remote == "passive"):
        return TcpRole.CONNECT
    if not local and remote in ("", "actpass") and asked:
        return TcpRole.CONNECT
    return TcpRole.ACCEPT


def check_remote(local: Description, remote: Description, minimum_hash: str) -> None:
    """Raises H248Error: 473 TLS, UDP or RTP on one of them only; 449 fingerprints of which none may be used."""
    if (local.secure, local.datagram, local.rtp) != (remote.secure, remote.datagram, remote.rtp):
        raise H248Error(473, f"Conflicting values: {local.transport} in Local, {remote.transport} in Remote")
    if remote.secure and not strongest(remote.fingerprints, minimum_hash):
        stated = [line for line in remote.lines if line.startswith("a=fingerprint:")]
        if stated:
            raise unsupported_value("fingerprint", stated[0].removeprefix("a=fingerprint:"))


def switched_on(properties: Mapping[str, Property], name: str) -> bool:
    found = properties.get(name)
    return found is not None and found.value.text.lower() in _ON


def source_filter(properties: Mapping[str, Property], remote: Description | None) -> SourceFilter | None:
    """The source filter of H.248.43: gm/saf with gm/sam, or else the Remote address; gm/spf with gm/spr, or else the
    Remote port.

    Raises H248Error 449 for a mask or range that cannot be read.
    """
    by_address = switched_on(properties, packages.SOURCE_ADDRESS_FILTER)
    by_port = switched_on(properties, packages.SOURCE_PORT_FILTER)
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    ports: tuple[int, int] | None = None
    if by_address and packages.SOURCE_ADDRESS_MASK in properties:
        networks = tuple(_network(text) for text in properties[packages.SOURCE_ADDRESS_MASK].value.values)
    elif by_address:
        networks = (ip_network(remote.address),) if remote is not None and remote.target else ()
    if by_port and packages.SOURCE_PORT_RANGE in properties:
        ports = _port_range(properties[packages.SOURCE_PORT_RANGE])
    elif by_port and remote is not None and remote.target:
        ports = (remote.target[1], remote.target[1])
    return SourceFilter(networks, ports) if by_address or by_port else None


def dscp(properties: Mapping[str, Property]) -> int | None:
    """ds/dscp as 0..63, None where it is not set. Raises H248Error 449 for anything else."""
    found = properties.get(packages.DSCP)
    if found is None:
        return None
    try:
        value = int(found.value.text, 0)
    except ValueError:
        raise unsupported_value(packages.DSCP, found.value.text) from None
    if not 0 <= value <= 0x3F:
        raise unsupported_value(packages.DSCP, found.value.text)
    return value


def contract(properties: Mapping[str, Property]) -> Contract | None:
    """What tman agreed, None where policing is off or no rate is named. Raises H248Error 449 for what is no rate."""
    if not switched_on(properties, packages.POLICING):
        return None
    sustained, peak = _rate(properties, packages.SUSTAINED_RATE), _rate(properties, packages.PEAK_RATE)
    burst = _rate(properties, packages.BURST_SIZE)
    variation = _rate(properties, packages.DELAY_VARIATION, least=0)
    if sustained is None and peak is None:
        return None
    tolerance = PEAK_SECONDS if variation is None else variation / _VARIATIONS_PER_SECOND
    return Contract(sustained, round((sustained or 0) * BURST_SECONDS) if burst is None else burst, peak, tolerance)


def _rate(properties: Mapping[str, Property], name: str, least: int = 1) -> int | None:
    found = properties.get(name)
    if found is None:
        return None
    text = found.value.text
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) >= least):
        raise unsupported_value(name, text)
    return int(text)


def leg_plan(stream: Stream, partner: LegKey | None, minimum_hash: str, events: Events) -> LegPlan:
    """The plan of a stream whose descriptors were found consistent when they came. events: what its termination has armed."""
    remote = stream.remote
    rtcp_mux = stream.local.rtcp_mux and remote is not None and remote.rtcp_mux
    return LegPlan(
        local=stream.address,
        tcp=stream.tcp,
        secure=stream.local.secure,
        tls=TlsRole.CLIENT if stream.tls_client else TlsRole.SERVER,
        remote=remote.target if remote is not None else None,
        fingerprints=strongest(remote.fingerprints, minimum_hash) if remote is not None else (),
        receives=stream.mode in _RECEIVES,
        sends=stream.mode in _SENDS,
        triggers=stream.triggers,
        generation=stream.generation,
        source=source_filter(stream.properties, remote),
        dscp=dscp(stream.properties),
        contract=contract(stream.properties),
        partner=partner,
        own_path=stream.local.path,
        peer_path=remote.path if remote is not None else "",
        datagram=stream.local.datagram,
        rtp=stream.local.rtp,
        rtcp=remote.rtcp_target if remote is not None and not rtcp_mux else None,
        rtcp_mux=rtcp_mux,
        latch=stream.latch,
        credentials=stream.credentials,
        tls_ids=stream.tls_ids,
        holds_tls=_holds_tls(stream, events),
    )


def _holds_tls(stream: Stream, events: Events) -> bool:
    """Whether TLS waits for the controller, who wants to hear first that TCP is up and has not made us its client yet."""
    if stream.tls_client or stream.local.datagram or not stream.local.secure:
        return False
    return armed(events, (packages.TCP_CHANGE,), stream.id, packages.CHANGE_ESTABLISHED) is not None


def _network(text: str) -> IPv4Network | IPv6Network:
    address, _, mask = text.strip().partition("]")
    try:
        return ip_network(address.removeprefix("[") + mask, strict=False)
    except ValueError:
        raise unsupported_value(packages.SOURCE_ADDRESS_MASK, text) from None


def _port_range(item: Property) -> tuple[int, int]:
    values = item.value.values if item.value.form == "range" else tuple(item.value.text.split("-"))
    if len(values) not in (1, 2) or not all(value.strip().isdecimal() for value in values):
        raise unsupported_value(packages.SOURCE_PORT_RANGE, item.value.text)
    return int(values[0]), int(values[-1])
