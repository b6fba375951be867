"""DTLS associations: which exchange keeps the one that stands, and which makes another (RFC 8842 §3.1, §5; RFC 7345 §4).

Towards either side the gateway is a DTLS endpoint of its own, and a=tls-id names its end of the association. Ours stays while the
association does; another name of ours, of the peer's certificate, address, role or a=tls-id means another association.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pcscf.mediasec.model import Leg
from pcscf.sdp.offer import SETUP_ANSWERS

DTLS: Final = "UDP/DTLS"


def with_offer(
    near: Leg, far: Leg, before: tuple[Leg | None, Leg | None], theirs: tuple[str, str], new_tls_id: Callable[[], str]
) -> tuple[Leg, Leg]:
    """(near, far) of an offer with their associations. before: as the exchange before left them; theirs: (setup, tls-id) offered.

    Towards the far side we offer to keep what stands there (RFC 8842 §5.5).
    """
    stood, beyond = before
    if near.transport == DTLS:
        setup, tls_id = theirs
        near = _kept(near, stood, setup, tls_id) or replace(near, tls_id=new_tls_id(), peer_tls_id=tls_id)
    if far.transport == DTLS:
        keeps = beyond is not None and beyond.transport == DTLS and beyond.tls is not None
        far = replace(far, tls_id=beyond.tls_id if keeps and beyond is not None else new_tls_id())
    return near, far


def with_answer(far: Leg, offered: Leg, stood: Leg | None, tls_id: str) -> Leg:
    """The far side with the association that its answer leaves. offered: that side of the offer."""
    if stood is not None and stood.tls == far.tls and _same_peer(far, stood, tls_id):
        return replace(far, peer_address=stood.peer_address, tls_id=offered.tls_id, peer_tls_id=stood.peer_tls_id)
    return replace(far, tls_id=offered.tls_id, peer_tls_id=tls_id)


def _kept(near: Leg, stood: Leg | None, setup: str, tls_id: str) -> Leg | None:
    """The near side with the association that stands, in the role that we have; None where the offer asks for another."""
    if stood is None or stood.transport != near.transport or stood.tls is None:
        return None
    ours = "active" if stood.tls == "client" else "passive"
    if ours not in SETUP_ANSWERS[setup] or not _same_peer(near, stood, tls_id):
        return None
    return replace(near, tls=stood.tls, setup=ours, peer_address=stood.peer_address,
                   tls_id=stood.tls_id, peer_tls_id=stood.peer_tls_id)  # fmt: skip


def _same_peer(leg: Leg, stood: Leg, tls_id: str) -> bool:
    """Whether the peer is where it was, with its certificate. One that names no association goes by these alone (RFC 8842 §4)."""
    return (
        leg.peer_address in (None, stood.peer_address)   # None: on hold
        and leg.peer_fingerprints == stood.peer_fingerprints
        and tls_id in ("", stood.peer_tls_id)
    )
