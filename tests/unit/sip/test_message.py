"""Messages keep what they were given; edits touch one line only."""

from __future__ import annotations

import pytest

from pcscf.sip.layout import KEYS
from pcscf.sip.message import Message, Request, Response, response_to
from pcscf.sip.parse import parse_datagram_untrusted

ODD = (
    b"SUBSCRIBE sip:list@home.example SIP/2.0\r\n"
    b"v: SIP/2.0/UDP one.example;branch=z9hG4bK1 ,\r\n SIP/2.0/TCP two.example;branch=z9hG4bK2\r\n"
    b"VIA : SIP/2.0/UDP three.example\r\n"
    b"f:<sip:a@home.example>;tag=1\r\n"
    b"To:\t<sip:list@home.example>\r\n"
    b"i: odd@one.example\r\n"
    b"CSEQ: 7  SUBSCRIBE\r\n"
    b"X-Coffee-Free: \xff\xfe raw\r\n"
    b"k: path\r\n"
    b'Supported: gruu, "a,b"\r\n'
    b"l:4\r\n"
    b"\r\n"
    b"\x00\xff\r\n"
)


def odd() -> Request:
    request = parse_datagram_untrusted(ODD)
    assert isinstance(request, Request)
    return request


def changed_lines(message: Message, original: bytes) -> tuple[set[bytes], set[bytes]]:
    before, after = original.split(b"\r\n"), message.to_bytes().split(b"\r\n")
    return set(before) - set(after), set(after) - set(before)


def test_unchanged_message_is_byte_identical() -> None:
    assert odd().to_bytes() == ODD


def test_headers_are_as_received() -> None:
    headers = odd().headers
    assert headers[1] == ("VIA ", " SIP/2.0/UDP three.example")
    assert headers[2] == ("f", "<sip:a@home.example>;tag=1")
    assert headers[0][1] == " SIP/2.0/UDP one.example;branch=z9hG4bK1 ,\r\n SIP/2.0/TCP two.example;branch=z9hG4bK2"


def test_fields_are_found_by_long_name_in_any_case() -> None:
    request = odd()
    assert request.get("CALL-ID") == "odd@one.example"
    assert request.get("content-length") == "4"
    assert request.get("Subject") is None
    assert "supported" in request
    assert "Require" not in request


def test_values_join_lines_and_split_elements() -> None:
    request = odd()
    assert request.values("Supported") == ["path", "gruu", '"a,b"']
    assert len(request.values("Via")) == 3
    assert request.get_all("Via")[0].endswith("branch=z9hG4bK1 , SIP/2.0/TCP two.example;branch=z9hG4bK2")
    assert request.values("Route") == []


def test_octets_that_are_not_utf8_survive_in_values() -> None:
    value = odd().get("X-Coffee-Free")
    assert value is not None
    assert value.encode("utf-8", "surrogateescape") == b"\xff\xfe raw"


def test_views_of_mandatory_fields() -> None:
    request = odd()
    assert request.call_id == "odd@one.example"
    assert request.cseq == (7, "SUBSCRIBE")
    assert (request.from_tag, request.to_tag) == ("1", "")
    assert request.top_via.host == "one.example"
    assert request.uri_parsed.user == "list"


def test_set_keeps_place_and_spelling() -> None:
    request = odd()
    request.set("Call-ID", "new@one.example")
    assert changed_lines(request, ODD) == ({b"i: odd@one.example"}, {b"i: new@one.example"})


def test_set_leaves_one_line() -> None:
    request = odd()
    request.set("Supported", "path")
    assert request.get_all("Supported") == ["path"]
    assert changed_lines(request, ODD)[1] == set()


def test_set_appends_what_is_missing() -> None:
    request = odd()
    request.set("Max-Forwards", "70")
    assert request.headers[-1] == ("Max-Forwards", " 70")


def test_prepend_goes_before_the_first_of_that_name_or_after_the_vias() -> None:
    request = odd()
    request.prepend("CSeq", "9 BYE")
    request.prepend("Route", "<sip:first.example;lr>")
    place = request.keys.index("route")
    assert request.headers[place] == ("Route", " <sip:first.example;lr>")
    assert request.keys[place - 1] == "via"
    assert "via" not in request.keys[place:]
    assert request.keys.index("cseq") == request.keys.index("call-id") + 1
    assert request.cseq == (9, "BYE")


def test_removing_the_top_via_leaves_the_rest_of_its_line() -> None:
    request = odd()
    request.remove_first_value("Via")
    assert request.headers[0] == ("v", "\r\n SIP/2.0/TCP two.example;branch=z9hG4bK2")
    assert request.top_via.host == "two.example"
    request.remove_first_value("Via")
    assert request.headers[0][0] == "VIA "
    request.remove_first_value("Via")
    assert "Via" not in request
    request.remove_first_value("Via")
    assert request.keys[0] == "from"


def test_first_value_ends_at_a_comma_outside_quotes_and_brackets() -> None:
    request = Request("OPTIONS", "sip:x", [("Route", '"a,b" <sip:h;x=1,2>;p="c,d",<sip:next>')])
    request.remove_first_value("Route")
    assert request.values("Route") == ["<sip:next>"]


def test_set_values_replaces_all_lines_at_the_first_place() -> None:
    request = odd()
    request.set_values("Via", ["SIP/2.0/UDP a.example", "SIP/2.0/UDP b.example"])
    assert request.headers[:2] == (("v", " SIP/2.0/UDP a.example"), ("v", " SIP/2.0/UDP b.example"))
    assert request.top_via.host == "a.example"
    request.remove("Via")
    assert request.keys[0] == "from"


