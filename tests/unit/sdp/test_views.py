"""Views: effective values, fingerprints, addresses and MSRP paths."""

from __future__ import annotations

import pytest

from pcscf.sdp import views
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted

SHA1 = ":".join(f"{octet:02X}" for octet in range(20))
SHA256 = ":".join(f"{octet:02X}" for octet in range(100, 132))
SHA512 = ":".join(f"{octet:02X}" for octet in range(64))


def description(*lines: str) -> Sdp:
    return parse_sdp_untrusted("\r\n".join(("v=0", *lines, "")).encode())


def test_media_level_goes_before_session_level() -> None:
    sdp = description(
        "c=IN IP4 192.0.2.1", "a=setup:ACTPASS", "a=fingerprint:sha-1 AA", "a=fingerprint:sha-256 BB",
        "m=message 9 TCP/MSRP *",
        "m=message 9 TCP/MSRP *", "c=IN IP6 2001:db8::2", "a=setup:passive", "a=fingerprint:sha-256 CC",
    )  # fmt: skip
    first, second = sdp.media
    assert views.setup(sdp, first) == "actpass"
    assert views.setup(sdp, second) == "passive"
    assert views.effective_values(sdp, first, "fingerprint") == ("sha-1 AA", "sha-256 BB")
    assert views.effective_values(sdp, second, "fingerprint") == ("sha-256 CC",)
    assert views.connection_host(sdp, first) == "192.0.2.1"
    assert views.connection_host(sdp, second) == "2001:db8::2"


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("c=IN IP4 233.252.0.1/127", "233.252.0.1"),
        ("c=IN IP6 ff15::101/3", "ff15::101"),
        ("c=IN IP4 phone.example.org", "phone.example.org"),
        ("c=IN IP4", None),
        ("b=AS:5", None),
    ],
)
def test_connection_host(line: str, host: str | None) -> None:
    sdp = description("m=message 9 TCP/MSRP *", line)
    assert views.connection_host(sdp, sdp.media[0]) == host


def test_no_setup_is_empty() -> None:
    sdp = description("m=message 9 TCP/MSRP *")
    assert views.setup(sdp, sdp.media[0]) == ""


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (f"sha-256 {SHA256}", ("sha-256", SHA256)),
        (f"SHA-256  {SHA256.lower()}", ("sha-256", SHA256)),
        (f"Sha-1 {SHA1}", ("sha-1", SHA1)),
        (f"sha-256 {SHA1}", None),
        (f"sha-256 {SHA256}:00", None),
        (f"sha-256 {SHA256[:-1]}G", None),
        (f"sha-256 {SHA256.replace(':', '-')}", None),
        ("md5 " + ":".join(["00"] * 16), None),
        ("md2 " + ":".join(["00"] * 16), None),
        ("sha-256", None),
        ("", None),
    ],
)
def test_fingerprint(value: str, parsed: tuple[str, str] | None) -> None:
    assert views.parse_fingerprint(value) == parsed


def test_usable_fingerprints_are_sorted_by_strength() -> None:
    values = [f"sha-1 {SHA1}", f"SHA-256 {SHA256.lower()}", "md5 00", f"sha-512 {SHA512}", f"sha-256 {SHA256}"]
    assert views.usable_fingerprints(values, "sha-256") == (("sha-512", SHA512), ("sha-256", SHA256))
    assert views.usable_fingerprints(values, "sha-1")[-1] == ("sha-1", SHA1)
    assert views.usable_fingerprints(values, "sha-512") == (("sha-512", SHA512),)
    assert views.usable_fingerprints(values[:1], "sha-256") == ()


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("msrp://192.0.2.1:7394/2s93i;tcp", ("192.0.2.1", 7394)),
        ("MSRPS://u@[2001:db8::1]:9/s;tcp", ("2001:db8::1", 9)),
        ("msrp://phone.example.org/s;tcp", ("phone.example.org", 2855)),
        ("msrp://192.0.2.1:0/s;tcp", None),
        ("msrp://192.0.2.1:70000/s;tcp", None),
        ("sip:u@example.org", None),
    ],
)
def test_msrp_uri_address(uri: str, address: tuple[str, int] | None) -> None:
    assert views.msrp_uri_address(uri) == address


@pytest.mark.parametrize(
    ("uri", "scheme", "authority", "moved"),
    [
        ("msrps://192.0.2.1:9/Ab.cD;tcp", "msrp", "198.51.100.7:5000", "msrp://198.51.100.7:5000/Ab.cD;tcp"),
        ("msrp://u@phone.example/Ab;tcp;x=1", "msrps", "[2001:db8::7]:5000", "msrps://[2001:db8::7]:5000/Ab;tcp;x=1"),
        ("msrp://192.0.2.1:9/Ab;tcp", "", "198.51.100.7:5000", "msrp://198.51.100.7:5000/Ab;tcp"),
        ("msrp://relay:9/r;tcp msrps://u:1/Ab;tcp", "", "192.0.2.7:5000", "msrp://192.0.2.7:5000/r;tcp msrps://u:1/Ab;tcp"),
        ("nonsense", "msrp", "198.51.100.7:5000", "nonsense"),
    ],
)
def test_move_msrp_uri(uri: str, scheme: str, authority: str, moved: str) -> None:
    assert views.move_msrp_uri(uri, scheme, authority) == moved


def test_path_uris() -> None:
    sdp = description("m=message 9 TCP/MSRP *", "a=path: msrp://relay.example:9/a;tcp msrp://192.0.2.1:9/b;tcp")
    assert views.path_uris(sdp.media[0]) == ["msrp://relay.example:9/a;tcp", "msrp://192.0.2.1:9/b;tcp"]


def test_connection_value() -> None:
    assert views.connection_value("192.0.2.1") == "IN IP4 192.0.2.1"
    assert views.connection_value("2001:db8::1") == "IN IP6 2001:db8::1"
