"""Lines: what comes in goes out, and an edit touches its own line alone."""

from __future__ import annotations

import pytest
import sdp_transform

from pcscf.errors import MalformedSdp
from pcscf.sdp import lines
from pcscf.sdp.lines import parse_sdp_untrusted

CALL = (
    b"v=0\r\n"
    b"o=erika 77 3 IN IP4 192.0.2.61\r\n"
    b"s=\xc3\xa9t\xc3\xa9 caf\xe9\r\n"
    b"c=IN IP4 192.0.2.61\r\n"
    b"t=0 0\r\n"
    b"a=tool:phone 4\r\n"
    b"m=audio 5004/2 RTP/AVP 0 8\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
    b"a=sendrecv\r\n"
    b"m=message 9 TCP/TLS/MSRP *\r\n"
    b"i=chat\r\n"
    b"a=path:msrps://192.0.2.61:9/Ab1;tcp\r\n"
    b"a=Setup: active \r\n"
    b"a=x-note:one\r\n"
    b"a=x-note:two\r\n"
)


@pytest.mark.parametrize(
    "data",
    [
        CALL,
        CALL.replace(b"\r\n", b"\n"),
        CALL.rstrip(b"\r\n"),
        CALL + b"\r\n\r\n",
        CALL.replace(b"\r\n", b"\n", 3),
        CALL.replace(b"\r\n", b"\n", 3).rstrip(b"\r\n"),
        b"v=0",
        b"v=0\n",
    ],
    ids=["crlf", "lf", "unterminated", "blank lines at the end", "mixed", "mixed unterminated", "bare", "bare lf"],
)
def test_serialising_is_identity(data: bytes) -> None:
    assert parse_sdp_untrusted(data).to_bytes() == data


def test_sections() -> None:
    sdp = parse_sdp_untrusted(CALL)
    audio, message = sdp.media
    assert (audio.media, audio.port, audio.port_count, audio.proto) == ("audio", 5004, 2, "RTP/AVP")
    assert audio.formats == "0 8"
    assert (message.media, message.port, message.port_count, message.proto) == ("message", 9, 1, "TCP/TLS/MSRP")
    assert sdp.session.value("tool") == "phone 4"
    assert sdp.session.field("o") == "erika 77 3 IN IP4 192.0.2.61"
    assert message.field("c") is None


def test_attributes_have_no_case_and_no_blanks_around() -> None:
    message = parse_sdp_untrusted(CALL).media[1]
    assert message.value("setup") == "active"
    assert message.values("x-note") == ("one", "two")
    assert message.values("fingerprint") == ()
    assert message.value("fingerprint") is None
    assert parse_sdp_untrusted(CALL).media[0].value("sendrecv") == ""


def test_carriage_returns_of_mixed_endings_are_no_part_of_values() -> None:
    mixed = parse_sdp_untrusted(CALL.replace(b"\r\n", b"\n", 1))
    assert mixed.media[0].formats == "0 8"
    assert mixed.media[0].has("sendrecv")
    assert mixed.session.field("c") == "IN IP4 192.0.2.61"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"\r\n", 1),
        (b"o=- 1 1 IN IP4 192.0.2.1\r\n", 1),
        (b"v=1\r\n", 1),
        (b"v=0\r\n\r\ns=-\r\n", 2),
        (b"v=0\r\nS=-\r\n", 2),
        (b"v=0\r\nplain words\r\n", 2),
        (b"v=0\r\n s=-\r\n", 2),
        (b"v=0\r\ns=a\rb\r\n", 2),
        (b"v=0\r\ns=a\0b\r\n", 2),
        (b"v=0\r\nm=audio\r\n", 2),
        (b"v=0\r\nm=audio 5004 RTP/AVP\r\n", 2),
        (b"v=0\r\nm=audio x RTP/AVP 0\r\n", 2),
        (b"v=0\r\nm=audio -1 RTP/AVP 0\r\n", 2),
        (b"v=0\r\nm=audio 65536 RTP/AVP 0\r\n", 2),
        (b"v=0\r\nm=audio 5004/ RTP/AVP 0\r\n", 2),
        ("v=0\r\nm=audio \u00b2 RTP/AVP 0\r\n".encode("latin-1"), 2),
        (b"v=0\r\ns=-\r\n" + b"m=audio 0 RTP/AVP 0\r\n" * (lines.MAX_MEDIA + 1), lines.MAX_MEDIA + 3),
    ],
)
def test_malformed(data: bytes, line: int) -> None:
    with pytest.raises(MalformedSdp) as caught:
        parse_sdp_untrusted(data)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "data",
    [b"v=0\r\n" + b"a=x\r\n" * lines.MAX_LINES, b"v=0\r\ns=" + b"x" * lines.MAX_SDP_BYTES],
    ids=["lines", "octets"],
)
def test_limits(data: bytes) -> None:
    with pytest.raises(MalformedSdp, match="more than"):
        parse_sdp_untrusted(data)


