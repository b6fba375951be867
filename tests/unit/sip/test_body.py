"""The session description in a body: alone or in a multipart (RFC 5621), and what cannot be read."""

from __future__ import annotations

import pytest

from pcscf.errors import BodyNotSupported
from pcscf.sip.body import (
    Description,
    description_untrusted,
    drop_body,
    drop_early_sessions_untrusted,
    early_session_is_required_untrusted,
    edit_descriptions_untrusted,
    put_description,
)
from pcscf.sip.message import Request

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
OTHER = b"--x\r\nContent-Type: application/pidf+xml\r\nContent-ID: <1@a>\r\n\r\n<presence/>\r\n"


def message(kind: str, body: bytes, *more: tuple[str, str]) -> Request:
    request = Request("INVITE", "sip:bob@ims.example", [("Content-Type", kind), *more, ("Content-Length", str(len(body)))])
    request.body = body
    return request


def part(sdp: bytes = SDP, head: bytes = b"") -> bytes:
    return b"--x\r\nContent-Type: application/sdp\r\n" + head + b"\r\n" + sdp + b"\r\n"


def mixed(*parts: bytes, kind: str = "multipart/mixed;boundary=x") -> Request:
    return message(kind, b"".join([*parts, b"--x--\r\n"]))


def test_a_body_that_is_a_description() -> None:
    assert description_untrusted(message("application/sdp", SDP)) == Description(SDP)
    assert description_untrusted(message("Application/SDP; charset=utf-8", SDP)) == Description(SDP)


@pytest.mark.parametrize("kind", ["text/plain", "application/resource-lists+xml", ""])
def test_a_body_that_is_none(kind: str) -> None:
    assert description_untrusted(message(kind, SDP)) is None


def test_no_body_at_all() -> None:
    assert description_untrusted(message("application/sdp", b"")) is None


@pytest.mark.parametrize("kind", [
    "multipart/mixed;boundary=x", 'multipart/mixed; BOUNDARY="x"', "Multipart/Alternative;boundary=x",
    "multipart/related;a=b;boundary=x"])
def test_the_one_description_of_a_multipart(kind: str) -> None:
    found = description_untrusted(mixed(OTHER, part(), OTHER, kind=kind))
    assert found is not None
    assert found.sdp == SDP


def test_a_multipart_without_a_description() -> None:
    assert description_untrusted(mixed(OTHER, OTHER)) is None


def test_a_description_is_replaced_in_its_place_and_all_else_stays() -> None:
    request = mixed(b"preamble\r\n", OTHER, part(), OTHER, b"--x\r\n\r\nbare\r\n")
    found = description_untrusted(request)
    assert found is not None
    longer = SDP + b"a=more\r\n"
    before = request.body
    put_description(request, found, longer)
    assert request.body == before.replace(SDP, longer)
    assert request.get("Content-Length") == str(len(request.body))


def test_a_part_that_tells_its_length_tells_the_new_one() -> None:
    request = mixed(part(head=b"Content-Length:  %d \r\nContent-ID: <2@a>\r\n" % len(SDP)), OTHER)
    found = description_untrusted(request)
    assert found is not None
    put_description(request, found, SDP * 3)
    assert b"Content-Length:  %d \r\nContent-ID" % (3 * len(SDP)) in request.body


def test_the_same_description_leaves_the_message_as_it_came() -> None:
    request = message("application/sdp", SDP)
    request.set("Content-Length", "  46")
    before = request.to_bytes()
    put_description(request, Description(SDP), SDP)
    assert request.to_bytes() == before


@pytest.mark.parametrize("parts", [
    [part(), part()],
    [b"--x\r\nContent-Type: multipart/mixed;boundary=y\r\n\r\n--y--\r\n"],
    [part(head=b"Content-Encoding: gzip\r\n")],
    [part(head=b"Content-Transfer-Encoding: base64\r\n")],
    [b"--x\r\nContent-Type: application/sdp\r\nContent-Type: text/plain\r\n\r\nv=0\r\n"],
    [b"--x\r\nno header\r\n\r\nv=0\r\n"],
    [b"--x\r\nContent-Type: application/sdp\r\n"],
    [OTHER] * 33,
    [],
])
def test_a_multipart_that_cannot_be_read_or_rewritten(parts: list[bytes]) -> None:
    with pytest.raises(BodyNotSupported):
        description_untrusted(mixed(*parts))


@pytest.mark.parametrize("kind", [
    "multipart/signed;boundary=x", "multipart/encrypted;boundary=x", "multipart/mixed", "multipart/mixed;boundary=",
    "multipart/mixed;boundary=x;boundary=y", "multipart/mixed;boundary=y", f"multipart/mixed;boundary={'x' * 71}",
    "multipart/mixed;=",
])
def test_a_multipart_of_another_kind(kind: str) -> None:
    with pytest.raises(BodyNotSupported):
        description_untrusted(mixed(part(), kind=kind))


