"""Two DTLS endpoints and a network in between that loses, doubles and reorders: who gets through, and what never does."""

from __future__ import annotations

import gc
import random
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Fingerprint, Identity, self_signed, self_signed_rsa
from pcscf.gateway.dtls import DtlsContext, DtlsEndpoint, datagrams
from pcscf.gateway.endpoint import Established, Failed, PeerClosed, TlsContext, TlsEndpoint, TlsRole
from pcscf.gateway.records import (
    ALERT,
    APPLICATION_DATA,
    DTLS1_2,
    HANDSHAKE,
    PROTECTED,
    RECORD_HEADER,
    RECORD_OVERHEAD,
    records_untrusted,
)

NOW = datetime.now(UTC)
GATEWAY = (self_signed(NOW), self_signed_rsa(NOW))
UE = self_signed(NOW, "ue")
STRANGER = self_signed(NOW, "stranger")
SECRET = bytes(range(32))
SERVER_CONTEXT, CLIENT_CONTEXT = DtlsContext(GATEWAY, SECRET), DtlsContext((UE,), SECRET)
HERE, THERE = b"192.0.2.1 5000", b"192.0.2.2 6000"
MTU = 300
"""Small, so that flights take several datagrams."""

Deal = Callable[[list[bytes]], list[bytes]]
"""What the network makes of the datagrams that leave one end at once."""


def prints(*identities: Identity) -> tuple[Fingerprint, ...]:
    return tuple(one.fingerprint("sha-256") for one in identities)


class Pair:
    """A client at HERE and a server at THERE."""

    def __init__(
        self, deal: Deal = list, *, client_expects: tuple[Fingerprint, ...] = prints(*GATEWAY),
        server_expects: tuple[Fingerprint, ...] = prints(UE), mtu: int = MTU,
    ) -> None:  # fmt: skip
        self.deal = deal
        self.client = DtlsEndpoint(CLIENT_CONTEXT, TlsRole.CLIENT, client_expects, mtu=mtu, peer=THERE)
        self.server = DtlsEndpoint(SERVER_CONTEXT, TlsRole.SERVER, server_expects, mtu=mtu)
        self.carried: list[bytes] = []
        self.left: dict[int, list[bytes]] = {id(self.client): [], id(self.server): []}

    def settle(self) -> Pair:
        """Carries datagrams both ways until neither end has any."""
        while self._move(self.client, self.server, HERE) | self._move(self.server, self.client, THERE):
            pass
        return self

    def _move(self, one: DtlsEndpoint, other: DtlsEndpoint, source: bytes) -> bool:
        sent = one.take_network()
        self.carried += sent
        self.left[id(one)] += sent
        for datagram in self.deal(sent) if sent else ():
            other.receive(datagram, source)
        return bool(sent)

    @property
    def established(self) -> bool:
        return self.client.established and self.server.established

    def assert_carries_datagrams(self) -> None:
        self.deal = list
        for one, other in ((self.client, self.server), (self.server, self.client)):
            for datagram in (b"a", b"bc", bytes(one.max_plain)):
                one.send(datagram)
            before = len(self.carried)
            self.settle()
            assert other.take_plain() == [b"a", b"bc", bytes(one.max_plain)]
            sent = self.carried[before:]
            assert [len(each) for each in sent] == [1 + RECORD_OVERHEAD, 2 + RECORD_OVERHEAD, MTU]


def recovered(pairs: list[Pair], rounds: int = 5) -> None:
    """Waits as OpenSSL's clock says until all pairs have found each other."""
    for _ in range(rounds):
        for pair in pairs:
            pair.settle()
        waits = [wait for pair in pairs for one in (pair.client, pair.server) if (wait := one.next_timer()) is not None]
        if all(pair.established for pair in pairs):
            return
        time.sleep(max(waits) + 0.01)
        for pair in pairs:
            pair.client.handle_timer()
            pair.server.handle_timer()
    raise AssertionError([number for number, pair in enumerate(pairs) if not pair.established])


def losing(number: int) -> Deal:
    """Loses the datagram of that number, of all that are sent."""
    seen = 0

    def deal(sent: list[bytes]) -> list[bytes]:
        nonlocal seen
        kept = [one for place, one in enumerate(sent, seen) if place != number]
        seen += len(sent)
        return kept

    return deal


