"""Views of header field values."""

from __future__ import annotations

import pytest

from pcscf.errors import MalformedMessage
from pcscf.sip.headers import (
    NameAddr,
    Via,
    contact_expires,
    format_params,
    parse_cseq,
    parse_name_addr,
    parse_params,
    parse_tag,
    parse_via,
    quote,
    split_values,
    stamp_received,
    unfold,
    unquote,
)
from pcscf.sip.message import Request


def test_unfold() -> None:
    assert unfold(" a \r\n\t b\r\n c ") == "a b c"
    assert unfold("\tplain ") == "plain"


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("", []),
        (" , ,", []),
        ("a, b,c", ["a", "b", "c"]),
        ('"a,b" <sip:x>, <sip:y?z=1,2>;p="q,r"', ['"a,b" <sip:x>', '<sip:y?z=1,2>;p="q,r"']),
        (r'"quote \" , inside" <sip:x>,<sip:y>', [r'"quote \" , inside" <sip:x>', "<sip:y>"]),
        ('"open, <sip:x>, <sip:y>', ['"open', "<sip:x>", "<sip:y>"]),
        ("<sip:open,more", ["<sip:open", "more"]),
    ],
)
def test_split_values(text: str, elements: list[str]) -> None:
    assert split_values(text) == elements


def test_params() -> None:
    text = ';a;B=c ; d = "e;f\\"g" ;h=[2001:db8::1];i=x/y=='
    params = parse_params(text)
    assert params == (("a", None), ("B", "c"), ("d", '"e;f\\"g"'), ("h", "[2001:db8::1]"), ("i", "x/y=="))
    assert parse_params(format_params(params)) == params
    assert parse_params("") == ()


