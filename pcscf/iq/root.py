"""What is asked of a whole gateway: audits, and ServiceChange from the controller (TS 23.334 §8, RFC 3525 §7.2.8)."""

from __future__ import annotations

from collections.abc import Iterable

from pcscf.h248.message import Action, Audit, Command, CommandName, ContextId, Services
from pcscf.iq.supervision import ROOT


def audit_root() -> tuple[Action, ...]:
    """The heartbeat that the controller drives: an empty audit of ROOT (TS 29.334 §5.12)."""
    return (Action(ContextId.NULL, (Command(CommandName.AUDIT_VALUE, (ROOT,), (Audit(()),)),)),)


def audit_contexts() -> tuple[Action, ...]:
    """Audit Value: every termination in every context."""
    return audit_some((ContextId.ALL,))


def audit_some(contexts: Iterable[int]) -> tuple[Action, ...]:
    """Audit Value: the terminations of these contexts, an action for each."""
    return tuple([Action(each, (Command(CommandName.AUDIT_VALUE, ("*",), (Audit(()),)),)) for each in contexts])


def restoration() -> tuple[Action, ...]:
    """IMS-ALG Restoration: the controller started anew; the gateway shall register again."""
    return _service_change(Services(method="Restart", reason="901 Cold Boot"))


def hand_off(controller: str) -> tuple[Action, ...]:
    """The gateway shall register with the controller of this mId; with our own it is IMS-ALG Ordered Re-register."""
    return _service_change(Services(method="HandOff", reason="903 MGC Directed Change", mgc_id_to_try=controller))


def out_of_service() -> tuple[Action, ...]:
    """IMS-ALG Out of Service: the controller ends, and serves none of the gateway's contexts any more."""
    return _service_change(Services(method="Forced", reason="905 Termination taken out of service"))


def _service_change(services: Services) -> tuple[Action, ...]:
    return (Action(ContextId.NULL, (Command(CommandName.SERVICE_CHANGE, (ROOT,), (services,)),)),)
