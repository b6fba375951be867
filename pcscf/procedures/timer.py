"""The session timer of the ends (RFC 4028), as a proxy that asks for none of its own learns and keeps it."""

from __future__ import annotations

from typing import Final

from pcscf.procedures.session import Session
from pcscf.sip.message import Message, Request, Response

REFRESHES: Final = frozenset({"INVITE", "UPDATE"})
LEAST: Final = 90
"""Seconds: no session interval is shorter (RFC 4028 §4)."""
MOST: Final = 2**32 - 1
GRACE: Final = 32.0
"""Seconds that a session is kept beyond its expiry: a refresh that was sent in time may be under way for 64*T1."""


def observe_timer(session: Session, request: Request, response: Response, now: float) -> None:
    """A 2xx to INVITE or UPDATE begins the interval anew, or ends the timer where it names none (RFC 4028 §8.2, §8.3)."""
    if request.method not in REFRESHES or not 200 <= response.status < 300:
        return
    interval = _seconds(response, "Session-Expires")
    session.expires = 0.0 if interval is None else now + max(interval, _seconds(request, "Min-SE") or 0, LEAST)


def has_expired(session: Session, now: float) -> bool:
    """Whether nobody refreshed the session in time, the grace included."""
    return session.expires > 0.0 and now > session.expires + GRACE


def _seconds(message: Message, name: str) -> int | None:
    """The delta-seconds of a field, None where it is missing or cannot be read."""
    text = (message.get(name) or "").partition(";")[0].strip()
    return min(int(text), MOST) if text.isascii() and text.isdecimal() and len(text) <= 10 else None