@pytest.mark.parametrize("text", [";", ";;", ";a;", ";=b", ";a=", ";a b", ";a=b c", ";a,b", ';a="open', "a=b", ";a=<b>"])
def test_refused_params(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_params(text)


def test_quoting() -> None:
    assert unquote(r'"a \"b\" \\ c"') == r'a "b" \ c'
    assert unquote("plain") == "plain"
    assert unquote('"') == '"'
    assert unquote(quote('a "b" \\')) == 'a "b" \\'


class TestNameAddr:
    @pytest.mark.parametrize(
        ("text", "display", "uri", "params"),
        [
            ("sip:a@b;tag=1;x", "", "sip:a@b", (("tag", "1"), ("x", None))),
            ("<sip:a@b;lr>;tag=1", "", "sip:a@b;lr", (("tag", "1"),)),
            ('"A \\"x\\" <b>" <sip:a@b>', 'A "x" <b>', "sip:a@b", ()),
            ("Some One<sip:a@b?h=1,2>", "Some One", "sip:a@b?h=1,2", ()),
            (
                '\t<tel:+1>\t; q = 0.3 ;+sip.instance="<urn:uuid:1>"',
                "",
                "tel:+1",
                (("q", "0.3"), ("+sip.instance", '"<urn:uuid:1>"')),
            ),
        ],
    )
    def test_forms(self, text: str, display: str, uri: str, params: tuple[tuple[str, str | None], ...]) -> None:
        assert parse_name_addr(text) == NameAddr(display, uri, params)
        assert parse_tag(text) == (NameAddr(display, uri, params).param("tag") or "")

    def test_the_first_of_two_tags_counts(self) -> None:
        assert parse_tag('"tag" <sip:tag@b>;tag=1;TAG=2') == "1"
        assert parse_name_addr("<sip:a@b>;tag=1;TAG=2").param("tag") == "1"

    def test_written(self) -> None:
        address = NameAddr('A "x"', "sip:a@b", (("tag", "1"), ("flag", None)))
        assert str(address) == '"A \\"x\\"" <sip:a@b>;tag=1;flag'
        assert parse_name_addr(str(address)) == address
        assert str(NameAddr("", "sip:a@b")) == "<sip:a@b>"

    def test_views(self) -> None:
        address = parse_name_addr("<sip:a@b:5070>;Tag=1;x")
        assert (address.param("tag"), address.param("x"), address.param("y")) == ("1", "", None)
        assert address.uri_parsed.port == 5070

    @pytest.mark.parametrize(
        "text",
        ["", "*", "<>", "<sip:>x", "<sip:a@b", "sip:a@b?x=y", "sip:a@b,sip:c@d", "sip:a b", '"x" sip:a@b', "a <b> <sip:c>"],
    )
    def test_refused(self, text: str) -> None:
        for parse in (parse_name_addr, parse_tag):
            with pytest.raises(MalformedMessage):
                parse(text)


class TestVia:
    def test_parts(self) -> None:
        via = parse_via("SIP / 2.0 / UDP  [2001:db8::1] : 5070 ;branch=z9hG4bK1;received=[2001:db8::2];rport=1024")
        assert (via.transport, via.host, via.port, via.branch) == ("UDP", "2001:db8::1", 5070, "z9hG4bK1")
        assert (via.received, via.rport, via.param("ttl")) == ("2001:db8::2", 1024, None)
        assert str(via) == "SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bK1;received=[2001:db8::2];rport=1024"

    def test_absent_parts(self) -> None:
        via = parse_via("SIP/2.0/TCP h")
        assert (via.port, via.branch, via.received, via.rport) == (None, "", None, None)

    @pytest.mark.parametrize(
        ("text", "rport"), [(";rport", 0), (";rport=5060", 5060), (";rport=70000", 0), (";rport=x", 0), ("", None)]
    )
    def test_rport(self, text: str, rport: int | None) -> None:
        assert parse_via(f"SIP/2.0/UDP h{text}").rport == rport

    @pytest.mark.parametrize(
        ("branch", "unique"), [("z9hG4bKx", True), ("z9hG4bK", False), ("390skdjuw", False), ("Z9HG4BKx", False)]
    )
    def test_magic_cookie(self, branch: str, unique: bool) -> None:
        assert Via("UDP", "h", None, (("branch", branch),)).has_magic_cookie is unique
        assert not Via("UDP", "h", None, ()).has_magic_cookie


class TestStamp:
    """`received` and `rport` are written into the first Via element; nothing else moves."""

    @pytest.mark.parametrize(
        ("via", "remote", "stamped"),
        [
            ("SIP/2.0/UDP 192.0.2.1:5060;branch=x", ("192.0.2.1", 5060), "SIP/2.0/UDP 192.0.2.1:5060;branch=x"),
            ("SIP/2.0/UDP 192.0.2.1;branch=x", ("192.0.2.1", 9), "SIP/2.0/UDP 192.0.2.1;branch=x"),
            ("SIP/2.0/UDP h;branch=x", ("192.0.2.9", 9), "SIP/2.0/UDP h;branch=x;received=192.0.2.9"),
            ("SIP/2.0/UDP 10.0.0.1;RPORT;branch=x", ("192.0.2.9", 7), "SIP/2.0/UDP 10.0.0.1;RPORT=7;branch=x;received=192.0.2.9"),
            ("SIP/2.0/UDP 192.0.2.9;b=x;rport", ("192.0.2.9", 7), "SIP/2.0/UDP 192.0.2.9;b=x;rport=7;received=192.0.2.9"),
            (
                "SIP/2.0/UDP h ; rport = 1 ; received = 6.6.6.6 ;branch=x",
                ("192.0.2.9", 2),
                "SIP/2.0/UDP h ;rport=2  ;branch=x;received=192.0.2.9",
            ),
            ("SIP/2.0/UDP 192.0.2.9;received=6.6.6.6", ("192.0.2.9", 2), "SIP/2.0/UDP 192.0.2.9"),
            ("SIP/2.0/UDP [2001:db8::1];branch=x", ("2001:db8:0::1", 2), "SIP/2.0/UDP [2001:db8::1];branch=x"),
            ("SIP/2.0/UDP [2001:db8::1];rport", ("2001:db8::2", 2), "SIP/2.0/UDP [2001:db8::1];rport=2;received=2001:db8::2"),
            ("SIP/2.0/UDP h;rport , SIP/2.0/UDP i", ("192.0.2.9", 2), "SIP/2.0/UDP h;rport=2;received=192.0.2.9 , SIP/2.0/UDP i"),
            (
                'SIP/2.0/UDP h;x=";rport;received=a";rportal=y;rport',
                ("192.0.2.9", 2),
                'SIP/2.0/UDP h;x=";rport;received=a";rportal=y;rport=2;received=192.0.2.9',
            ),
            (
                "SIP/2.0/UDP h;rport;RPORT;branch=x",
                ("192.0.2.9", 2),
                "SIP/2.0/UDP h;rport=2;RPORT=2;branch=x;received=192.0.2.9",
            ),
            (
                "SIP/2.0/UDP h;rport;branch=x;Received=6.6.6.6",
                ("192.0.2.9", 2),
                "SIP/2.0/UDP h;rport=2;branch=x;received=192.0.2.9",
            ),
            ("not a Via", ("192.0.2.9", 2), "not a Via"),
        ],
    )  # fmt: skip
    def test_first_element(self, via: str, remote: tuple[str, int], stamped: str) -> None:
        request = Request("OPTIONS", "sip:x", [("v", via), ("Via", "SIP/2.0/UDP other;rport")])
        stamp_received(request, remote)
        assert request.headers[0] == ("v", f" {stamped}")
        assert request.headers[1] == ("Via", " SIP/2.0/UDP other;rport")

    def test_the_view_follows(self) -> None:
        request = Request("OPTIONS", "sip:x", [("Via", "SIP/2.0/UDP h;rport;branch=x")])
        assert request.top_via.rport == 0
        stamp_received(request, ("2001:db8::1", 7))
        assert (request.top_via.received, request.top_via.rport) == ("2001:db8::1", 7)


def test_cseq() -> None:
    assert parse_cseq("0009 \t INVITE") == (9, "INVITE")
    assert parse_cseq("4294967295 X") == (4294967295, "X")
    for text in ("", "1", "INVITE", "4294967296 X", "1 X Y", "\u0661 X", "1 X,"):
        with pytest.raises(MalformedMessage):
            parse_cseq(text)


@pytest.mark.parametrize(
    ("param", "header", "seconds"),
    [
        ("60", "90", 60),
        (None, "90", 90),
        (None, None, 1200),
        ("0", "90", 0),
        ("soon", "90", 3600),
        (None, "-1", 3600),
        ("\u0661", None, 3600),
        ("280297596632815", None, 2**32 - 1),
        ("9" * 6000, None, 2**32 - 1),
        ("007", None, 7),
    ],
)
def test_contact_expires(param: str | None, header: str | None, seconds: int) -> None:
    params = (("q", "0.5"), ("Expires", param)) if param is not None else (("q", "0.5"),)
    assert contact_expires(params, header, 1200) == seconds
