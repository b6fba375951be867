"""When TCP begins on a side where the gateway opens it (TR 29.828 §4.4.2.2): by itself, or once the controller wants it.

A gateway that shall wait is not told its peer: without a Remote it cannot open, whether it goes by a=setup or by EstBNC. So the
connection is reserved first and ordered later, as in the two-stage reservation of TS 183 018 §5.17.1.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from pcscf.h248.message import same_name
from pcscf.iq.media import Media, SideName, TcpStart, is_fresh, is_protected, is_tcp, legs
from pcscf.iq.notifications import Connected
from pcscf.mediasec.model import Leg, LinePlan, MediaPlan

Ordered: TypeAlias = tuple[SideName, int]
"""A side and a place: where a connection is to be made."""


def told_legs(
    plan: MediaPlan, media: Media | None, start: TcpStart, ordered: Ordered | None = None
) -> Iterator[tuple[int, LinePlan, Leg, Leg]]:
    """(place, line, access leg, core leg) as the gateway is told them now: without the peer where it shall not open yet.

    ordered: a connection that shall be made now, whatever the others do.
    """
    for line, access, core in legs(plan):
        place = media.place(line) if media is not None else line.index
        if start == "gateway":
            yield place, line, access, core
        else:
            near = _told(plan, media, start, line, ("access", place), access, core, ordered)
            yield place, line, near, _told(plan, media, start, line, ("core", place), core, access, ordered)


def _told(
    plan: MediaPlan, media: Media | None, start: TcpStart, line: LinePlan, where: Ordered, leg: Leg, other: Leg,
    ordered: Ordered | None,
) -> Leg:  # fmt: skip
    if leg.tcp != "connect" or where == ordered or is_begun(media, line, where, leg):
        return leg
    if plan.settled and (start == "answer" or other.tcp != "accept"):
        return leg
    return replace(leg, peer_address=None, tls=None)


def is_begun(media: Media | None, line: LinePlan, where: Ordered, leg: Leg) -> bool:
    """Whether the connection that the line has on this side was ordered, or waited for, before."""
    side, place = where
    if media is None or where in media.held or media.renews(line):
        return False
    return not is_fresh(place, leg, media.access if side == "access" else media.core)


def is_held(leg: Leg) -> bool:
    """Of a leg as it was told: whether nobody has been told to make its connection."""
    return is_tcp(leg.transport) and (leg.tcp is None or (leg.tcp == "connect" and leg.peer_address is None))


def following(media: Media, plan: MediaPlan, up: Connected) -> Ordered | None:
    """The connection that waited for this one, on the other side of its stream: its peer is connected and verified."""
    is_access = same_name(up.termination, media.access_termination)
    wanted: Ordered = ("core" if is_access else "access", up.place)
    if wanted not in media.held or not (is_access or same_name(up.termination, media.core_termination)):
        return None
    for line, access, core in legs(plan):
        here, beyond = (access, core) if is_access else (core, access)
        if media.place(line) == up.place and beyond.tcp == "connect" and beyond.peer_address is not None:
            return wanted if up.layer == ("tls" if is_protected(here.transport) else "tcp") else None
    return None


def is_waiting(media: Media, plan: MediaPlan) -> bool:
    """Whether a connection of the session waits for one that an end has to open."""
    return bool(media.held) and any(
        (side, media.place(line)) in media.held and leg.tcp == "connect"
        for line, access, core in legs(plan) for side, leg in (("access", access), ("core", core)))
