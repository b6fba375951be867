"""Whatever the parser accepts, it writes again byte for byte; whatever it refuses, it refuses with its own errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import MalformedMessage, SipError, VersionNotSupported
from pcscf.sip.headers import (
    NameAddr,
    format_params,
    parse_cseq,
    parse_name_addr,
    parse_params,
    parse_tag,
    parse_via,
    split_values,
    stamp_received,
)
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import StreamParser, check_request, check_response, parse_datagram_untrusted
from pcscf.sip.uri import parse_uri, same_uri

TOKEN = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=12)
NAMES = st.one_of(
    st.sampled_from(
        ["Via", "v", "VIA", "From", "f", "To", "t", "Call-ID", "i", "CSeq", "Contact", "m", "Route", "Supported", "k"]
    ),
    TOKEN.filter(lambda name: name.lower() not in {"l", "content-length"}),
)
BLANKS = st.text(" \t", max_size=3)
# Anything but CR and LF, octets that are no UTF-8 included; a line break only with a blank after it.
OCTETS = st.binary(max_size=20).map(lambda raw: raw.translate(None, b"\r\n"))
VALUES = st.lists(OCTETS, min_size=1, max_size=4).map(b"\r\n ".join)
LINES = st.builds(lambda name, blanks, value: (name + blanks).encode() + b":" + value, NAMES, BLANKS, VALUES)
START_LINES = st.one_of(
    st.builds(lambda method, uri: f"{method} {uri} SIP/2.0".encode(), TOKEN, st.sampled_from(["sip:a@b", "tel:+1", "x:y", "*"])),
    st.builds(
        lambda status, reason: f"SIP/2.0 {status} ".encode() + reason,
        st.integers(100, 699),
        OCTETS,
    ),
)
BODIES = st.binary(max_size=80)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Messages with Content-Length, of any header lines whatsoever."""
    lines = draw(st.lists(LINES, max_size=8))
    body = draw(BODIES)
    length = draw(st.sampled_from([b"Content-Length: %d", b"l:%d", b"CONTENT-LENGTH \t:\r\n\t%d  "])) % len(body)
    lines.insert(draw(st.integers(0, len(lines))), length)
    return b"\r\n".join([draw(START_LINES), *lines, b"", b""]) + body


@given(messages(), st.binary(max_size=10))
def test_datagrams_are_written_as_read(data: bytes, trailing: bytes) -> None:
    message = parse_datagram_untrusted(data + trailing)
    assert message.to_bytes() == data
    assert message.copy().to_bytes() == data
    rebuilt = b"".join(f"{name}:{value}\r\n".encode("utf-8", "surrogateescape") for name, value in message.headers)
    assert data == message.start_line.encode("utf-8", "surrogateescape") + b"\r\n" + rebuilt + b"\r\n" + message.body


@given(st.lists(messages(), max_size=4), st.lists(st.integers(1, 60), max_size=40))
def test_streams_are_cut_the_same_however_they_arrive(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"\r\n\r\n".join(sent)
    parser, got, at = StreamParser(), [], 0
    for cut in [*cuts, len(stream)]:
        got += parser.feed(stream[at : at + cut])
        at += cut
    assert [message.to_bytes() for message in got] == sent
    assert parser.is_idle
    assert parser.keepalives == max(0, len(sent) - 1)


@given(messages(), st.data())
def test_removing_values_leaves_the_other_lines_alone(data: bytes, draws: st.DataObject) -> None:
    message = parse_datagram_untrusted(data)
    name = draws.draw(st.sampled_from(["Via", "Route", "Contact", "Supported"]))
    others = [line for line, key in zip(message.headers, message.keys, strict=True) if key != name.lower()]
    count = 0
    while name in message:
        message.remove_first_value(name)
        count += 1
        assert count <= len(data)
    assert list(message.headers) == others


def mutated(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, replacement in edits:
        at = place % (len(data) + 1)
        data = data[:at] + replacement + data[at + length :]
    return data


GOOD = (
    b"INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example:5060;rport;branch=z9hG4bKabc\r\nMax-Forwards: 70\r\n"
    b'From: "A" <sip:alice@a.example>;tag=88\r\nTo: <sip:bob@b.example>\r\nCall-ID: c1@a.example\r\nCSeq: 1 INVITE\r\n'
    b"Contact: <sip:alice@192.0.2.1>\r\nRoute: <sip:p1;lr>,\r\n <sip:p2;lr>\r\nContent-Length: 3\r\n\r\nabc"
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 500),
        st.integers(0, 8),
        st.one_of(st.binary(max_size=4), st.sampled_from([b"\r\n", b"\n", b",", b'"', b"<", b";", b":"])),
    ),
    max_size=4,
)


