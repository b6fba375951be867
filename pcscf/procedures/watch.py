"""What happens without a message: gateways report, registrations expire, and sessions fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from pcscf.errors import GatewayUnavailable, MediaNotAcceptable, RequestTimeout, SipError, TemporarilyUnavailable
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased, Connected, MediaStopped
from pcscf.iq.start import is_waiting
from pcscf.procedures.calls import Calls
from pcscf.procedures.register import forget
from pcscf.procedures.release import release
from pcscf.procedures.session import Session, State
from pcscf.procedures.site import Deadlines
from pcscf.procedures.timer import has_expired

MANY: Final = 256
"""Registrations that are looked at before others have their turn."""


def outcome(bearer: BearerReleased) -> SipError | None:
    """What the end of a connection means for its session, by layer and Generalcause; None: an end closed it, and nothing failed.

        any layer    NR              nothing: the BYE of that end is on the way, or it will offer anew
        TLS, DTLS    FT, UR          503: the handshake or the connection broke off, or there was no room for it
        TLS, DTLS    any other       488: there is no protection (RFC 4975 §14.4, TS 33.328 §6)
        any other    any other       503
    """
    if bearer.general == "NR":
        return None
    if bearer.kind in ("tls", "dtls") and bearer.general not in ("FT", "UR"):
        return MediaNotAcceptable(f"e2ae failure: {bearer.cause or f'{bearer.kind.upper()} failed'}")
    return GatewayUnavailable(f"media failure: {bearer.cause or 'the connection failed'}")


def bearer_released(calls: Calls, gateway: str, bearer: BearerReleased) -> None:
    """A connection of a stream is gone (TS 23.334 §8, IP Bearer Released); `outcome` says what becomes of its session."""
    session = calls.ports.store.session_in(gateway, bearer.context)
    if session is None:
        return
    calls.ports.record(
        "bearer-released", call=session.call_id, layer=bearer.kind, line=bearer.line, general=bearer.general, why=bearer.cause)
    error = outcome(bearer)
    if error is None and calls.ports.site.reactions.closed == "release":
        error = TemporarilyUnavailable(f"media ended: {bearer.cause or 'a connection was closed'}")
    if error is not None:
        calls.start(release(calls, session.token, error))


def connected(calls: Calls, gateway: str, what: Connected) -> None:
    """A connection is up: where the gateway is the TLS client on it, TLS begins (TS 23.334 §6.2.10), and where its peer is
    verified the connection that waited for that.
    """
    calls.start(_follow(calls, gateway, what))


async def _follow(calls: Calls, gateway: str, what: Connected) -> None:
    session = calls.ports.store.session_in(gateway, what.context)
    if session is None:
        return
    async with calls.mailbox(session.token):   # what the gateway was told last may still be under way
        current = calls.ports.store.session(session.token)
        media = current.media if current is not None else None
        if media is None or media.context != what.context:
            return
        is_access = media.access_termination.lower() == what.termination.lower()
        try:
            if what.layer == "tcp" and what.place in (media.tls_clients if is_access else media.core_tls_clients):
                await calls.ports.media.begin_tls(gateway, what)
            elif media.held and current is not None and current.told is not None:
                media = await calls.ports.media.begin_tcp(media, current.told, what)
                _keep(calls, session.token, media)
        except SipError as error:
            calls.start(release(calls, session.token, error))


def _keep(calls: Calls, token: str, media: Media) -> None:
    """What the session has at its gateway now, unless it has ended meanwhile."""
    session = calls.ports.store.session(token)
    if session is not None and session.media is not None:
        session.media = media
        calls.ports.store.save_session(session)


def media_stopped(calls: Calls, gateway: str, stopped: MediaStopped) -> None:
    """No media for as long as is allowed (TS 23.334 §8, Media Inactivity Notification)."""
    session = calls.ports.store.session_in(gateway, stopped.context)
    if session is None:
        return
    calls.ports.record("media-stopped", call=session.call_id, termination=stopped.termination)
    if calls.ports.site.reactions.silent == "release":
        calls.start(release(calls, session.token, RequestTimeout("no media crossed the gateway for too long")))


def contexts_lost(calls: Calls, gateway: str, contexts: Iterable[int], why: str) -> None:
    """A gateway is gone, or started anew without these contexts: so are their sessions, and no others (RFC 3525 §7.2.8)."""
    lost = [session for context in contexts if (session := calls.ports.store.session_in(gateway, context)) is not None]
    calls.ports.record("gateway-lost", gateway=gateway, why=why, sessions=len(lost))
    for session in lost:
        calls.start(release(calls, session.token, GatewayUnavailable(f"the media gateway was lost: {why}")))


async def renew_policies(calls: Calls) -> None:
    """The policies have changed: registrations get those that hold now; sessions keep theirs, which their plans stand on."""
    ports = calls.ports
    for number, binding in enumerate(ports.store.bindings()):
        interface = ports.site.interface(binding.flow.listener)
        binding.policy = ports.site.policy(interface, binding.address_of_record, binding.user_agent)
        if number % MANY == 0:
            await asyncio.sleep(0)   # calls go on


def expire(calls: Calls) -> None:
    """Drop bindings that nobody refreshed, with their sessions (TS 24.229 §5.2.8.1)."""
    ports = calls.ports
    now = ports.now()
    for binding in ports.store.bindings():
        if not binding.is_worth_keeping(now):
            if binding.expires_at:
                ports.record("expired", identity=binding.address_of_record)
            forget(calls, binding)


def release_overdue(calls: Calls) -> None:
    """End confirmed sessions in which something did not come in time."""
    ports = calls.ports
    now = ports.now()
    for session in ports.store.sessions():
        error = _overdue(session, now, ports.site.deadlines) if session.state is State.CONFIRMED else None
        if error is not None:
            calls.start(release(calls, session.token, error))


def _overdue(session: Session, now: float, deadlines: Deadlines) -> SipError | None:
    """The refresh that its timer demands (RFC 4028 §10), anything signalled at all, or a connection that another waits for
    (`tcp_start: interlinked`).
    """
    if has_expired(session, now):
        return RequestTimeout("nobody refreshed the session before it expired")
    if session.heard < now - deadlines.session:
        return RequestTimeout("nothing was signalled in this session for too long")
    media, told = session.media, session.told
    if (session.heard < now - deadlines.connection and media is not None and media.held
            and told is not None and is_waiting(media, told)):  # fmt: skip
        return GatewayUnavailable("media failure: the peer made no TCP connection")
    return None
