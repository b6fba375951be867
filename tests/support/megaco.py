"""How Erlang's megaco writes, and over what, as tests name it: "compact", "pretty over TCP"."""

from __future__ import annotations

import pytest

from pcscf.transport.model import Kind
from tests.support.peers import require_peer

OVER_SCTP = [pytest.param(f"{encoding} over SCTP", marks=pytest.mark.sctp) for encoding in ("compact", "pretty")]
_TRANSPORTS: dict[str, Kind] = {"": "udp", "TCP": "tcp", "SCTP": "sctp"}


def transport_of(encoding: str) -> Kind:
    """Skips the test where Erlang cannot speak it."""
    transport = _TRANSPORTS[encoding.partition(" over ")[2]]
    if transport == "sctp":
        require_peer("libsctp")
    return transport
