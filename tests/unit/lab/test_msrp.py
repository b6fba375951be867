"""MSRP frames, URIs and chunks."""

from __future__ import annotations

import pytest

from pcscf.lab.msrp import (
    Assembler,
    MsrpError,
    Parser,
    Request,
    Response,
    parse_byte_range_untrusted,
    parse_uri_untrusted,
    response_to,
)

SEND = Request(
    "a786hjs2", "SEND",
    (
        ("To-Path", "msrp://192.0.2.7:7777/iau39;tcp"),
        ("From-Path", "msrps://192.0.2.9:9/s1k;tcp"),
        ("Message-ID", "87652491"),
        ("Byte-Range", "1-5/5"),
        ("Content-Type", "text/plain"),
    ),
    b"hello",
)


def send(body: bytes, byte_range: str, flag: str, message_id: str = "m001") -> Request:
    headers = (("Message-ID", message_id), ("Byte-Range", byte_range), ("Content-Type", "text/plain"))
    return Request("t001", "SEND", headers, body, flag)


@pytest.mark.parametrize("step", [1, 2, 7, 4096])
def test_a_frame_survives_any_cutting_of_the_stream(step: int) -> None:
    wire = SEND.to_bytes() + response_to(SEND, 200, "OK").to_bytes() + SEND.to_bytes()
    parser = Parser()
    frames = [frame for start in range(0, len(wire), step) for frame in parser.feed(wire[start:start + step])]
    assert frames == [SEND, response_to(SEND, 200, "OK"), SEND]


def test_the_wire_form_is_that_of_the_standard() -> None:
    assert SEND.to_bytes().startswith(b"MSRP a786hjs2 SEND\r\nTo-Path: msrp://192.0.2.7:7777/iau39;tcp\r\n")
    assert SEND.to_bytes().endswith(b"Content-Type: text/plain\r\n\r\nhello\r\n-------a786hjs2$\r\n")


def test_an_empty_send_has_no_blank_line() -> None:
    empty = Request("t001", "SEND", (("To-Path", "x"), ("From-Path", "y"), ("Message-ID", "m001")))
    assert b"\r\n\r\n" not in empty.to_bytes()
    assert Parser().feed(empty.to_bytes()) == [empty]


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"a\r\n\r\nb", b"-------a786hjs2 nearly\r\n-------a786hjs2", b"\xff\x00"],
)
def test_bodies_are_octets(body: bytes) -> None:
    frame = Request("a786hjs2", "SEND", SEND.headers, body)
    assert Parser().feed(frame.to_bytes()) == [frame]


@pytest.mark.parametrize("flag", ["$", "+", "#"])
def test_the_flag_is_kept(flag: str) -> None:
    frame = Request("t001", "SEND", SEND.headers, b"x", flag)
    assert Parser().feed(frame.to_bytes()) == [frame]


def test_the_response_swaps_the_paths_and_goes_to_the_nearest_hop() -> None:
    request = Request("t001", "SEND", (("To-Path", "msrp://a:1/x;tcp"), ("From-Path", "msrp://r:2/y;tcp msrp://b:3/z;tcp")))
    response = response_to(request, 481)
    assert response == Response("t001", 481, "", (("To-Path", "msrp://r:2/y;tcp"), ("From-Path", "msrp://a:1/x;tcp")))
    assert response.to_bytes().startswith(b"MSRP t001 481\r\n")


@pytest.mark.parametrize("octets", [
    b"GET / HTTP/1.1\r\n",
    b"MSRP a SEND\r\n",
    b"MSRP t001 SEND\r\nno colon\r\n-------t001$\r\n",
    b"MSRP t001 SEND\r\n\r\nbody\r\n-------t001$\r\n",
    b"\xff\xfe\r\n",
    b"M" * 9000,
])
def test_what_is_not_msrp_is_refused(octets: bytes) -> None:
    with pytest.raises(MsrpError):
        Parser().feed(octets)


def test_a_chunk_without_end_is_refused_at_the_limit() -> None:
    parser = Parser()
    parser.feed(SEND.to_bytes()[:-20])
    with pytest.raises(MsrpError, match="too long"):
        for _ in range(100):
            parser.feed(bytes(65_536))


@pytest.mark.parametrize(("one", "other", "same"), [
    ("msrp://192.0.2.7:7777/iau39;tcp", "MSRP://192.0.2.7:7777/iau39;TCP", True),
    ("msrp://alice@h.example:7777/s;tcp", "msrp://H.EXAMPLE:7777/s;tcp", True),
    ("msrp://[2001:db8::1]:5/s;tcp", "msrp://[2001:DB8:0::1]:5/s;tcp", True),
    ("msrp://h.ex%61mple:1/s;tcp", "msrp://h.example:1/s;tcp", True),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrps://192.0.2.7:7777/iau39;tcp", False),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrp://192.0.2.7:7777/IAU39;tcp", False),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrp://192.0.2.7:7778/iau39;tcp", False),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrp://192.0.2.7/iau39;tcp", False),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrp://192.0.2.8:7777/iau39;tcp", False),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrp://192.0.2.7:7777;tcp", False),
    ("msrp://192.0.2.7:7777/iau39;tcp", "msrp://192.0.2.7:7777/iau39;ws", False),
])
def test_uris_compare_as_section_6_1_says(one: str, other: str, same: bool) -> None:
    assert parse_uri_untrusted(one).matches(parse_uri_untrusted(other)) is same


@pytest.mark.parametrize(
    "text", ["", "http://h/x;tcp", "msrp://h:1/x", "msrp://h:x/s;tcp", "msrp:///s;tcp", "msrp://h:1/a b;tcp"],
)
def test_what_is_not_a_uri_is_refused(text: str) -> None:
    with pytest.raises(MsrpError):
        parse_uri_untrusted(text)


@pytest.mark.parametrize("text", ["0-1/2", "x", "1-2", "-1-2/3", "1-2/3/4"])
def test_bad_byte_ranges_are_refused(text: str) -> None:
    with pytest.raises(MsrpError):
        parse_byte_range_untrusted(text)


def test_chunks_join_in_any_order() -> None:
    assembler = Assembler()
    assert assembler.receive(send(b"lo ", "4-6/*", "+")) is None
    assert assembler.receive(send(b"world", "7-11/11", "$")) is None
    done = assembler.receive(send(b"hel", "1-*/*", "+"))
    assert done is not None
    assert done.content == b"hello world"


def test_a_later_chunk_overwrites() -> None:
    assembler = Assembler()
    assembler.receive(send(b"aaaa", "1-4/6", "+"))
    done = assembler.receive(send(b"bbbb", "3-6/6", "$"))
    assert done is not None
    assert done.content == b"aabbbb"


def test_messages_do_not_mix_and_an_aborted_one_is_gone() -> None:
    assembler = Assembler()
    assembler.receive(send(b"aa", "1-2/4", "+", "m001"))
    done = assembler.receive(send(b"other", "1-5/5", "$", "m002"))
    assert done is not None
    assert done.content == b"other"
    assembler.receive(send(b"", "3-2/4", "#", "m001"))
    assert assembler.receive(send(b"bb", "3-4/4", "$", "m001")) is None


def test_a_message_beyond_the_limit_is_refused() -> None:
    with pytest.raises(MsrpError, match="too long"):
        Assembler().receive(send(b"x", "4194305-4194305/4194305", "$"))


def test_too_many_unfinished_messages_are_refused() -> None:
    assembler = Assembler()
    with pytest.raises(MsrpError, match="unfinished"):
        for number in range(100):
            assembler.receive(send(b"x", "1-1/2", "+", f"m{number:03d}"))