def test_a_copy_is_independent() -> None:
    sdp = parse_sdp_untrusted(CALL)
    copy = sdp.copy()
    copy.media[1].set_media(4000, "TCP/MSRP")
    copy.media[1].set_attributes({"x-note": ()})
    copy.session.replace_field("c", "IN IP6 2001:db8::1")
    assert sdp.to_bytes() == CALL
    assert copy.media[1].lines[0] == "m=message 4000 TCP/MSRP *"


def test_attributes_are_set_in_place() -> None:
    sdp = parse_sdp_untrusted(CALL)
    sdp.media[1].set_attributes({"setup": ("passive",), "x-note": ("three", "four", "five"), "new": ("", "value")})
    assert sdp.media[1].lines[2:] == [
        "a=path:msrps://192.0.2.61:9/Ab1;tcp",
        "a=Setup:passive",
        "a=x-note:three",
        "a=x-note:four",
        "a=x-note:five",
        "a=new",
        "a=new:value",
    ]
    assert sdp.media[1].values("x-note") == ("three", "four", "five")


def test_setting_what_is_there_already_changes_no_octet() -> None:
    sdp = parse_sdp_untrusted(CALL)
    sdp.media[1].set_attributes({"setup": ("active",), "x-note": ("one", "two"), "absent": ()})
    sdp.media[1].set_media(9, "TCP/TLS/MSRP")
    sdp.session.replace_field("c", "IN IP4 192.0.2.61")
    assert sdp.to_bytes() == CALL


def test_lines_are_found_again_after_an_edit_has_moved_them() -> None:
    sdp = parse_sdp_untrusted(b"v=0\r\nm=message 9 TCP/MSRP *\r\na=one:1\r\na=two:2\r\nc=IN IP4 192.0.2.1\r\na=three:3\r\n")
    (section,) = sdp.media
    assert (section.value("three"), section.field("c")) == ("3", "IN IP4 192.0.2.1")
    copy = section.copy()
    section.set_attributes({"one": (), "new": ("0",)})
    assert section.replace_field("c", "IN IP4 192.0.2.2")
    assert (section.value("three"), section.value("new"), section.has("one")) == ("3", "0", False)
    assert section.lines[1:] == ["a=two:2", "c=IN IP4 192.0.2.2", "a=three:3", "a=new:0"]
    assert (copy.value("one"), copy.value("three"), copy.field("c")) == ("1", "3", "IN IP4 192.0.2.1")


def test_single_values_are_taken_away_and_the_others_keep_their_places() -> None:
    (section,) = parse_sdp_untrusted(b"v=0\r\nm=a 1 b c\r\na=x:1\r\na=y:1\r\na=X: 2\r\na=x:1\r\na=x:3\r\n").media
    section.remove_values("x", {"1", "9"})
    assert section.lines[1:] == ["a=y:1", "a=X: 2", "a=x:3"]
    assert section.values("x") == ("2", "3")
    section.remove_values("z", {"1"})
    assert section.lines[1:] == ["a=y:1", "a=X: 2", "a=x:3"]


def test_connection_lines_stand_after_the_title() -> None:
    sdp = parse_sdp_untrusted(CALL)
    for section in sdp.media:
        section.set_connection("IN IP6 2001:db8::7")
    assert sdp.media[0].lines[1] == "c=IN IP6 2001:db8::7"
    assert sdp.media[1].lines[1:3] == ["i=chat", "c=IN IP6 2001:db8::7"]
    assert sdp.media[1].value("setup") == "active"


def test_the_independent_parser_sees_nothing_but_the_edit() -> None:
    sdp = parse_sdp_untrusted(CALL)
    before = sdp_transform.parse(CALL.decode("latin-1"))
    sdp.media[1].set_media(7654, "TCP/MSRP")
    sdp.media[1].set_attributes({"x-note": ()})
    after = sdp_transform.parse(sdp.to_bytes().decode("latin-1"))
    assert (after["media"][1].pop("port"), after["media"][1].pop("protocol")) == (7654, "TCP/MSRP")
    assert (before["media"][1].pop("port"), before["media"][1].pop("protocol")) == (9, "TCP/TLS/MSRP")
    before["media"][1]["invalid"] = [
        line for line in before["media"][1].get("invalid", []) if not line["value"].startswith("x-note")
    ] or None
    after["media"][1].setdefault("invalid", None)
    assert after == before
