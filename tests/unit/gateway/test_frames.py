"""MSRP frames between two legs: the paths are mapped, all other octets pass, whatever the pieces they come in."""

from __future__ import annotations

import pytest

from pcscf.gateway.frames import MAX_HEADER, FrameError, FrameReader, Paths, same_uri

PATHS = Paths(
    own=b"msrps://203.0.113.7:30000/bobsSession;tcp", peer=b"msrps://192.0.2.10:9/alicesSession;tcp",
    far_own=b"msrp://198.51.100.7:41000/alicesSession;tcp", far_peer=b"msrp://198.51.100.88:2855/bobsSession;tcp",
)  # fmt: skip


def frame(start: str, *fields: str, body: bytes | None = None, flag: str = "$", to: str = "", origin: str = "") -> bytes:
    """One frame as the near peer sends it; `start` is what follows MSRP."""
    to, origin = to or PATHS.own.decode(), origin or PATHS.peer.decode()
    lines = [f"MSRP {start}", f"To-Path: {to}", f"From-Path: {origin}", *fields, ""]
    content = b"" if body is None else b"\r\n" + body + b"\r\n"
    return "\r\n".join(lines).encode() + content + f"-------{start.split(maxsplit=1)[0]}{flag}\r\n".encode()


def mapped(frames: bytes) -> bytes:
    """The same as the far peer must get it."""
    return frames.replace(PATHS.own, PATHS.far_peer).replace(PATHS.peer, PATHS.far_own)


def reader() -> FrameReader:
    made = FrameReader()
    made.paths = PATHS
    return made


ABOUT = ("Message-ID: 12339sdqwer", "Byte-Range: 1-16/16", "Content-Type: text/plain")
SEND = frame("a786hjs2 SEND", *ABOUT, body=b"Hi, I'm Alice!")
CONVERSATION = {
    "message": SEND,
    "binding": frame("d93kswow SEND", "Message-ID: 12339sdqwer", "Byte-Range: 1-0/0"),
    "response": frame("d93kswow 200 OK"),
    "response without comment": frame("d93kswow 415"),
    "report": frame("dkei38sd REPORT", "Message-ID: 12339sdqwer", "Byte-Range: 1-106/106", "Status: 000 200 OK"),
    "chunks": frame("dkei38sd SEND", *ABOUT, body=b"abcdEFGH", flag="+") + frame("dkei38ia SEND", *ABOUT, body=b"ijkl"),
    "interrupted": frame("dkei38sd SEND", *ABOUT, body=b"abcd", flag="+") + frame("nonce123 SEND", *ABOUT, body=b"in between"),
    "given up": frame("dkei38sd SEND", *ABOUT, body=b"", flag="#"),
    "empty body": frame("dkei38sd SEND", *ABOUT, body=b""),
    "body of line ends": frame("dkei38sd SEND", *ABOUT, body=b"\r\n\r\n\r\r\n-\r\n---"),
    "body like an end-line": frame(
        "dkei38sd SEND", *ABOUT,
        body=b"-------dkei38sd\r\n-------dkei38sdX$\r\n-------dkei38sc$\r\n-------dkei38sd$x\r\n -------dkei38sd$"),
    "body like a frame": frame("dkei38sd SEND", *ABOUT, body=frame("a786hjs2 SEND", body=b"x", to="msrp://a:1/b;tcp", origin="msrp://c:1/d;tcp")),
    "relayed": frame("dkei38sd SEND", *ABOUT, body=b"x", to=f"{PATHS.own.decode()} msrps://bob.example:1/z;tcp",
                     origin=f"{PATHS.peer.decode()} msrps://alice.example:2/y;tcp"),
    "other method": frame("dkei38sd NICKNAME", 'Use-Nickname: "Alice"'),
    "other spelling": frame("dkei38sd SEND", *ABOUT, body=b"x").replace(b"To-Path: ", b"to-path:").replace(b"From-P", b"FROM-P"),
}


@pytest.mark.parametrize("kind", CONVERSATION)
def test_every_split_of_a_frame(kind: str) -> None:
    sent = CONVERSATION[kind] + SEND
    for first in range(len(sent)):
        one = reader()
        assert one.feed_untrusted(sent[:first]) + one.feed_untrusted(sent[first:]) == mapped(sent), first
    one = reader()
    assert b"".join(one.feed_untrusted(sent[place:place + 1]) for place in range(len(sent))) == mapped(sent)


def test_a_body_is_not_held() -> None:
    one = reader()
    large = frame("dkei38sd SEND", *ABOUT, body=bytes(3_000_000))
    held = 0
    for place in range(0, len(large), 65_536):
        piece = large[place:place + 65_536]
        held += len(piece) - len(one.feed_untrusted(piece))
        assert -200 < held <= len("\r\n-------dkei38sd$\r\n"), "what is kept back could begin an end-line"


