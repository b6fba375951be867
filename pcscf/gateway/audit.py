"""Answers to audits: what a termination or the gateway is set to (AuditValue), and could be set to (AuditCapability)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pcscf.errors import H248Error
from pcscf.gateway.config import Realm
from pcscf.gateway.items import PACKAGES
from pcscf.gateway.model import Context, LegKey, Termination, Traffic
from pcscf.h248 import packages
from pcscf.h248.message import (
    Audit,
    Command,
    Descriptor,
    Events,
    LocalControl,
    Media,
    Packages,
    Property,
    Signals,
    Statistics,
    Stream,
    Value,
)

_IN_SERVICE = Property("ServiceStates", Value(("InService",)))


def requested(context: Context, termination: Termination, command: Command, traffic: Traffic) -> tuple[Descriptor, ...]:
    """The descriptors that the Audit descriptor of a command asks for, as they stand now. Raises H248Error 444."""
    return tuple(_value(context, termination, item, traffic) for item in _audited(command))


def statistics(context: Context, termination: Termination, traffic: Traffic) -> Statistics:
    """Network statistics (RFC 3525 §E.11) of all streams: octets of the application, and milliseconds since the Add."""
    counts = [traffic.count(LegKey(context.id, termination.id, stream)) for stream in termination.streams]
    values = {
        packages.DURATION: round((termination.touched - termination.created) * 1000),
        packages.OCTETS_SENT: sum(one.sent for one in counts),
        packages.OCTETS_RECEIVED: sum(one.received for one in counts),
    }
    return Statistics(tuple(Property(name, Value((str(value),))) for name, value in values.items()))


def root_values(events: Events, properties: Mapping[str, Property], command: Command) -> tuple[Descriptor, ...]:
    """ROOT: its packages, service state and properties, and armed events. Raises H248Error 444."""
    found: list[Descriptor] = []
    for item in _audited(command):
        match _top(item):
            case "packages":
                found.append(Packages(PACKAGES))
            case "media":
                found.append(Media((), (_IN_SERVICE, *properties.values())))
            case "events":
                found.append(events)
            case "signals":
                found.append(Signals())
            case "statistics":
                found.append(Statistics())
            case _:
                raise H248Error(444, "Unsupported or unknown Descriptor")
    return tuple(found)


def capabilities(realms: Sequence[Realm], command: Command) -> tuple[Descriptor, ...]:
    """What could be set: packages, and the realms to choose from. Raises H248Error 444."""
    found: list[Descriptor] = []
    for item in _audited(command):
        match _top(item):
            case "packages":
                found.append(Packages(PACKAGES))
            case "media":
                names = Value(tuple(realm.name for realm in realms), form="or", quoted=True)
                found.append(Media((Stream(1, LocalControl(properties=(Property("ipdc/realm", names),))),)))
            case _:
                raise H248Error(444, "Unsupported or unknown Descriptor")
    return tuple(found)


def _audited(command: Command) -> list[str]:
    return [item for descriptor in command.descriptors if isinstance(descriptor, Audit) for item in descriptor.items]


def _value(context: Context, termination: Termination, item: str, traffic: Traffic) -> Descriptor:
    match _top(item):
        case "packages":
            return Packages(PACKAGES)
        case "media":
            return Media(
                tuple(
                    Stream(
                        stream.id,
                        LocalControl(stream.mode, properties=tuple(stream.properties.values())),
                        stream.local.text,
                        stream.remote.text if stream.remote is not None else None,
                    )
                    for stream in termination.streams.values()
                )
            )
        case "events":
            return termination.events
        case "signals":
            return Signals()
        case "statistics":
            return statistics(context, termination, traffic)
        case _:
            raise H248Error(444, "Unsupported or unknown Descriptor")


def _top(item: str) -> str:
    """The descriptor an audit item speaks of: `Media` of `Media{TerminationState{ServiceStates}}`."""
    return item.partition("{")[0].partition("=")[0].lower()
