"""Two endpoints back to back: who gets through, who does not, and that nothing passes before the peer is verified."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Fingerprint, Identity, fingerprint_of, self_signed
from pcscf.gateway.endpoint import (
    Endpoint,
    Established,
    Failed,
    PeerClosed,
    PlainEndpoint,
    TlsContext,
    TlsEndpoint,
    TlsRole,
)

GATEWAY = self_signed(datetime.now(UTC))
UE = self_signed(datetime.now(UTC), "ue")
STRANGER = self_signed(datetime.now(UTC), "stranger")
WRONG = (STRANGER.fingerprint("sha-256"),)
VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]


def prints(identity: Identity, name: str = "sha-256") -> tuple[Fingerprint, ...]:
    return (identity.fingerprint(name),)


def move(one: Endpoint, other: Endpoint) -> bool:
    data = one.take_network()
    if data:
        other.receive_data(data)
    return bool(data)


def settle(one: Endpoint, other: Endpoint) -> None:
    """Carries bytes both ways until neither has any."""
    while move(one, other) | move(other, one):
        pass


def pair(
    client_expects: tuple[Fingerprint, ...] = prints(GATEWAY),
    server_expects: tuple[Fingerprint, ...] = prints(UE),
) -> tuple[TlsEndpoint, TlsEndpoint]:
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, server_expects)
    client = TlsEndpoint(TlsContext(UE), TlsRole.CLIENT, client_expects)
    return client, server


def foreign(role: TlsRole, version: int, identity: Identity | None = None) -> SSL.Connection:
    """A peer that is not our endpoint: believes anybody, and shows `identity` if it has one."""
    return ready(role, foreign_context(version, identity))


def foreign_context(version: int, identity: Identity | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if identity is not None:
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
    return context


def ready(role: TlsRole, context: SSL.Context) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    if role is TlsRole.CLIENT:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def drain(connection: SSL.Connection) -> bytes:
    data = b""
    try:
        while True:
            data += connection.bio_read(65536)
    except SSL.WantReadError:
        return data


def give(connection: SSL.Connection, data: bytes) -> None:
    if data:
        connection.bio_write(data)


def attempt(connection: SSL.Connection) -> str:
    """One step of the foreign peer's handshake: "done", "want" or the reasons of its error."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return "want"
    except SSL.Error as error:
        return " ".join(entry[2] for entry in error.args[0])
    return "done"


def read(connection: SSL.Connection) -> bytes | str:
    try:
        return connection.recv(65536)
    except SSL.WantReadError:
        return b""
    except SSL.Error as error:
        return " ".join(entry[2] for entry in error.args[0])


def test_both_verified_then_bytes_both_ways() -> None:
    client, server = pair()
    settle(client, server)
    [at_client], [at_server] = client.events, server.events
    assert isinstance(at_client, Established)
    assert isinstance(at_server, Established)
    assert at_server.version == "TLSv1.3"
    assert at_server.peer_fingerprint == str(UE.fingerprint("sha-256"))
    assert at_client.peer_fingerprint == str(GATEWAY.fingerprint("sha-256"))
    client.send(b"up" * 50_000)
    server.send(b"down")
    settle(client, server)
    assert server.take_plain() == b"up" * 50_000
    assert client.take_plain() == b"down"
    assert not server.pending


@pytest.mark.parametrize("name", ["sha-256", "sha-384", "sha-512"])
def test_every_hash_serves(name: str) -> None:
    client, server = pair(prints(GATEWAY, name), prints(UE, name))
    settle(client, server)
    assert client.established
    assert server.established


def test_one_of_several_fingerprints_is_enough() -> None:
    client, server = pair(server_expects=(*WRONG, *prints(UE)))
    settle(client, server)
    assert server.established


def test_server_refuses_the_wrong_client() -> None:
    client, server = pair(server_expects=WRONG)
    settle(client, server)
    assert server.events == [Failed(Cause.FINGERPRINT_MISMATCH, "sent bad_certificate")]
    assert client.events[-1] == Failed(Cause.PEER_ALERT, "received bad_certificate")
    assert not server.established
    assert not client.established


def test_client_refuses_the_wrong_server() -> None:
    client, server = pair(client_expects=WRONG)
    settle(client, server)
    assert client.events == [Failed(Cause.FINGERPRINT_MISMATCH, "sent bad_certificate")]
    assert server.events == [Failed(Cause.PEER_ALERT, "received bad_certificate")]


