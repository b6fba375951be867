"""How urgent a session is, by its INVITE: what a gateway with too much to do is told to refuse last (TS 23.334 §5.14)."""

from __future__ import annotations

from typing import Final

from pcscf.iq.overload import Urgency
from pcscf.procedures.site import Side
from pcscf.sip.message import Request

EMERGENCY_SERVICE: Final = "urn:service:sos"
"""The emergency service and, behind a dot, its kinds (RFC 5031 §4.2)."""
EMERGENCY_NAMESPACE: Final = "esnet"
"""Resource-Priority between parts of an emergency services network (RFC 7135)."""


def urgency_of(request: Request, caller: Side) -> Urgency:
    """EMERGENCY for a call to an emergency service, PRIORITY for one with Resource-Priority (RFC 4412).

    What a UE says of its own priority does not count: anybody could write it. The core vouches for what it passes on.
    """
    target = request.uri.lower()
    if target == EMERGENCY_SERVICE or target.startswith(f"{EMERGENCY_SERVICE}."):
        return Urgency.EMERGENCY
    if caller is Side.CORE:
        namespaces = {value.strip().lower().partition(".")[0] for value in request.values("Resource-Priority")}
        if EMERGENCY_NAMESPACE in namespaces:
            return Urgency.EMERGENCY
        if namespaces:
            return Urgency.PRIORITY
    return Urgency.NORMAL
