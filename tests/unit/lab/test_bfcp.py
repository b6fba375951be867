"""BFCP's octets: by hand from the figures of RFC 8855 §5, there and back again, and noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.lab.bfcp import (
    MAX_ATTRIBUTES,
    MAX_PAYLOAD_BYTES,
    BfcpError,
    ErrorCode,
    Group,
    Kind,
    Message,
    Number,
    Octets,
    Parser,
    Primitive,
    RequestStatus,
    Text,
    error_code,
    number_of,
    parse_message_untrusted,
    request_status,
    status_of,
    supported,
    text_of,
    unknown_mandatory,
)

# Header: version 1 in three bits, reserved, primitive, length in words, conference, transaction, user.
# Attribute: type in seven bits, M, length with this header and without the padding.
BY_HAND = [
    ("20 0b 0000 00000064 0001 00c8", Message(Primitive.HELLO, 100, 1, 200)),
    ("20 01 0003 00000064 0002 00c8   05 04 0001   10 05 616263 000000",
     Message(Primitive.FLOOR_REQUEST, 100, 2, 200, (Number(Kind.FLOOR_ID, 1), Text(Kind.PARTICIPANT_PROVIDED_INFO, "abc")))),
    ("20 02 0001 ffffffff ffff ffff   07 04 0315",
     Message(Primitive.FLOOR_RELEASE, 0xFFFFFFFF, 0xFFFF, 0xFFFF, (Number(Kind.FLOOR_REQUEST_ID, 789),))),
    ("20 04 0004 00000064 0002 00c8   1f 10 0315   25 0c 0315   0b 04 0300   12 04 6f6b",
     Message(Primitive.FLOOR_REQUEST_STATUS, 100, 2, 200, (
         Group(Kind.FLOOR_REQUEST_INFORMATION, 789, (
             Group(Kind.OVERALL_REQUEST_STATUS, 789, (
                 request_status(RequestStatus.GRANTED), Text(Kind.STATUS_INFO, "ok"))),)),))),
    ("20 0d 0001 00000001 0009 0007   0d 04 04 aa",
     Message(Primitive.ERROR, 1, 9, 7, (error_code(ErrorCode.MANDATORY_ATTRIBUTE_UNKNOWN, b"\xaa"),))),
]


@pytest.mark.parametrize(("octets", "message"), BY_HAND)
def test_by_hand(octets: str, message: Message) -> None:
    assert message.to_bytes() == bytes.fromhex(octets)
    assert parse_message_untrusted(bytes.fromhex(octets)) == message


def test_lists_of_what_is_supported() -> None:
    """A primitive takes an octet, a type of attribute the upper seven bits of one (RFC 8855 §5.2.10, §5.2.11)."""
    message = Message(Primitive.HELLO_ACK, 1, 1, 1, supported((Primitive.HELLO, Primitive.HELLO_ACK), (Kind.FLOOR_ID,)))
    assert message.to_bytes()[12:].hex(" ") == "17 04 0b 0c 15 03 04 00"


def test_names_and_what_stands_in_groups() -> None:
    message = parse_message_untrusted(bytes.fromhex(BY_HAND[3][0]))
    assert message.name == "FloorRequestStatus"
    assert status_of(message) == (789, RequestStatus.GRANTED)
    assert text_of(message, Kind.STATUS_INFO) == "ok"
    assert number_of(message, Kind.FLOOR_ID) is None
    assert Message(99, 1, 1, 1).name == "primitive 99"
    assert status_of(Message(4, 1, 1, 1, (Group(15, 1, (Octets(5, b"\x09\x00"),)),))) is None


def test_unknown_attributes_are_kept_and_named_where_mandatory() -> None:
    attributes = (Octets(100, b"x", mandatory=True), Octets(101, b"", mandatory=False), Number(Kind.FLOOR_ID, 3))
    message = Message(Primitive.FLOOR_REQUEST, 1, 1, 1, attributes)
    assert parse_message_untrusted(message.to_bytes()) == message
    assert unknown_mandatory(message.attributes) == (100,)


def head(payload: str, *, first: int = 0x20) -> bytes:
    octets = bytes.fromhex(payload)
    return bytes([first, 1]) + (len(octets) // 4).to_bytes(2) + bytes(8) + octets


@pytest.mark.parametrize(("octets", "why"), [
    (b"\x20\x01", "header"),
    (head("", first=0x40), "version 2"),
    (head("", first=0x28), "fragment"),
    (head("05 04 0001") + b"extra", "Payload Length"),
    (head("05 00 0001"), "impossible length"),
    (head("05 08 0001"), "impossible length"),
    (head("05 03 0100"), "no Unsigned16"),
    (head("10 04 ffff"), "UTF-8"),
    (head("1f 03 0100"), "no ID"),
    (head("1f 18 0001" + "1f 14 0001" + "1f 10 0001" + "1f 0c 0001" + "1f 08 0001" + "1f 04 0001"), "nested"),
    (head("10 02 0000" * (MAX_ATTRIBUTES + 1)), "too many"),
    (head("00" * (MAX_PAYLOAD_BYTES + 4)), "too long"),
])
def test_what_is_no_bfcp(octets: bytes, why: str) -> None:
    with pytest.raises(BfcpError, match=why):
        parse_message_untrusted(octets)


@pytest.mark.parametrize("attribute", [Text(Kind.STATUS_INFO, "x" * 254), Octets(100, bytes(254))])
def test_too_long_an_attribute_cannot_be_written(attribute: Text | Octets) -> None:
    with pytest.raises(ValueError, match="255 fit"):
        Message(1, 1, 1, 1, (attribute,)).to_bytes()


IDS = st.integers(0, 0xFFFF)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
PLAIN = st.one_of(
    st.builds(Number, st.sampled_from([2, 3, 1]), IDS, st.booleans()),
    st.builds(Text, st.sampled_from([7, 8, 9, 12, 13]), TEXTS, st.booleans()),
    st.builds(Octets, st.sampled_from([4, 5, 6, 10, 11, 19, 127]), st.binary(max_size=20), st.booleans()),
)
GROUPS = st.builds(Group, st.integers(14, 18), IDS, st.lists(PLAIN, max_size=3).map(tuple), st.booleans())
MESSAGES = st.builds(
    Message, st.integers(0, 255), st.integers(0, 0xFFFFFFFF), IDS, IDS, st.lists(PLAIN | GROUPS, max_size=6).map(tuple))


@given(MESSAGES)
def test_what_is_written_is_read(message: Message) -> None:
    assert parse_message_untrusted(message.to_bytes()) == message


@given(st.lists(MESSAGES, max_size=4), st.integers(1, 40))
def test_a_stream_may_be_cut_anywhere(messages: list[Message], size: int) -> None:
    parser, stream = Parser(), b"".join(message.to_bytes() for message in messages)
    read = [message for start in range(0, len(stream), size) for message in parser.feed(stream[start:start + size])]
    assert read == messages


@given(st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=20).map(lambda payload: head((payload + bytes(-len(payload) % 4)).hex())),
    st.tuples(MESSAGES, st.integers(0, 200), st.integers(0, 255)).map(lambda made: _harmed(*made)),
))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    for read in (parse_message_untrusted, Parser().feed):
        try:
            read(noise)
        except BfcpError:
            continue


def _harmed(message: Message, place: int, octet: int) -> bytes:
    octets = bytearray(message.to_bytes())
    octets[place % len(octets)] = octet
    return bytes(octets)


def test_a_hopeless_stream_is_given_up_at_its_header() -> None:
    with pytest.raises(BfcpError, match="too long"):
        Parser().feed(bytes.fromhex("2001ffff") + bytes(8))
