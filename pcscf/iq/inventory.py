"""What a gateway can do, asked after each registration: its packages, and the realms that it knows (TS 23.334 §8, Audit)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pcscf.h248 import packages
from pcscf.h248.message import Action, Audit, Command, CommandName, ContextId, Media, Packages
from pcscf.iq.supervision import ROOT

MAX_NAMES = 256
"""Packages, and realms, that are remembered of one gateway."""


def questions() -> tuple[Action, ...]:
    """AuditValue of the packages, and where the gateway answers that, AuditCapability of what ipdc/realm can be."""
    value = Command(CommandName.AUDIT_VALUE, (ROOT,), (Audit(("Packages",)),))
    capability = Command(CommandName.AUDIT_CAPABILITY, (ROOT,), (Audit(("Media",)),), optional=True)
    return (Action(ContextId.NULL, (value, capability)),)


def packages_untrusted(actions: Iterable[Action]) -> frozenset[str] | None:
    """The canonical names of the packages that a reply lists; None where it lists none."""
    listed = [
        name for each in _descriptors(actions) if isinstance(each, Packages) for name, _version in each.packages[:MAX_NAMES]
    ]
    return frozenset(packages.package_of(f"{name}/") for name in listed) or None


def realms_untrusted(actions: Iterable[Action]) -> frozenset[str] | None:
    """The realms, in lower case, that ipdc/realm can be; None where the reply does not say."""
    for each in _descriptors(actions):
        if isinstance(each, Media):
            for stream in each.streams:
                for item in stream.local_control.properties if stream.local_control is not None else ():
                    if packages.canonical(item.name) == packages.REALM:
                        return frozenset(value.lower() for value in item.value.values[:MAX_NAMES]) or None
    return None


def _descriptors(actions: Iterable[Action]) -> Iterator[object]:
    for action in actions:
        for command in action.commands:
            yield from command.descriptors