@given(EDITS)
def test_damaged_messages_raise_nothing_else(edits: list[tuple[int, int, bytes]]) -> None:
    data = mutated(GOOD, edits)
    try:
        message = parse_datagram_untrusted(data)
    except (MalformedMessage, VersionNotSupported) as error:
        if isinstance(error.request, Request):
            parse_datagram_untrusted(response_to(error.request, error.status, to_tag="t").to_bytes())
        return
    assert message.to_bytes() in data
    if isinstance(message, Request):
        stamp_received(message, ("2001:db8::1", 5060))
        parse_datagram_untrusted(message.to_bytes())
    try:
        if isinstance(message, Request):
            check_request(message)
        else:
            check_response(message)
    except SipError:
        return
    if isinstance(message, Request):
        answer = parse_datagram_untrusted(response_to(message, 200, to_tag="t").to_bytes())
        assert isinstance(answer, Response)
        check_response(answer)
        assert (answer.call_id, answer.cseq, answer.from_) == (message.call_id, message.cseq, message.from_)
        assert answer.top_via.received == "2001:db8::1"


@given(st.binary(max_size=300))
def test_noise_raises_nothing_else(data: bytes) -> None:
    for feed in (parse_datagram_untrusted, StreamParser().feed):
        try:
            feed(data)
        except (MalformedMessage, VersionNotSupported):
            pass


TEXT = st.text(max_size=60)


@given(TEXT)
def test_field_parsers_raise_nothing_else(text: str) -> None:
    for parse in (parse_name_addr, parse_tag, parse_via, parse_uri, parse_params, parse_cseq):
        try:
            parse(text)
        except MalformedMessage:
            pass
    assert all(element == element.strip(" \t") != "" for element in split_values(text))


PARAMS = st.lists(
    st.tuples(TOKEN, st.one_of(st.none(), TOKEN, TEXT.map(lambda t: '"' + t.replace("\\", "").replace('"', "") + '"'))),
    max_size=4,
).map(tuple)


@given(TEXT, PARAMS)
def test_addresses_are_read_as_written(display: str, params: tuple[tuple[str, str | None], ...]) -> None:
    address = NameAddr(display, "sip:alice@a.example;lr", params)
    assert parse_name_addr(str(address)) == address
    assert parse_tag(str(address)) == (address.param("tag") or "")
    assert parse_tag(f"{address};Tag=t;x") == "t"
    assert parse_params(format_params(params)) == params
    assert split_values(f"{address}, {address}") == [str(address)] * 2


USER = st.text("abcXYZ019-_.!~*'()&=+$,;?/", min_size=1, max_size=8)
URIS = st.builds(
    lambda scheme, user, host, port, params: f"{scheme}:{user}@{host}{port}{params}",
    st.sampled_from(["sip", "sips"]),
    USER,
    st.sampled_from(["h", "b.example", "192.0.2.1", "[2001:db8::1]"]),
    st.sampled_from(["", ":5060", ":65535"]),
    st.lists(st.sampled_from([";lr", ";transport=tcp", ";x=%20", ";ob"]), max_size=3, unique=True).map("".join),
)


@given(URIS, URIS)
def test_uris(one: str, other: str) -> None:
    uri = parse_uri(one)
    assert str(uri) == one
    assert same_uri(uri, parse_uri(one))
    assert same_uri(uri, parse_uri(other)) == same_uri(parse_uri(other), uri)