def test_a_multipart_without_an_end() -> None:
    with pytest.raises(BodyNotSupported, match="no end"):
        description_untrusted(message("multipart/mixed;boundary=x", part()))


@pytest.mark.parametrize("kind", ["application/sdp", "multipart/mixed;boundary=x"])
def test_an_encoded_body(kind: str) -> None:
    with pytest.raises(BodyNotSupported):
        description_untrusted(message(kind, SDP, ("Content-Encoding", "gzip")))


EARLY = part(b"v=0\r\no=- 2 2 IN IP4 192.0.2.1\r\n", b"Content-Disposition: Early-Session ; handling = optional\r\n")
EARLY_REQUIRED = part(SDP * 2, b"Content-Disposition: early-session\r\n")


@pytest.mark.parametrize("parts", [[EARLY, part()], [part(), EARLY], [EARLY_REQUIRED, part(), EARLY]])
def test_the_description_of_an_early_session_does_not_count(parts: list[bytes]) -> None:
    found = description_untrusted(mixed(*parts))
    assert found is not None
    assert found.sdp == SDP
    assert description_untrusted(message("application/sdp", SDP, ("Content-Disposition", "early-session"))) is None


@pytest.mark.parametrize("parts", [[EARLY, part(), OTHER], [part(), EARLY, OTHER], [part(), OTHER, EARLY_REQUIRED]])
def test_early_sessions_are_taken_out_and_all_else_stays(parts: list[bytes]) -> None:
    request = mixed(b"preamble\r\n", *parts)
    drop_early_sessions_untrusted(request)
    kept = [each for each in parts if each not in (EARLY, EARLY_REQUIRED)]
    assert request.body == mixed(b"preamble\r\n", *kept).body
    assert request.get("Content-Length") == str(len(request.body))


def test_an_early_session_in_front_leaves_what_can_be_read() -> None:
    request = mixed(EARLY, part())
    drop_early_sessions_untrusted(request)
    found = description_untrusted(request)
    assert found is not None
    assert found.sdp == SDP


@pytest.mark.parametrize("request_", [
    mixed(EARLY, EARLY_REQUIRED), message("application/sdp", SDP, ("Content-Disposition", "early-session"))])
def test_a_body_of_early_sessions_alone_goes_as_a_whole(request_: Request) -> None:
    drop_early_sessions_untrusted(request_)
    assert request_.body == b""
    assert "Content-Type" not in request_
    assert "Content-Disposition" not in request_


@pytest.mark.parametrize("request_", [mixed(part(), OTHER), message("text/plain", b"early-session"), message("", b"")])
def test_a_body_without_early_sessions_stays_as_it_came(request_: Request) -> None:
    before = request_.to_bytes()
    drop_early_sessions_untrusted(request_)
    assert request_.to_bytes() == before


@pytest.mark.parametrize(("disposition", "required"), [
    ("early-session", True), ("early-session;handling=required", True), ("early-session; handling=optional", False),
    ("EARLY-SESSION;Handling = Optional", False), ("session", False), ("session;handling=optional", False)])
def test_whether_an_early_session_must_be_understood(disposition: str, required: bool) -> None:
    assert early_session_is_required_untrusted(message("application/sdp", SDP, ("Content-Disposition", disposition))) is required
    in_a_part = mixed(OTHER, part(head=b"Content-Disposition: %s\r\n" % disposition.encode()))
    assert early_session_is_required_untrusted(in_a_part) is required


def test_every_description_is_edited_in_its_place() -> None:
    told = b"Content-Length: %d\r\n"
    request = mixed(part(head=told % len(SDP)), OTHER, EARLY, part(head=told % len(SDP)))
    before = request.body
    edit_descriptions_untrusted(request, lambda sdp: sdp.replace(b"o=-", b"o=alice"))
    assert request.body == before.replace(b"o=-", b"o=alice").replace(told % len(SDP), told % (len(SDP) + 4))
    assert request.get("Content-Length") == str(len(request.body))
    with pytest.raises(BodyNotSupported):
        edit_descriptions_untrusted(mixed(part(), kind="multipart/signed;boundary=x"), bytes.lower)


def test_lines_that_end_with_lf_alone_hide_nothing() -> None:
    body = mixed(OTHER, part()).body.replace(b"\r\n", b"\n")
    found = description_untrusted(message("multipart/mixed;boundary=x", body))
    assert found is not None
    assert found.sdp == SDP.replace(b"\r\n", b"\n")


def test_a_dropped_body_takes_its_description_along() -> None:
    request = message("application/sdp", SDP, ("Content-Disposition", "session"), ("Subject", "stays"))
    drop_body(request)
    assert request.body == b""
    assert [name for name, _ in request.headers] == ["Subject", "Content-Length"]
    assert request.get("Content-Length") == "0"
