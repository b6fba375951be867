"""URIs: what is read, what is written again, what is equal (RFC 3261 §19.1)."""

from __future__ import annotations

import pytest

from pcscf.errors import MalformedMessage, UnsupportedScheme
from pcscf.sip.uri import Uri, parse_uri, same_host, same_uri

WRITTEN_AGAIN = [
    "sip:b.example",
    "sip:alice@b.example",
    "sips:alice:secret@b.example:5061;transport=tcp?subject=x&to=y",
    "sip:[2001:db8::1]:5060;lr",
    "sip:+1-212-555;isub=1%2F2@gw.example;user=phone",
    "sip:1_odd~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@b.example",
    "tel:+1-201-555-0123;phone-context=b.example",
    "urn:service:sos.fire",
    "http://www.b.example/x?y;z",
]


@pytest.mark.parametrize("text", WRITTEN_AGAIN)
def test_written_as_read(text: str) -> None:
    assert str(parse_uri(text)) == text


def test_parts() -> None:
    uri = parse_uri("SIPS:al%40ice:pw@B.example:5061;transport=TCP;lr;Ob?subject=x")
    assert uri == Uri(
        "sips", "al%40ice", "pw", "B.example", 5061, (("transport", "TCP"), ("lr", None), ("Ob", None)), "subject=x"
    )
    assert (uri.param("transport"), uri.param("lr"), uri.param("ob"), uri.param("maddr")) == ("TCP", "", "", None)
    assert uri.is_sip
    assert uri.require_sip() is uri


def test_ipv6_hosts_have_no_brackets() -> None:
    assert parse_uri("sip:[2001:db8::1]").host == "2001:db8::1"
    assert parse_uri("sip:[2001:db8::10:5070]").port is None


def test_other_schemes() -> None:
    tel = parse_uri("tel:+1-201;phone-context=x")
    assert (tel.scheme, tel.user, tel.host, tel.param("phone-context")) == ("tel", "+1-201", "", "x")
    assert parse_uri("urn:service:sos").user == "service:sos"
    with pytest.raises(UnsupportedScheme):
        tel.require_sip()


@pytest.mark.parametrize(
    "text",
    [
        "", "sip:", "sip", "sip:@b", "sip:a@", "sip:a b@c", "sip:a@b c", "sip:a@b:", "sip:a@b:65536", "sip:a@b:123456",
        "sip:a@b?", "sip:a@b;", "sip:a@b;=x", "sip:a@b;x=", "sip:a@[::1", "sip:a@[1::2::3]", "sip:a@::1", "sip:a@b@c",
        "sip:%zz@b", "sip:a@b\n", "<sip:a@b>", "sip:a@b>", '"sip:a@b"', "1sip:a", "tel:", ":x", "sip:a@b\u00e9",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_uri(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.example;transport=TCP", "sip:alice@AtLanTa.Example;Transport=tcp"),
        ("sip:carol@chicago.example", "sip:carol@chicago.example;newparam=5"),
        ("sip:carol@chicago.example;security=on", "sip:carol@chicago.example;newparam=5"),
        ("sip:b.example;transport=tcp?to=sip:bob%40b.example", "sip:b.example;transport=tcp?to=sip:bob%40b.example"),
        ("sip:a@b.example?subject=x&priority=urgent", "sip:a@b.example?priority=urgent&Subject=x"),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0:0::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("urn:service:sos", "URN:service:sos"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert same_uri(parse_uri(one), parse_uri(other))
    assert same_uri(parse_uri(other), parse_uri(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:alice@b.example", "sip:ALICE@b.example"),
        ("sip:alice@b.example", "sips:alice@b.example"),
        ("sip:alice@b.example", "sip:alice@b.example:5060"),
        ("sip:alice@b.example", "sip:b.example"),
        ("sip:alice@b.example", "sip:alice:pw@b.example"),
        ("sip:alice@b.example", "sip:alice@b.example;transport=udp"),
        ("sip:alice@b.example;maddr=192.0.2.1", "sip:alice@b.example"),
        ("sip:alice@b.example;user=phone", "sip:alice@b.example"),
        ("sip:alice@b.example;x=1", "sip:alice@b.example;x=2"),
        ("sip:alice@b.example", "sip:alice@b.example?subject=x"),
        ("sip:null-%00-null@b.example", "sip:null-%00@b.example"),
        ("sip:value%41@b.example", "sip:value%2541@b.example"),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:db8::2]"),
        ("tel:+12015550123", "tel:+12015550124"),
        ("tel:123;phone-context=a", "tel:123;phone-context=b"),
        ("urn:service:sos", "urn:service:sos.fire"),
    ],
)
def test_different(one: str, other: str) -> None:
    assert not same_uri(parse_uri(one), parse_uri(other))
    assert not same_uri(parse_uri(other), parse_uri(one))


def test_same_host() -> None:
    assert same_host("B.example", "b.EXAMPLE")
    assert same_host("2001:db8::1", "2001:0db8:0::1")
    assert not same_host("192.0.2.1", "192.0.2.2")
    assert not same_host("2001:db8::1", "192.0.2.1")
    assert not same_host("a:b", "2001:db8::1")
