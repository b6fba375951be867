"""However the network cuts the bytes: what comes out is what went in, and never before both sides are verified."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pcscf.gateway.endpoint import TlsEndpoint
from tests.unit.gateway.test_endpoint import WRONG, pair

cuts = st.lists(st.integers(1, 400), min_size=1, max_size=8)


def carry(one: TlsEndpoint, other: TlsEndpoint, sizes: list[int]) -> bool:
    """Moves what one has for the other in pieces of these sizes, over and over; whether there was anything."""
    data = one.take_network()
    moved, step = bool(data), 0
    while data:
        size = sizes[step % len(sizes)]
        other.receive_data(data[:size])
        data = data[size:]
        step += 1
        assert other.established or not other.pending
    return moved


@settings(max_examples=40, deadline=None)
@given(cuts, st.binary(max_size=40_000), st.binary(max_size=40_000))
def test_bytes_come_out_as_they_went_in(sizes: list[int], up: bytes, down: bytes) -> None:
    client, server = pair()
    while carry(client, server, sizes) | carry(server, client, sizes):
        pass
    client.send(up)
    server.send(down)
    while carry(client, server, sizes) | carry(server, client, sizes):
        pass
    assert server.take_plain() == up
    assert client.take_plain() == down


@settings(max_examples=25, deadline=None)
@given(cuts, st.booleans())
def test_a_refused_peer_never_gets_anything_through(sizes: list[int], server_refuses: bool) -> None:
    client, server = pair(server_expects=WRONG) if server_refuses else pair(client_expects=WRONG)
    refusing = server if server_refuses else client
    while True:
        moved = carry(client, server, sizes) | carry(server, client, sizes)
        for one in (client, server):
            if one.established:
                one.send(b"early")
        assert not refusing.established
        assert refusing.take_plain() == b""
        if not moved:
            break
    assert not client.established
    assert not server.established


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_garbage_is_refused_or_waited_upon(data: bytes, at_client: bool) -> None:
    client, server = pair()
    victim = client if at_client else server
    victim.receive_data(data)
    assert not victim.established
    assert victim.take_plain() == b""