def test_nothing_promised_means_nobody_matches() -> None:
    client, server = pair(server_expects=())
    settle(client, server)
    assert isinstance(server.events[0], Failed)
    assert server.events[0].cause is Cause.FINGERPRINT_MISMATCH


@pytest.mark.parametrize("version", VERSIONS)
def test_no_byte_passes_a_server_before_the_client_is_verified(version: int) -> None:
    """In TLS 1.3 the client may send data right behind its Finished, and a server could write before it saw the certificate."""
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, WRONG)
    client = foreign(TlsRole.CLIENT, version, UE)
    sent_early = False
    for _ in range(6):
        with pytest.raises(RuntimeError, match="not verified"):
            server.send(b"from the core")
        assert server.take_plain() == b""
        state = attempt(client)
        if state == "done" and not sent_early:
            client.send(b"early")
            sent_early = True
        server.receive_data(drain(client))
        data = server.take_network()
        assert b"from the core" not in data
        give(client, data)
    assert sent_early is (version == SSL.TLS1_3_VERSION)
    assert [event.cause for event in server.events if isinstance(event, Failed)] == [Cause.FINGERPRINT_MISMATCH]
    assert not any(isinstance(event, Established) for event in server.events)
    assert server.take_plain() == b""
    assert not server.pending


@pytest.mark.parametrize("version", VERSIONS)
def test_no_byte_passes_a_client_before_the_server_is_verified(version: int) -> None:
    """A TLS 1.3 server may write half a round trip early, before it has the client's certificate."""
    client = TlsEndpoint(TlsContext(UE), TlsRole.CLIENT, WRONG)
    server = foreign(TlsRole.SERVER, version, GATEWAY)
    for _ in range(6):
        with pytest.raises(RuntimeError, match="not verified"):
            client.send(b"from the core")
        give(server, client.take_network())
        attempt(server)
        client.receive_data(drain(server))
        assert client.take_plain() == b""
    assert client.events == [Failed(Cause.FINGERPRINT_MISMATCH, "sent bad_certificate")]


def test_early_server_data_waits_for_the_verification() -> None:
    """Data that a server sends in its first flight comes out after Established, or not at all."""
    client = TlsEndpoint(TlsContext(UE), TlsRole.CLIENT, prints(GATEWAY))
    server = foreign(TlsRole.SERVER, SSL.TLS1_3_VERSION, GATEWAY)
    server.bio_write(client.take_network())
    assert attempt(server) == "want"
    client.receive_data(drain(server))
    assert client.established
    server.bio_write(client.take_network())
    assert attempt(server) == "done"
    server.send(b"hello")
    client.receive_data(drain(server))
    assert client.take_plain() == b"hello"


@pytest.mark.parametrize(("version", "alert"), [(VERSIONS[0], "handshake_failure"), (VERSIONS[1], "certificate_required")])
def test_a_client_without_certificate_is_refused(version: int, alert: str) -> None:
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, prints(UE))
    client = foreign(TlsRole.CLIENT, version)
    for _ in range(4):
        attempt(client)
        server.receive_data(drain(client))
        give(client, server.take_network())
    assert server.events == [Failed(Cause.NO_CERTIFICATE, f"sent {alert}")]


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_older_versions_are_refused(version: int) -> None:
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, prints(UE))
    client = foreign(TlsRole.CLIENT, version, UE)
    assert attempt(client) == "want"
    server.receive_data(drain(client))
    assert server.events == [Failed(Cause.NO_COMMON_PARAMETERS, "sent protocol_version")]


