"""The frame reader: any frames in any pieces come out as they went in but for the paths; any octets at all, only FrameError."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pcscf.gateway.frames import MAX_HEADER, FrameError
from pcscf.lab.msrp import Parser
from tests.unit.gateway.test_frames import ABOUT, PATHS, frame, mapped, reader

TOKENS = st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}"), fullmatch=True)
NEARLY = st.sampled_from(
    [b"\r\n", b"\r", b"-------", b"-", b"$\r\n", b"MSRP abcd SEND\r\n", b"To-Path: msrp://a:1/b;tcp\r\n", b"x"])


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    token = draw(TOKENS)
    if draw(st.booleans()):
        return frame(f"{token} {draw(st.sampled_from(['200 OK', '481', 'REPORT', 'SEND']))}", "X: y")
    pieces = draw(st.lists(st.one_of(NEARLY, st.binary(max_size=20), st.just(f"\r\n-------{token}".encode())), max_size=8))
    body = b"".join(pieces)
    while re.search(rb"-------" + re.escape(token.encode()) + rb"[$+#]\r\n", body + b"\r\n"):
        body = body.replace(b"-------", b"------", 1)   # the sender's duty (RFC 4975 §7.1)
    return frame(f"{token} SEND", *ABOUT, body=body, flag=draw(st.sampled_from("$+#")))


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.data(), st.lists(frames(), min_size=1, max_size=5))
def test_octets_out_are_octets_in_but_for_the_paths(data: st.DataObject, conversation: list[bytes]) -> None:
    sent = b"".join(conversation)
    one = reader()
    received = b"".join(one.feed_untrusted(piece) for piece in data.draw(cut(sent)))
    assert received == mapped(sent)
    assert PATHS.own not in received
    assert PATHS.peer not in received
    assert len(Parser().feed(received)) == len(conversation), "and the far end sees as many frames"


@given(st.lists(st.one_of(st.binary(max_size=60), NEARLY, frames()), max_size=8))
def test_whatever_comes_nothing_but_its_own_error(pieces: list[bytes]) -> None:
    one = reader()
    fed = passed = 0
    for piece in pieces:
        try:
            passed += len(one.feed_untrusted(piece))
        except FrameError:
            return
        fed += len(piece)
        assert fed - passed <= MAX_HEADER + len(piece) + 200 * len(pieces)
