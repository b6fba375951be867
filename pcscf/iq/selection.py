"""Which gateway a new session uses: one that can serve it, and of those the one with the least to do for its weight."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from pcscf.h248 import packages
from pcscf.iq.association import Gateway
from pcscf.iq.media import is_protected, is_tcp, legs
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import Realms
from pcscf.iq.states import GatewayState
from pcscf.mediasec.model import MediaPlan
from pcscf.record import record

_REGISTERED: Final = GatewayState.REGISTERED
_LEAVING: Final = GatewayState.LEAVING


@record
class Needs:
    """What a session asks of its gateway. `realms` in lower case, `packages` by their canonical names."""

    realms: frozenset[str]
    packages: frozenset[str]


def needs_of(plan: MediaPlan, realms: Realms) -> Needs:
    """The realms of both sides, and the packages that control the transports of the plan."""
    return _needs(tuple([(access.transport, core.transport) for _, access, core in legs(plan)]), realms.access, realms.core)


def candidates(gateways: Iterable[Gateway], needs: Needs, urgency: Urgency, now: float) -> list[Gateway]:
    """The gateways that could serve, best first: the suspect and the busy last, then by sessions for the weight.

    An emergency session may also use, after all others, a gateway that is leaving or drained.
    """
    able = [each for each in gateways if _takes_sessions(each, urgency) and can_serve(each, needs) and each.serves_at <= now]
    if len(able) > 1:
        able.sort(key=lambda each: _order(each, now))
    return able


def can_serve(gateway: Gateway, needs: Needs) -> bool:
    """Whether the gateway has the realms and packages. What it has not told counts as there: its refusal will tell."""
    realms = gateway.realms
    if realms is not None and not needs.realms <= realms:
        return False
    if gateway.without_realms and needs.realms & gateway.without_realms:
        return False
    return gateway.packages is None or needs.packages <= gateway.packages


def _takes_sessions(gateway: Gateway, urgency: Urgency) -> bool:
    if gateway.state is _REGISTERED and not gateway.is_drained:
        return True
    return urgency is Urgency.EMERGENCY and gateway.is_associated


def _order(gateway: Gateway, now: float) -> tuple[bool, bool, float]:
    return (
        gateway.is_drained or gateway.state is _LEAVING,
        gateway.is_suspect or gateway.busy_until > now,
        gateway.load / (gateway.weight * gateway.throttle.share(now)),
    )


@lru_cache(maxsize=256)
def _needs(transports: tuple[tuple[str, str], ...], access: str, core: str) -> Needs:
    wanted = {_package(transport) for pair in transports for transport in pair}
    return Needs(frozenset({access.lower(), core.lower()}), frozenset(name for name in wanted if name))


def _package(transport: str) -> str:
    """The package whose signals and events a stream of this transport needs; "" for plain datagrams."""
    if is_tcp(transport):
        return packages.package_of(packages.TLS_ESTABLISH if is_protected(transport) else packages.TCP_CHANGE)
    return packages.package_of(packages.DTLS_ESTABLISH) if is_protected(transport) else ""