def test_a_suite_without_encryption_is_refused() -> None:
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, prints(UE))
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(b"ECDHE-ECDSA-NULL-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    client = SSL.Connection(context, None)
    client.set_connect_state()
    assert attempt(client) == "want"
    server.receive_data(drain(client))
    assert server.events == [Failed(Cause.NO_COMMON_PARAMETERS, "sent handshake_failure")]


def test_what_is_not_tls_is_refused() -> None:
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, prints(UE))
    server.receive_data(b"MSRP d93kswow SEND\r\n" * 10)
    [failed] = server.events
    assert isinstance(failed, Failed)
    assert failed.cause in (Cause.TLS_PROTOCOL, Cause.NO_COMMON_PARAMETERS)
    assert not server.established


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_never_resumed(version: int) -> None:
    context, client_context = TlsContext(GATEWAY), foreign_context(version, UE)
    session = None
    for _ in range(2):
        server = TlsEndpoint(context, TlsRole.SERVER, prints(UE))
        client = ready(TlsRole.CLIENT, client_context)
        if session is not None:
            client.set_session(session)
        for _step in range(4):
            attempt(client)
            server.receive_data(drain(client))
            give(client, server.take_network())
            if server.established:
                read(client)
        assert isinstance(server.events[0], Established)
        assert server.events[0].peer_fingerprint  # the certificate was sent and compared again
        session = client.get_session()
    assert session is not None


def test_renegotiation_is_refused() -> None:
    server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, prints(UE))
    client = foreign(TlsRole.CLIENT, SSL.TLS1_2_VERSION, UE)
    for _ in range(3):
        attempt(client)
        server.receive_data(drain(client))
        give(client, server.take_network())
    assert server.established
    client.renegotiate()
    attempt(client)
    server.receive_data(drain(client))
    client.bio_write(server.take_network())
    assert "renegotiation" in attempt(client)


def issued(days_valid: int = 30, *, rsa_key: bool = False) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate of an authority nobody knows, dated as asked."""
    authority = ec.generate_private_key(ec.SECP256R1())
    key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days_valid))
        .sign(authority, hashes.SHA256())
    )
    return certificate, key  # type: ignore[return-value]


@pytest.mark.parametrize("days_valid", [30, -30])
@pytest.mark.parametrize("rsa_key", [False, True])
def test_only_the_fingerprint_counts(days_valid: int, rsa_key: bool) -> None:
    """Neither an unknown authority nor the dates decide; the promised certificate is let in and another one is not."""
    certificate, key = issued(days_valid, rsa_key=rsa_key)
    identity = Identity(certificate, key)
    for promised, outcome in ((fingerprint_of(certificate, "sha-256"), True), (WRONG[0], False)):
        server = TlsEndpoint(TlsContext(GATEWAY), TlsRole.SERVER, (promised,))
        client = TlsEndpoint(TlsContext(identity), TlsRole.CLIENT, prints(GATEWAY))
        settle(client, server)
        assert server.established is outcome
        if not outcome:
            assert server.events == [Failed(Cause.FINGERPRINT_MISMATCH, "sent bad_certificate")]


def test_half_close_leaves_the_other_direction_open() -> None:
    client, server = pair()
    settle(client, server)
    server.events.clear()
    client.send(b"last words")
    client.close()
    settle(client, server)
    assert server.take_plain() == b"last words"
    assert server.events == [PeerClosed()]
    server.send(b"still here")
    settle(client, server)
    assert client.take_plain() == b"still here"


def test_damaged_records_end_it() -> None:
    client, server = pair()
    settle(client, server)
    server.events.clear()
    client.send(b"x" * 100)
    damaged = bytearray(client.take_network())
    damaged[-1] ^= 1
    server.receive_data(bytes(damaged))
    assert server.events == [Failed(Cause.TLS_PROTOCOL, "sent bad_record_mac")]
    assert not server.established
    assert server.take_network()
    server.receive_data(b"more")
    assert server.take_network() == b""


def test_plain_passes_bytes_unchanged() -> None:
    plain = PlainEndpoint()
    assert plain.established
    assert plain.events == [Established("", "", "")]
    buffer = bytearray(b"abc")
    plain.receive_data(memoryview(buffer))
    buffer[:] = b"zzz"
    assert plain.pending
    assert plain.take_plain() == b"abc"
    plain.send(b"de")
    plain.send(b"f")
    plain.close()
    assert plain.take_network() == b"def"
    assert not plain.pending


def test_a_discarded_endpoint_leaves_nothing_to_the_cyclic_collector() -> None:
    client, server = pair()
    settle(client, server)
    kept = [weakref.ref(one._connection) for one in (client, server) if one._connection is not None]
    assert len(kept) == 2
    gc.disable()
    try:
        client.discard()
        server.discard()
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()
    assert not client.established
    assert client.take_network() == client.take_plain() == b""
