"""The MSRP line: written, read, and what follows from offer and answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcscf.errors import MalformedSdp, MediaNotAcceptable
from pcscf.lab import tls
from pcscf.lab.call import Habits
from pcscf.lab.description import answer_setup
from pcscf.lab.media import (
    MsrpMedia,
    check_cema_offer,
    connect_address,
    new_uri,
    read_sdp_untrusted,
    write_sdp,
)
from pcscf.lab.msrp import parse_uri_untrusted

FINGERPRINT = ("sha-256", ":".join(["AB"] * 32))


def media(**changes: object) -> MsrpMedia:
    path = (parse_uri_untrusted("msrp://192.0.2.1:7777/abc;tcp"),)
    made = MsrpMedia("192.0.2.1", 7777, path, setup="passive")
    return replace(made, **changes)   # type: ignore[arg-type]


@pytest.mark.parametrize("made", [
    media(),
    media(address="2001:db8::1", secure=True, setup="active", fingerprints=(FINGERPRINT,), e2ae="requested"),
    media(cema=False, setup=""),
])
def test_what_is_written_is_read(made: MsrpMedia) -> None:
    assert read_sdp_untrusted(write_sdp(made, session=7)) == made


def test_attributes_of_the_session_count_where_the_line_has_none() -> None:
    body = (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\na=setup:ACTIVE\r\n"
        f"a=fingerprint:SHA-256 {FINGERPRINT[1].lower()}\r\n"
        "m=audio 9 RTP/AVP 0\r\nm=message 9 tcp/tls/msrp *\r\na=path:msrps://h.example:9/x;tcp\r\n"
    )
    read = read_sdp_untrusted(body.encode())
    assert (read.address, read.setup, read.secure, read.fingerprints, read.cema) == (
        "192.0.2.9", "active", True, (FINGERPRINT,), False)


def test_holdconn_counts_as_absent() -> None:
    assert read_sdp_untrusted(write_sdp(media(setup="holdconn"), session=1)).setup == ""


@pytest.mark.parametrize("body", [
    b"", b"v=0\r\nm=audio 9 RTP/AVP 0\r\n", b"m=message 0 TCP/MSRP *\r\na=path:msrp://h:1/x;tcp\r\nc=IN IP4 192.0.2.1\r\n",
])
def test_no_msrp_line_is_not_acceptable(body: bytes) -> None:
    with pytest.raises(MediaNotAcceptable):
        read_sdp_untrusted(body)


@pytest.mark.parametrize("body", [
    b"\xff",
    b"c=IN IP4 192.0.2.1\r\nm=message 1 TCP/MSRP *\r\n",
    b"m=message 1 TCP/MSRP *\r\na=path:msrp://h:1/x;tcp\r\n",
    b"c=IN IP4 192.0.2.1\r\nm=message x TCP/MSRP *\r\na=path:msrp://h:1/x;tcp\r\n",
    b"c=IN IP4 192.0.2.1\r\nm=message 1 TCP/MSRP *\r\na=path:http://h/\r\n",
])
def test_a_line_that_cannot_be_used_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedSdp):
        read_sdp_untrusted(body)


@pytest.mark.parametrize(("offered", "wanted", "answered"), [
    ("active", "active", "passive"), ("", "active", "passive"), ("passive", "passive", "active"),
    ("actpass", "active", "active"), ("actpass", "passive", "passive"),
])
def test_the_answer_to_setup(offered: str, wanted: str, answered: str) -> None:
    assert answer_setup(offered, wanted) == answered


def test_cema_decides_where_to_connect() -> None:
    moved = media(address="198.51.100.1", port=4000)
    assert connect_address(media(), moved) == ("198.51.100.1", 4000)
    assert connect_address(media(cema=False), moved) == ("192.0.2.1", 7777)
    assert connect_address(media(), replace(moved, cema=False)) == ("192.0.2.1", 7777)


def test_a_moved_address_without_cema_is_refused() -> None:
    moved = media(address="198.51.100.1", cema=False)
    with pytest.raises(MediaNotAcceptable, match="msrp-cema"):
        check_cema_offer(moved, cema=True)
    check_cema_offer(moved, cema=False)
    check_cema_offer(media(cema=False), cema=True)
    check_cema_offer(replace(moved, setup="active"), cema=True)


def test_session_ids_are_unguessable_and_the_scheme_says_tls() -> None:
    one, other = new_uri("::1", 5, secure=True), new_uri("::1", 5, secure=True)
    assert one.scheme == "msrps"
    assert one.text.startswith("msrps://[::1]:5/")
    assert one.session != other.session
    assert len(one.session) >= 20   # 80 bits of randomness at four bits a character (RFC 4975 §14.1)


def test_a_wrong_certificate_is_announced_as_the_right_one() -> None:
    right, wrong = tls.self_signed("right"), tls.self_signed("wrong")
    said = Habits(secure=True, identity=wrong, announced=right).describe("127.0.0.1", 9, setup="active", secure=True)
    assert said.fingerprints == (right.fingerprint(),)
    assert right.fingerprint() != wrong.fingerprint()
    plain = Habits(identity=right).describe("127.0.0.1", 9, setup="active", secure=False)
    assert plain.fingerprints == ()
