"""What happens without a message: gateways report, registrations expire, and sessions fall silent."""

from __future__ import annotations

from pcscf.errors import GatewayUnavailable, MediaNotAcceptable, RequestTimeout, SipError
from pcscf.iq.notifications import BearerReleased
from pcscf.procedures.calls import Calls
from pcscf.procedures.register import forget
from pcscf.procedures.release import release
from pcscf.procedures.session import State
from pcscf.procedures.timer import has_expired


def bearer_released(calls: Calls, gateway: str, bearer: BearerReleased) -> None:
    """A connection of a stream is gone (TS 23.334 §8, IP Bearer Released).

    Protection that failed ends the session at once (RFC 4975 §14.4), and so does a connection that broke or could not be made.
    What an end closed itself is its own business: its BYE is on the way, or it will offer anew.
    """
    session = calls.ports.store.session_in(gateway, bearer.context)
    if session is None:
        return
    calls.ports.record("bearer-released", call=session.call_id, layer=bearer.kind, line=bearer.line, why=bearer.cause)
    if bearer.normal:
        return
    if bearer.kind == "tls":
        error: SipError = MediaNotAcceptable(f"e2ae failure: {bearer.cause or 'TLS failed'}")
    else:
        error = GatewayUnavailable(f"media failure: {bearer.cause or 'the connection failed'}")
    calls.start(release(calls, session.token, error))


def gateway_lost(calls: Calls, gateway: str) -> None:
    """A gateway is gone, or started anew and has none of its contexts: so are its sessions (RFC 3525 §7.2.8)."""
    calls.ports.record("gateway-lost", gateway=gateway)
    for session in calls.ports.store.sessions():
        if session.media is not None and session.media.gateway == gateway:
            calls.start(release(calls, session.token, GatewayUnavailable("the media gateway was lost")))


def expire(calls: Calls) -> None:
    """Drop bindings that nobody refreshed, with their sessions (TS 24.229 §5.2.8.1)."""
    ports = calls.ports
    now = ports.now()
    for binding in ports.store.bindings():
        if not binding.is_worth_keeping(now):
            if binding.expires_at:
                ports.record("expired", identity=binding.address_of_record)
            forget(calls, binding)


def release_silent(calls: Calls) -> None:
    """End confirmed sessions whose timer ran out (RFC 4028 §10), and those in which nothing was signalled for too long."""
    ports = calls.ports
    now = ports.now()
    oldest = now - ports.site.deadlines.session
    for session in ports.store.sessions():
        if session.state is not State.CONFIRMED:
            continue
        if has_expired(session, now):
            calls.start(release(calls, session.token, RequestTimeout("nobody refreshed the session before it expired")))
        elif session.heard < oldest:
            calls.start(release(calls, session.token, RequestTimeout("nothing was signalled in this session for too long")))
