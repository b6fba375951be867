"""a=path of MSRP where the gateway maps the paths of frames: each side knows the gateway by a URI of its own (RFC 6714 §6.2).

That URI has the session-id of the end behind it (RFC 4975 §6.1: its octets count), the scheme of its own leg, and the address
of the gateway, which stands as `$:$` until the gateway has chosen it.
"""

from __future__ import annotations

import re

from pcscf.mediasec.model import Leg
from pcscf.sdp.lines import MediaSection
from pcscf.sdp.views import move_msrp_uri, msrp_uri_address, path_uris

_CHOSEN = "$:$"
# RFC 4975 §9; what stands here goes on to the gateway, and in its frames.
_URI = re.compile(
    r"msrps?://(?:[\w.~!&'*+,;=:%()-]+@)?(?:\[[0-9A-Fa-f:.]+\]|[\w.~%-]+)(?::[0-9]{1,5})?/[\w.~+=/-]+;\w+(?:;[\w.~=%-]+)*",
    re.ASCII | re.IGNORECASE,
)


def is_mappable(section: MediaSection) -> bool:
    """Whether the gateway can map the path: MSRP URIs, and no relay whose TLS, which is its own, it would have to end.

    A relay is spoken to as its scheme says, whatever the m-line does (RFC 4976 §8).
    """
    uris = path_uris(section)
    if not uris or (len(uris) > 1 and not uris[0].lower().startswith("msrp:")):
        return False
    for uri in uris:  # noqa: SIM110 - a generator costs more than the loop
        if _URI.fullmatch(uri) is None or msrp_uri_address(uri) is None:
            return False
    return True


def with_offer(near: Leg, far: Leg, section: MediaSection, *, mapped: bool, moved: bool) -> tuple[Leg, Leg]:
    """(near, far) with the path of an offer. moved: the far side gets it as ours; else as it came (CEMA)."""
    path = " ".join(path_uris(section))
    return near.with_paths("", path), far.with_paths(_ours(path, far, mapped=mapped) if moved else path, "")


def with_answer(
    near: Leg, far: Leg, offered: tuple[Leg | None, Leg | None], section: MediaSection, *, mapped: bool
) -> tuple[Leg, Leg]:
    """(near, far) with the paths of the offer, which stand in `offered`, and of the answer."""
    path = " ".join(path_uris(section))
    before, beyond = offered
    return (
        near.with_paths(_ours(path, near, mapped=mapped), before.peer_path if before is not None else ""),
        far.with_paths(beyond.path if beyond is not None else "", path),
    )


def placed(path: str, address: str, port: int) -> str:
    """A leg's path once the gateway's address is known."""
    return path.replace(_CHOSEN, f"{f'[{address}]' if ':' in address else address}:{port}", 1)


def _ours(path: str, leg: Leg, *, mapped: bool) -> str:
    scheme = ("msrps" if leg.transport == "TCP/TLS" else "msrp") if mapped else ""
    return move_msrp_uri(path, scheme, _CHOSEN)