def test_a_handshake_and_what_it_tells() -> None:
    pair = Pair().settle()
    [here], [there] = pair.client.events, pair.server.events
    assert here == Established("DTLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", str(GATEWAY[0].fingerprint("sha-256")))
    assert there == Established("DTLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", str(UE.fingerprint("sha-256")))
    assert pair.server.peer == HERE
    assert pair.client.next_timer() is None
    assert pair.server.next_timer() is None
    assert max(map(len, pair.carried)) <= MTU
    pair.assert_carries_datagrams()


def test_every_datagram_is_lost_once() -> None:
    count = len(Pair().settle().carried)
    assert count > 8
    pairs = [Pair(losing(number)) for number in range(count)]
    recovered(pairs)
    for pair in pairs:
        pair.assert_carries_datagrams()


def test_every_datagram_comes_twice() -> None:
    pair = Pair(lambda sent: [one for each in sent for one in (each, each)]).settle()
    assert pair.established
    pair.deal = lambda sent: [*sent, *sent]
    pair.client.send(b"once")
    pair.settle()
    assert pair.server.take_plain() == [b"once"]
    pair.assert_carries_datagrams()


def test_datagrams_come_in_another_order() -> None:
    def shuffling(seed: int) -> Deal:
        chance = random.Random(seed)
        return lambda sent: chance.sample(sent, len(sent))

    pairs = [Pair(lambda sent: sent[::-1]), *(Pair(shuffling(seed)) for seed in range(20))]
    recovered(pairs)
    for pair in pairs:
        pair.assert_carries_datagrams()


def test_a_lost_last_flight_is_sent_again_when_the_client_asks() -> None:
    """The server is done and has no timer: the client's repeated Finished makes it repeat its own (RFC 6347 §4.2.4)."""
    pair = Pair()
    final = False

    def deal(sent: list[bytes]) -> list[bytes]:
        nonlocal final
        if pair.server.established and not final:
            final = True
            return []
        return sent

    pair.deal = deal
    pair.settle()
    assert pair.server.established
    assert not pair.client.established
    pair.server.send(b"early")  # verified already: what is sent now waits at the client for the Finished
    recovered([pair])
    assert pair.client.take_plain() == [b"early"]
    pair.assert_carries_datagrams()


def test_application_data_before_the_finished_of_the_peer_waits_for_it() -> None:
    pair = Pair(losing(-1))
    held: list[bytes] = []

    def deal(sent: list[bytes]) -> list[bytes]:
        if pair.server.established and not held:
            held.extend(sent)
            return []
        return sent

    pair.deal = deal
    pair.settle()
    pair.server.send(b"early")
    for datagram in pair.server.take_network():
        pair.client.receive(datagram, THERE)
    assert pair.client.take_plain() == []
    for datagram in held:
        pair.client.receive(datagram, THERE)
    assert pair.client.established
    assert pair.client.take_plain() == [b"early"]


def test_a_last_flight_is_sent_again_in_new_records() -> None:
    """More has been sent since than any window remembers, so the old records would be taken for replays."""
    pair = Pair()
    pair.deal = lambda sent: [] if pair.server.established else sent
    pair.settle()
    for _ in range(100):
        pair.server.send(b"early")
    pair.settle()
    pair.deal = list
    recovered([pair])
    assert pair.client.take_plain() == []
    pair.assert_carries_datagrams()
    assert_no_number_or_nonce_twice(pair)


@pytest.mark.parametrize("number", [None, 3, 5, 7])
def test_no_record_number_and_no_nonce_is_used_twice(number: int | None) -> None:
    """OpenSSL's records and ours together: a nonce that comes again gives AES-GCM's key away (RFC 5288 §3)."""
    pair = Pair(losing(-1 if number is None else number))
    recovered([pair])
    for _ in range(50):
        pair.client.send(b"up")
        pair.server.send(b"down")
    pair.settle()
    assert_no_number_or_nonce_twice(pair)


