"""What is decided about an offer or an answer, and the SDP that would leave, without a network. Pure.

The functions are those that a call runs; only the gateway is a stand-in, with addresses of the documentation ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.mechanisms import BY_NAME
from pcscf.mediasec.model import (
    NOWHERE,
    Agreed,
    Capabilities,
    Direction,
    Leg,
    LinePlan,
    MediaPlan,
    Origin,
    SideMedia,
    StreamMedia,
)
from pcscf.mediasec.plan import decide, settle
from pcscf.mediasec.rewrite import rewrite_answer, rewrite_offer
from pcscf.sdp.lines import Sdp

ACCESS_ADDRESS = "203.0.113.7"
CORE_ADDRESS = "198.51.100.7"
ACCESS_PORTS = range(30_000, 31_000, 2)  # by index of the m-line
CORE_PORTS = range(41_000, 42_000, 2)
FINGERPRINT = ("sha-256", ":".join(f"{(37 * octet + 11) % 256:02X}" for octet in range(32)))
ASSOCIATION = "stand-in-association-"
CAPABILITIES = Capabilities(frozenset(BY_NAME), frozenset({"TCP", "UDP", "RTP"}))


@dataclass(frozen=True, slots=True)
class Explanation:
    """A plan, settled where an answer was explained, with what came in and what would leave; `sent` None: nothing."""

    plan: MediaPlan
    received: Sdp
    sent: Sdp | None
    is_answer: bool

    @property
    def from_ue(self) -> bool:
        """Whether `received` came from the UE."""
        return (self.plan.direction is Direction.OFFER_FROM_UE) != self.is_answer


def explain(
    policy: MediaPolicy, agreed: Agreed, direction: Direction, offer: Sdp, answer: Sdp | None = None,
    *, previous: MediaPlan | None = None, origin: Origin = NOWHERE,
) -> Explanation:
    """Decide about `offer`, and about `answer` to it where one is given, with a gateway that can do every medium.

    previous: what the exchange before settled in the same session. origin: where the signalling of the UE comes from.
    """  # fmt: skip
    plan = decide(
        policy, agreed, offer, direction, CAPABILITIES, previous=previous, origin=origin, new_tls_id=_names_after(previous))
    offered_by_ue = direction is Direction.OFFER_FROM_UE
    if answer is None:
        sent = None
        if plan.action == "forward":
            sent = rewrite_offer(plan, offer, _media(plan, to_ue=not offered_by_ue))
        return Explanation(plan, offer, sent, is_answer=False)
    settled, sent = settle(plan, answer), None
    if settled.action == "forward":
        sent = rewrite_answer(settled, answer, _media(settled, to_ue=offered_by_ue))
    return Explanation(settled, answer, sent, is_answer=True)


def as_object(explanation: Explanation) -> dict[str, Any]:
    """The explanation as values of JSON: action, status and warning of a reject, sdp, lines."""
    plan, sent = explanation.plan, explanation.sent
    refusal = {"status": plan.status, "warning": plan.warning} if plan.action == "reject" else {}
    return {
        "action": plan.action,
        **refusal,
        "sdp": None if sent is None else sdp_text(sent),
        "lines": [_line_object(line) for line in plan.lines],
    }


def sdp_text(sdp: Sdp) -> str:
    """A description as text; octets that are not UTF-8 become U+FFFD."""
    return sdp.to_bytes().decode("utf-8", "replace")


def _line_object(line: LinePlan) -> dict[str, Any]:
    gateway = None
    if line.access is not None and line.core is not None:
        core = {"tcp": line.core.tcp, "tls": line.core.tls} if line.core_protected else {"tcp": line.core.tcp}
        gateway = {"access": {"tcp": line.access.tcp, "tls": line.access.tls, **_latched(line.access)}, "core": core}
    return {
        "index": line.index,
        "mode": line.mode.value,
        "rule": line.rule,
        "reason": line.reason,
        "gateway": gateway,
    }


def _names_after(previous: MediaPlan | None) -> Callable[[], str]:
    """Names of DTLS associations, none of which the exchange before has: numbered, so that the same case explains the same."""
    legs = [leg for line in previous.lines for leg in (line.access, line.core) if leg is not None] if previous else []
    last = max((int(leg.tls_id.removeprefix(ASSOCIATION)) for leg in legs if leg.tls_id), default=0)
    numbers = count(last + 1)
    return lambda: f"{ASSOCIATION}{next(numbers):04}"


def _latched(leg: Leg) -> dict[str, Any]:
    return {"latched": True, "from": list(leg.sources)} if leg.latched else {}


def _media(plan: MediaPlan, *, to_ue: bool) -> SideMedia:
    """The stand-in's side towards the receiver, for every line that uses it."""
    side = _access_side if to_ue else _core_side
    return {line.index: side(line) for line in plan.lines if line.gateway}


def _access_side(line: LinePlan) -> StreamMedia:
    port = ACCESS_PORTS[line.index]
    if not line.mapped:
        return StreamMedia(ACCESS_ADDRESS, port)
    return StreamMedia(ACCESS_ADDRESS, port, (FINGERPRINT,))


def _core_side(line: LinePlan) -> StreamMedia:
    port = CORE_PORTS[line.index]
    if not line.core_protected:
        return StreamMedia(CORE_ADDRESS, port)
    return StreamMedia(CORE_ADDRESS, port, (FINGERPRINT,))
