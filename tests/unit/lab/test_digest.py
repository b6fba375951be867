"""Digest, both sides, against figures computed by hand and each other."""

from __future__ import annotations

import hashlib

import pytest

from pcscf.lab.digest import (
    DigestClient,
    DigestError,
    challenge,
    digest_response,
    parse_digest_untrusted,
    verify_untrusted,
)


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_the_form_without_qop_is_that_of_rfc_2069() -> None:
    given = {"username": "u", "realm": "r", "nonce": "n", "uri": "sip:r"}
    expected = md5(f"{md5('u:r:p')}:n:{md5('REGISTER:sip:r')}")
    assert digest_response(given, "REGISTER", "p") == expected


def test_the_form_with_qop_counts_the_nonce() -> None:
    given = {"username": "u", "realm": "r", "nonce": "n", "uri": "sip:r", "qop": "auth", "nc": "00000001", "cnonce": "c"}
    expected = md5(f"{md5('u:r:p')}:n:00000001:c:auth:{md5('REGISTER:sip:r')}")
    assert digest_response(given, "REGISTER", "p") == expected


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_client_and_server_agree(algorithm: str) -> None:
    client = DigestClient("alice", 'pass"word')
    asked = challenge("ims.example", "nonce1", algorithm)
    credentials = client.authorization(asked, "REGISTER", "sip:ims.example", "abc")
    assert verify_untrusted(credentials, "REGISTER", {"alice": 'pass"word'}) == "alice"
    assert verify_untrusted(credentials, "REGISTER", {"alice": "other"}) is None
    assert verify_untrusted(credentials, "INVITE", {"alice": 'pass"word'}) is None
    assert verify_untrusted(credentials, "REGISTER", {"bob": 'pass"word'}) is None


def test_each_use_of_a_nonce_is_counted_and_a_new_nonce_starts_anew() -> None:
    client = DigestClient("alice", "p")
    counts = [
        parse_digest_untrusted(client.authorization(challenge("r", nonce), "REGISTER", "sip:r", "c"))["nc"]
        for nonce in ("one", "one", "two")
    ]
    assert counts == ["00000001", "00000002", "00000001"]


def test_opaque_is_returned_as_it_came() -> None:
    asked = 'Digest realm="a \\"b\\"", nonce="n", opaque="x,y=z", qop="auth-int,auth"'
    given = parse_digest_untrusted(DigestClient("u", "p").authorization(asked, "REGISTER", "sip:r", "c"))
    assert given["opaque"] == "x,y=z"
    assert given["realm"] == 'a "b"'
    assert given["qop"] == "auth"


@pytest.mark.parametrize("value", ["Basic abc", "Digest realm", 'Digest realm="open', "Digest =x"])
def test_what_is_no_digest_is_refused(value: str) -> None:
    with pytest.raises(DigestError):
        parse_digest_untrusted(value)


@pytest.mark.parametrize("asked", [
    'Digest realm="r"',
    'Digest realm="r", nonce="n", qop="auth-int"',
    'Digest realm="r", nonce="n", algorithm=SHA-512',
])
def test_challenges_that_cannot_be_met_are_refused(asked: str) -> None:
    with pytest.raises(DigestError):
        DigestClient("u", "p").authorization(asked, "REGISTER", "sip:r", "c")


def test_credentials_that_lack_a_part_are_refused() -> None:
    with pytest.raises(DigestError, match="nonce"):
        verify_untrusted('Digest username="u", realm="r", uri="x", response=""', "REGISTER", {"u": "p"})