def assert_no_number_or_nonce_twice(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        numbers, nonces = set(), []
        for datagram in pair.left[id(end)]:
            for _, _, number, start, _ in records_untrusted(datagram):
                if number >= PROTECTED:
                    numbers.add(number)
                    nonces.append(datagram[start + RECORD_HEADER:start + RECORD_HEADER + 8])
        assert len(numbers) == len(set(nonces)) == len(nonces) > 1
        assert sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers)))


def test_what_is_not_the_end_of_a_handshake_is_no_reason_to_begin_one() -> None:
    """A peer may ask for another handshake; what it gets is a warning (RFC 5246 §7.2.2)."""
    pair = Pair().settle()
    protection = pair.client._protection
    assert protection is not None
    for message, answers in ((b"\1hello", 1), (b"\0", 1), (b"\2", 0), (b"", 0)):
        pair.server.receive(protection.protect(HANDSHAKE, message), HERE)
        sent = pair.server.take_network()
        assert len(sent) == answers
        for datagram in sent:
            assert list(protection.open_untrusted(datagram)) == [(ALERT, b"\1\x64")]
    pair.assert_carries_datagrams()


@pytest.mark.parametrize(("alert", "events"), [
    (b"\2\x14", [Failed(Cause.PEER_ALERT, "received bad_record_mac")]), (b"\1\0", [PeerClosed()]), (b"\1\x5a", []), (b"\2", []),
])
def test_alerts_after_the_handshake(alert: bytes, events: list[object]) -> None:
    pair = Pair().settle()
    pair.server.events.clear()
    protection = pair.client._protection
    assert protection is not None
    pair.server.receive(protection.protect(ALERT, alert) + protection.protect(APPLICATION_DATA, b"after"), HERE)
    assert pair.server.events == events
    assert pair.server.take_plain() == ([] if events else [b"after"])
    assert pair.server.established == (Failed not in map(type, events))


def test_openssl_is_gone_when_the_handshake_is_over() -> None:
    pair = Pair(mtu=1200)
    pair.server.receive(hello_with_cookie(pair), HERE)
    held = [weakref.ref(one._connection) for one in (pair.client, pair.server) if one._connection is not None]
    assert len(held) == 2
    gc.disable()
    try:
        pair.settle()
        assert pair.established
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()


def test_a_server_has_no_connection_before_anybody_spoke() -> None:
    ours = server()
    assert ours._connection is None
    assert ours.take_network() == []
    ours.receive(bytes(40), HERE)
    assert ours._connection is None


# --- cookies ---------------------------------------------------------------------------------------------------------


def hello_with_cookie(pair: Pair) -> bytes:
    [first] = pair.client.take_network()
    pair.server.receive(first, HERE)
    [verify] = pair.server.take_network()
    assert verify[RECORD_HEADER] == 3  # HelloVerifyRequest
    assert len(verify) < len(first)    # nothing to amplify
    assert pair.server.peer == b""
    pair.client.receive(verify, THERE)
    [second] = pair.client.take_network()
    return second


def test_nothing_is_kept_without_the_cookie() -> None:
    pair = Pair(mtu=1200)
    second = hello_with_cookie(pair)
    pair.server.receive(second, b"203.0.113.9 4000")
    assert [one[RECORD_HEADER] for one in pair.server.take_network()] == [3]  # for somebody else it is no cookie
    assert pair.server.peer == b""
    for nonsense in (b"", b"x", bytes(40), second[:20], b"\x16\xfe\xfd" + bytes(60), second[:-1], b"\x17" + second[1:]):
        pair.server.receive(nonsense, HERE)
        pair.server.take_network()
        assert pair.server.peer == b""
        assert not pair.server.events
    pair.server.receive(second, HERE)
    assert pair.server.peer == HERE
    assert pair.server.take_network()[0][RECORD_HEADER] == 2  # ServerHello


def mangled(datagram: bytes, chance: random.Random) -> bytes:
    """The same with a few octets changed, and sometimes cut."""
    octets = bytearray(datagram)
    for _ in range(chance.randrange(1, 4)):
        octets[chance.randrange(1, len(octets))] = chance.randrange(256)
    return bytes(octets[: chance.randrange(14, len(octets))] if chance.random() < 0.3 else octets)