def test_what_is_equal_is_known_in_any_spelling() -> None:
    spelt = frame("dkei38sd SEND", *ABOUT, body=b"x", to="MSRPS://alice@203.0.113.7:30000/bobsSession;TCP;x=1")
    assert reader().feed_untrusted(spelt) == mapped(frame("dkei38sd SEND", *ABOUT, body=b"x"))


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ("msrp://Host.example:2855/aBc;tcp", True),
        ("MSRP://u@host.EXAMPLE:2855/aBc;TCP;p=1", True),
        ("msrps://host.example:2855/aBc;tcp", False),
        ("msrp://host.example/aBc;tcp", False),
        ("msrp://host.example:2855/abc;tcp", False),
        ("msrp://host.example:2856/aBc;tcp", False),
        ("msrp://host.example:2855/aBc;ws", False),
        ("nonsense", False),
    ],
)
def test_equality_of_uris(other: str, equal: bool) -> None:
    assert same_uri(b"msrp://host.example:2855/aBc;tcp", other.encode()) is equal


BAD = {
    "not MSRP": b"GET / HTTP/1.1\r\n",
    "no start line": b"\x16\x03\x01\x02\x00",
    "short transaction": frame("abc SEND", *ABOUT, body=b"x"),
    "no To-Path": SEND.replace(b"To-Path: ", b"To-Pass: "),
    "From-Path first": SEND.replace(b"To-Path", b"X").replace(b"From-Path", b"To-Path").replace(b"X", b"From-Path"),
    "a second To-Path": frame("dkei38sd SEND", "to-path: msrp://a:1/b;tcp", *ABOUT, body=b"x"),
    "a second From-Path": frame("dkei38sd SEND", *ABOUT, "From-Path : msrp://a:1/b;tcp", body=b"x"),
    "no header field": frame("dkei38sd SEND", "nothing", body=b"x"),
    "a bare line end in a field": frame("dkei38sd SEND", "Subject: a\nTo-Path: b", body=b"x"),
    "the end-line of another frame": SEND.replace(b"\r\n\r\nHi, I'm Alice!", b"").replace(b"-------a786hjs2", b"-------a786hjs3"),
    "a wrong flag": frame("d93kswow 200 OK", flag="!"),
    "header without end": b"MSRP a786hjs2 SEND\r\nTo-Path: " + b"x" * MAX_HEADER,
    "fields without end": SEND.partition(b"Message-ID")[0] + b"X: y\r\n" * MAX_HEADER,
    "one field without end": SEND.partition(b"Message-ID")[0] + b"X: " + b"y" * MAX_HEADER,
    "another session": frame("d93kswow SEND", *ABOUT, body=b"x", to="msrps://203.0.113.7:30000/carolsSession;tcp"),
    "another sender": frame("d93kswow SEND", *ABOUT, body=b"x", origin="msrps://192.0.2.10:9/evesSession;tcp"),
    "another scheme": frame("d93kswow SEND", *ABOUT, body=b"x", to="msrp://203.0.113.7:30000/bobsSession;tcp"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_frame_of_the_session(kind: str) -> None:
    with pytest.raises(FrameError):
        reader().feed_untrusted(BAD[kind])
    one = reader()
    passed = one.feed_untrusted(SEND)
    with pytest.raises(FrameError):
        for place in range(len(BAD[kind])):
            passed += one.feed_untrusted(BAD[kind][place:place + 1])
    assert passed == mapped(SEND), "nothing of it went on"


def test_the_binding_send_and_its_response() -> None:
    one = reader()
    sent = one.binding(f"{PATHS.own.decode()}", f"{PATHS.peer.decode()} msrps://beyond:1/x;tcp", "0123abcd")
    assert sent == (
        b"MSRP 0123abcd SEND\r\nTo-Path: msrps://192.0.2.10:9/alicesSession;tcp msrps://beyond:1/x;tcp\r\n"
        b"From-Path: msrps://203.0.113.7:30000/bobsSession;tcp\r\nMessage-ID: 0123abcd\r\nByte-Range: 1-0/0\r\n"
        b"-------0123abcd$\r\n"
    )
    assert one.feed_untrusted(frame("0123abcd 200 OK") + SEND) == mapped(SEND), "the response is ours"
    assert one.feed_untrusted(frame("0123abcd 200 OK")) == mapped(frame("0123abcd 200 OK")), "once"


def test_a_peer_that_refuses_the_binding() -> None:
    one = reader()
    one.binding(PATHS.own.decode(), PATHS.peer.decode(), "0123abcd")
    with pytest.raises(FrameError, match="481"):
        one.feed_untrusted(frame("0123abcd 481 No such session"))


def test_new_paths_hold_for_the_next_frame() -> None:
    one = reader()
    begun, rest = SEND[:-30], SEND[-30:]
    passed = one.feed_untrusted(begun)
    moved = Paths(PATHS.own, PATHS.peer, PATHS.far_own, b"msrp://198.51.100.99:1/bobsSession;tcp")
    one.paths = moved
    assert passed + one.feed_untrusted(rest) == mapped(SEND)
    assert moved.far_peer in one.feed_untrusted(SEND)