def test_cached_views_follow_every_kind_of_edit() -> None:
    request = odd()
    assert request.to_tag == ""
    request.set("To", "<sip:list@home.example>;tag=9")
    assert request.to_tag == "9"
    request.replace_first_line("To", "<sip:list@home.example>;tag=10")
    assert request.to_tag == "10"
    assert request.top_via.host == "one.example"
    request.prepend("Via", "SIP/2.0/UDP zero.example")
    assert request.top_via.host == "zero.example"
    assert request.uri_parsed.host == "home.example"
    request.uri = "sip:elsewhere.example"
    assert request.uri_parsed.host == "elsewhere.example"


def test_lines_of_a_name_are_found_side_by_side_and_scattered() -> None:
    lines = [("Route", "<sip:a;lr>"), ("Route", "<sip:b;lr>"), ("Via", "v"), ("route", "<sip:c;lr>"), ("To", "t")]
    request = Request("OPTIONS", "sip:x", lines)
    assert request.lines_of("Route") == ["Route: <sip:a;lr>", "Route: <sip:b;lr>", "route: <sip:c;lr>"]
    assert Request("OPTIONS", "sip:x", lines[:3]).lines_of("route") == ["Route: <sip:a;lr>", "Route: <sip:b;lr>"]
    assert request.lines_of("Path") == []


def test_a_rewritten_line_keeps_its_place() -> None:
    request = odd()
    request.rewrite_first_line("Content-Length", lambda line: f"{line} ")
    assert changed_lines(request, ODD) == ({b"l:4"}, {b"l:4 "})
    with pytest.raises(ValueError, match="no Expires"):
        request.rewrite_first_line("Expires", str.upper)


def test_set_body_corrects_content_length_in_place() -> None:
    request = odd()
    request.set_body(b"hello", "text/plain")
    assert request.to_bytes().endswith(b"\r\n\r\nhello")
    assert (request.get("Content-Length"), request.get("Content-Type")) == ("5", "text/plain")
    assert changed_lines(request, ODD)[0] >= {b"l:4"}
    assert request.keys.index("content-length") == odd().keys.index("content-length")


def test_set_body_adds_a_missing_content_length() -> None:
    request = Request("MESSAGE", "sip:x", [("CSeq", "1 MESSAGE")])
    request.set_body(b"abc")
    assert request.get("Content-Length") == "3"
    assert "Content-Type" not in request


def test_a_value_cannot_smuggle_in_a_line() -> None:
    request = odd()
    with pytest.raises(ValueError, match="one line"):
        request.add("Subject", "hi\r\nRoute: <sip:evil>")
    with pytest.raises(ValueError, match="one line"):
        request.set("Subject", "hi\nthere")
    request.add("Subject", "folded\r\n is unfolded")
    assert request.headers[-1] == ("Subject", " folded is unfolded")
    assert request.to_bytes().count(b"\n") == ODD.count(b"\n") + 1


def test_a_copy_is_independent() -> None:
    request = odd()
    twin = request.copy()
    assert twin.to_bytes() == ODD
    twin.set("Call-ID", "other")
    twin.remove_first_value("Via")
    twin.method, twin.uri = "NOTIFY", "sip:y"
    twin.set_body(b"x")
    assert request.to_bytes() == ODD
    assert twin.top_via.host == "two.example"
    assert request.top_via.host == "one.example"


def test_a_response_copy_is_independent() -> None:
    response = response_to(odd(), 180)
    twin = response.copy()
    twin.status, twin.reason = 200, "OK"
    assert response.to_bytes().startswith(b"SIP/2.0 180 Ringing\r\n")
    assert twin.to_bytes().startswith(b"SIP/2.0 200 OK\r\n")


def test_messages_made_by_hand_are_written_as_usual() -> None:
    response = Response(200, "OK", [("Via", "SIP/2.0/UDP h"), ("Content-Length", "0")])
    assert response.to_bytes() == b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nContent-Length: 0\r\n\r\n"
    assert Request("ACK", "sip:x").to_bytes() == b"ACK sip:x SIP/2.0\r\n\r\n"


def test_response_copies_what_the_rfc_names() -> None:
    request = odd()
    request.add("Timestamp", "54")
    response = response_to(request, 404, to_tag="abc")
    assert response.reason == "Not Found"
    assert list(response.keys) == ["via", "via", "from", "to", "call-id", "cseq", "content-length"]
    assert response.headers[0] == request.headers[0]
    assert response.get("To") == "<sip:list@home.example>;tag=abc"
    assert response.headers[-1] == ("Content-Length", " 0")


def test_100_has_the_timestamp_and_no_tag() -> None:
    request = odd()
    request.add("Timestamp", "54")
    response = response_to(request, 100, to_tag="abc")
    assert response.get("Timestamp") == "54"
    assert response.to_tag == ""


def test_an_existing_to_tag_stays() -> None:
    request = odd()
    request.set("To", "<sip:list@home.example>;tag=here")
    assert response_to(request, 200, to_tag="other").to_tag == "here"


def test_a_request_without_readable_to_can_still_be_answered() -> None:
    broken = Request("INVITE", "sip:x", [("Via", "SIP/2.0/UDP h"), ("To", '"open <sip:x>')])
    response = response_to(broken, 400, to_tag="t")
    assert response.get("To") == '"open <sip:x>'
    assert "To" not in response_to(Request("INVITE", "sip:x"), 400, to_tag="t")


def test_known_names_are_bounded() -> None:
    for number in range(6000):
        assert KEYS[f"X-Flood-{number}"] == f"x-flood-{number}"
    assert len(KEYS) <= 4096
    assert KEYS["Via"] == "via"