def test_what_strangers_send_is_no_other_connections_error() -> None:
    """OpenSSL has one error queue per thread: what one connection leaves there, the next would take for its own."""
    chance = random.Random(1)
    [hello] = Pair(mtu=1200).client.take_network()
    listening, other = server(), Pair().settle()
    tls = (
        TlsEndpoint(TlsContext(UE), TlsRole.CLIENT, prints(*GATEWAY)),
        TlsEndpoint(TlsContext(GATEWAY[0]), TlsRole.SERVER, prints(UE)),
    )
    for _ in range(4):
        tls[1].receive_data(tls[0].take_network())
        tls[0].receive_data(tls[1].take_network())
    tls[0].send(bytes(5000))
    record = tls[0].take_network()
    for place in range(0, len(record), 25):
        listening.receive(mangled(hello, chance), HERE)
        assert lib.ERR_peek_error() == 0  # OpenSSL 3 looks there for what became of the next call; OpenSSL 4 does not
        listening.take_network()
        tls[1].receive_data(record[place:place + 25])
        listening.receive(mangled(hello, chance), HERE)
        other.client.send(b"x")
        other.settle()
    assert tls[1].take_plain() == bytes(5000)
    assert [type(one) for one in tls[1].events] == [Established]
    assert other.server.take_plain() == [b"x"] * len(range(0, len(record), 25))
    assert not listening.events


def test_mangled_records_do_not_disturb() -> None:
    chance = random.Random(2)
    pair = Pair().settle()
    for _ in range(500):
        pair.client.send(b"whole")
        [datagram] = pair.client.take_network()
        for one in (mangled(datagram, chance), datagram, mangled(datagram, chance)):
            pair.server.receive(one, HERE)
            pair.server.take_network()
    assert pair.server.take_plain() == [b"whole"] * 500
    pair.assert_carries_datagrams()


