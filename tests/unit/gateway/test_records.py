"""The record layer of DTLS between two ends: what opens, what is passed over, when it ends. With OpenSSL: test_dtls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.gateway import records
from pcscf.gateway.records import (
    ALERT,
    APPLICATION_DATA,
    PROTECTED,
    RECORD_HEADER,
    RECORD_OVERHEAD,
    Exhausted,
    Protection,
    Sent,
    expanded,
    records_untrusted,
)

SUITE = "ECDHE-ECDSA-AES128-GCM-SHA256"

def sent(number: int = PROTECTED, nonce: int = 41) -> Sent:
    """As after a Finished of that number."""
    made = Sent()
    made.note(records._HEADER.pack(22, 0xFEFD, number, 48) + nonce.to_bytes(8) + bytes(40))
    return made


def ends(suite: str = SUITE) -> tuple[Protection, Protection]:
    client, server = (
        Protection(suite, bytes(range(48)), b"c" * 32, b"s" * 32, sent(), is_client=is_client) for is_client in (True, False))
    return client, server


def opened(end: Protection, *datagrams: bytes) -> list[bytes]:
    return [content for datagram in datagrams for _, content in end.open_untrusted(datagram)]


@pytest.mark.parametrize("suite", [SUITE, "ECDHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256"])
def test_what_one_end_protects_the_other_opens(suite: str) -> None:
    client, server = ends(suite)
    for one, other in ((client, server), (server, client)):
        record = one.protect(APPLICATION_DATA, b"fax")
        assert len(record) == 3 + RECORD_OVERHEAD
        assert b"fax" not in record
        assert list(other.open_untrusted(record)) == [(APPLICATION_DATA, b"fax")]
        assert opened(one, one.protect(APPLICATION_DATA, b"mine")) == []   # each direction has a key of its own


def test_numbers_and_nonces_go_on_where_the_handshake_ended() -> None:
    client, _ = ends()
    for count in range(1, 4):
        datagram = client.protect(APPLICATION_DATA, b"x")
        [(_, _, number, _, _)] = records_untrusted(datagram)
        assert number == PROTECTED + count
        assert datagram[RECORD_HEADER:RECORD_HEADER + 8] == (41 + count).to_bytes(8)


def test_nonces_go_round() -> None:
    client = Protection(SUITE, bytes(48), bytes(32), bytes(32), sent(nonce=2**64 - 1), is_client=True)
    for expected in (0, 1):
        assert int.from_bytes(client.protect(APPLICATION_DATA, b"x")[RECORD_HEADER:][:8]) == expected


def test_without_what_was_sent_nothing_is() -> None:
    with pytest.raises(Exhausted):
        Protection(SUITE, bytes(48), bytes(32), bytes(32), Sent(), is_client=True)


def test_a_number_is_never_used_again() -> None:
    client = Protection(SUITE, bytes(48), bytes(32), bytes(32), sent(2 * PROTECTED - 2), is_client=True)
    client.protect(APPLICATION_DATA, b"the last one")
    for _ in range(2):
        with pytest.raises(Exhausted):
            client.protect(APPLICATION_DATA, b"one too many")


def test_every_changed_octet_is_noticed() -> None:
    client, server = ends()
    datagram = client.protect(APPLICATION_DATA, b"whole")
    for place in range(len(datagram)):
        changed = bytearray(datagram)
        changed[place] ^= 1
        assert opened(server, bytes(changed)) == []
    assert opened(server, datagram) == [b"whole"]   # none of that moved the window


@given(st.binary(max_size=200))
def test_anything_may_come(octets: bytes) -> None:
    _, server = ends()
    assert opened(server, octets) == []
    assert opened(server, b"\x17\xfe\xfd\0\1" + octets) == []


def test_cut_and_several_records() -> None:
    client, server = ends()
    one, two = client.protect(APPLICATION_DATA, b"one"), client.protect(ALERT, b"\1\0")
    for size in range(len(one)):
        assert opened(server, one[:size]) == []
    assert list(server.open_untrusted(one + b"\x16\xfe\xfd" + bytes(10) + two + one[:20])) == [
        (APPLICATION_DATA, b"one"), (ALERT, b"\1\0")]


# --- the window ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 200), max_size=300))
def test_nothing_opens_twice_and_nothing_recent_is_lost(order: list[int]) -> None:
    client, server = ends()
    datagrams = [client.protect(APPLICATION_DATA, number.to_bytes(2)) for number in range(201)]
    newest, seen = -1, set()
    for number in order:
        found = opened(server, datagrams[number])
        if number in seen or newest - number >= 64:
            assert found == []
        else:
            assert found == [number.to_bytes(2)]
        seen.update(int.from_bytes(each) for each in found)
        newest = max([newest, *seen])


# --- a flight again --------------------------------------------------------------------------------------------------


def flight(end: Protection) -> bytes:
    return b"\x14\xfe\xfd" + (5).to_bytes(8) + b"\0\1\1" + end.protect(22, b"\x14Finished")


def numbers(octets: bytes) -> Iterator[int]:
    return (number for _, _, number, _, _ in records_untrusted(octets))


def test_a_flight_again_is_the_same_in_new_records() -> None:
    client, server = ends()
    first = flight(server)
    assert list(numbers(first)) == [5, PROTECTED + 1]
    server.protect(APPLICATION_DATA, b"between")
    for times in (1, 2):
        again = server.repeated(first, times)
        assert list(numbers(again)) == [5 + times, PROTECTED + 2 + times]
        assert again[13:14] == b"\1"
        assert list(client.open_untrusted(again)) == [(22, b"\x14Finished")]


def test_expansion() -> None:
    """Made with OpenSSL: openssl kdf -keylen 40 -kdfopt digest:SHA2-256 -kdfopt hexsecret:… -kdfopt seed:… TLS1-PRF"""
    secret, seed = bytes.fromhex("9bbe436ba940f017b17652849a71db35"), bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    assert expanded(secret, b"test label" + seed, "sha256", 40).hex() == (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9")