@pytest.mark.parametrize("seed", range(5))
def test_mangled_handshakes_end_with_a_cause_or_not_at_all(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        pair = Pair(lambda sent: [mangled(one, chance) if chance.random() < 0.3 else one for one in sent], mtu=600).settle()
        for one in (pair.client, pair.server):
            assert all(isinstance(event, Established | Failed) for event in one.events)
            assert one.established or one.take_plain() == []


def test_the_cookie_of_another_secret_is_none() -> None:
    pair = Pair(mtu=1200)
    second = hello_with_cookie(pair)
    other = DtlsEndpoint(DtlsContext(GATEWAY, bytes(32)), TlsRole.SERVER, prints(UE), mtu=1200)
    other.receive(second, HERE)
    assert other.peer == b""


def test_after_the_cookie_only_the_peer_is_heard() -> None:
    pair = Pair().settle()
    pair.client.send(b"from elsewhere")
    for datagram in pair.client.take_network():
        pair.server.receive(datagram, b"203.0.113.9 4000")
    assert pair.server.take_plain() == []
    pair.assert_carries_datagrams()


def test_garbage_does_not_disturb() -> None:
    def noisy(each: bytes) -> tuple[bytes, ...]:
        return each[::-1], b"\x16\xfe\xfd" + bytes(50), each[: len(each) // 2], each

    pair = Pair(lambda sent: [one for each in sent for one in noisy(each)])
    recovered([pair])
    pair.client.send(b"whole")
    pair.settle()
    assert pair.server.take_plain() == [b"whole"]
    pair.assert_carries_datagrams()


# --- who gets through ------------------------------------------------------------------------------------------------


def assert_closed(one: DtlsEndpoint) -> None:
    assert not one.established
    assert one.take_plain() == []
    with pytest.raises(RuntimeError):
        one.send(b"secret")


def test_the_client_is_a_stranger() -> None:
    pair = Pair(server_expects=prints(STRANGER)).settle()
    assert pair.server.events == [Failed(Cause.FINGERPRINT_MISMATCH, "sent bad_certificate")]
    assert pair.client.events == [Failed(Cause.PEER_ALERT, "received bad_certificate")]
    assert_closed(pair.server)
    assert_closed(pair.client)


def test_the_server_is_a_stranger() -> None:
    pair = Pair(client_expects=prints(STRANGER)).settle()
    assert pair.client.events == [Failed(Cause.FINGERPRINT_MISMATCH, "sent bad_certificate")]
    assert pair.server.events == [Failed(Cause.PEER_ALERT, "received bad_certificate")]
    assert_closed(pair.server)
    assert_closed(pair.client)


def foreign(identity: Identity | None, suites: bytes = b"ALL:@SECLEVEL=0", version: int = DTLS1_2) -> SSL.Connection:
    """A client that is not our endpoint: believes anybody, and shows `identity` if it has one."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(suites)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if identity is not None:
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def meet(client: SSL.Connection, server: DtlsEndpoint) -> None:
    """Runs a foreign handshake as far as it goes."""
    for _ in range(10):
        try:
            client.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            return
        try:
            data = client.bio_read(65536)
        except SSL.WantReadError:
            return
        for datagram in datagrams(data, 1200):
            server.receive(datagram, HERE)
        for datagram in server.take_network():
            client.bio_write(datagram)


def server(mtu: int = 1200) -> DtlsEndpoint:
    return DtlsEndpoint(SERVER_CONTEXT, TlsRole.SERVER, prints(UE), mtu=mtu)


def test_no_certificate() -> None:
    ours = server()
    meet(foreign(None), ours)
    assert ours.events == [Failed(Cause.NO_CERTIFICATE, "sent handshake_failure")]
    assert_closed(ours)


@pytest.mark.parametrize("suite", [
    b"ECDHE-RSA-AES128-GCM-SHA256", b"DHE-RSA-AES128-GCM-SHA256", b"ECDHE-ECDSA-AES128-GCM-SHA256",
    b"ECDHE-RSA-AES256-GCM-SHA384", b"ECDHE-ECDSA-AES256-GCM-SHA384",
])
def test_suites_of_either_certificate(suite: bytes) -> None:
    """OpenSSL at the other end makes of its keys what we make of ours, and reads and writes the same records."""
    ours, theirs = server(), foreign(UE, suite)
    meet(theirs, ours)
    [established] = ours.events
    assert isinstance(established, Established)
    assert established.cipher == suite.decode()
    for size in (1, 160, ours.max_plain):
        theirs.send(b"u" * size)
        ours.receive(theirs.bio_read(65536), HERE)
        ours.send(b"d" * size)
        [datagram] = ours.take_network()
        theirs.bio_write(datagram)
        assert theirs.recv(65536) == b"d" * size
    assert [len(one) for one in ours.take_plain()] == [1, 160, ours.max_plain]
    theirs.shutdown()
    ours.receive(theirs.bio_read(65536), HERE)
    assert ours.events[1:] == [PeerClosed()]
    ours.close()
    [datagram] = ours.take_network()
    theirs.bio_write(datagram)
    with pytest.raises(SSL.ZeroReturnError):
        theirs.recv(65536)


@pytest.mark.parametrize("suite", [b"NULL", b"aNULL", b"AES128-GCM-SHA256", b"ECDHE-ECDSA-AES128-SHA"])
def test_other_suites(suite: bytes) -> None:
    ours = server()
    meet(foreign(UE, suite + b":@SECLEVEL=0"), ours)
    assert ours.events == [Failed(Cause.NO_COMMON_PARAMETERS, "sent handshake_failure")]


def test_the_end() -> None:
    pair = Pair().settle()
    pair.client.send(b"last")
    pair.client.close()
    pair.settle()
    assert pair.server.take_plain() == [b"last"]
    assert pair.server.events[-1] == PeerClosed()
    pair.server.discard()
    assert_closed(pair.server)


@pytest.mark.parametrize("size", [0, MTU - RECORD_OVERHEAD + 1])
def test_what_does_not_fit(size: int) -> None:
    pair = Pair().settle()
    with pytest.raises(ValueError, match="octets"):
        pair.client.send(bytes(size))
    pair.assert_carries_datagrams()


# --- records ---------------------------------------------------------------------------------------------------------


def record(kind: int, size: int) -> bytes:
    return bytes([kind, 0xFE, 0xFD]) + bytes(8) + size.to_bytes(2) + bytes(size)


def test_records_become_datagrams() -> None:
    hand = record(22, 87)
    assert datagrams(b"", 300) == []
    assert datagrams(hand, 300) == [hand]
    assert datagrams(hand * 4, 300) == [hand * 3, hand]
    assert datagrams(record(22, 500) + hand, 300) == [record(22, 500), hand]
