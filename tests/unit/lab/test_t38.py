"""T.38's octets: by hand from the ASN.1 of T.38 annex A (first version), there and back again, losses, and noise."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.lab.t38 import (
    Data,
    Field,
    FieldType,
    Ifp,
    Indicator,
    Modulation,
    Sequencer,
    T38Error,
    Udptl,
    encode_ifp,
    parse_ifp_untrusted,
    parse_udptl_untrusted,
    redundant,
)

DIS = bytes.fromhex("ffc801")

IFP_BY_HAND: list[tuple[str, Ifp]] = [
    ("00", Indicator.NO_SIGNAL),
    ("04", Indicator.CED),
    ("06", Indicator.V21_PREAMBLE),
    ("1e", Indicator.V17_14400_LONG_TRAINING),
    # 1 data-field, 1 t30-data, 0 no extension, 0000 V.21, 0; one field: 1 with data, 000 hdlc-data, 0000; length less one
    ("c0 01 80 0002 ffc801", Data(Modulation.V21, (Field(FieldType.HDLC_DATA, DIS),))),
    # two fields without data share an octet: 0 010, 0 001
    ("c0 03 80 0002 ffc801 21",
     Data(Modulation.V21, (Field(FieldType.HDLC_DATA, DIS), Field(FieldType.HDLC_FCS_OK), Field(FieldType.HDLC_SIG_END)))),
    ("c8 01 70", Data(Modulation.V29_9600, (Field(FieldType.T4_NON_ECM_SIG_END),))),
    # a field with data behind one without: its flags stand in the middle of the octet, its length in whole ones
    ("d0 02 2e 0000 aa",
     Data(Modulation.V17_14400, (Field(FieldType.HDLC_FCS_OK), Field(FieldType.T4_NON_ECM_DATA, b"\xaa")))),
    ("40", Data(Modulation.V21, ())),
]


@pytest.mark.parametrize(("octets", "packet"), IFP_BY_HAND)
def test_ifp_is_read(octets: str, packet: Ifp) -> None:
    assert parse_ifp_untrusted(bytes.fromhex(octets)) == packet


@pytest.mark.parametrize(("octets", "packet"), IFP_BY_HAND[:-1])
def test_ifp_is_written(octets: str, packet: Ifp) -> None:
    assert encode_ifp(packet) == bytes.fromhex(octets)


@pytest.mark.parametrize(("octets", "packet"), [
    ("0007 01 04 00 00", Udptl(7, b"\x04")),
    ("ffff 01 04 00 02 01 06 02 c000", Udptl(0xFFFF, b"\x04", (b"\x06", b"\xc0\x00"))),
    ("0000 8080" + "aa" * 128 + "00 00", Udptl(0, b"\xaa" * 128)),
])
def test_udptl(octets: str, packet: Udptl) -> None:
    assert packet.to_bytes() == bytes.fromhex(octets)
    assert parse_udptl_untrusted(bytes.fromhex(octets)) == packet


def test_fec_is_passed_over() -> None:
    """fec-npackets 3, fec-data of one octet string."""
    assert parse_udptl_untrusted(bytes.fromhex("0009 01 04 80 01 03 01 02 beef")) == Udptl(9, b"\x04", fec=True)


@pytest.mark.parametrize("octets", ["", "00", "0001 05 04", "0001 01 04", "0001 01 04 00 01", "0001 c1 04", "0001 01 04 00 7f",
                                    "0001 01 04 00 00 00", "0001 01 04 80 01 03 7f"])
def test_what_is_no_udptl(octets: str) -> None:
    with pytest.raises(T38Error):
        parse_udptl_untrusted(bytes.fromhex(octets))


@pytest.mark.parametrize("octets", ["", "20", "84 00", "04 00", "d2 00", "c0", "c0 7f", "c0 01", "c0 01 80", "c0 01 80 0002 ff",
                                    "c0 01 80 ffff"])
def test_what_is_no_ifp(octets: str) -> None:
    with pytest.raises(T38Error):
        parse_ifp_untrusted(bytes.fromhex(octets))


FIELDS = st.builds(Field, st.sampled_from(FieldType), st.binary(max_size=200))
IFPS = st.one_of(
    st.sampled_from(Indicator),
    st.builds(Data, st.sampled_from(Modulation), st.lists(FIELDS, min_size=1, max_size=9).map(tuple)),
)
SECONDARIES = st.lists(st.binary(max_size=200), max_size=5).map(tuple)
PACKETS = st.builds(Udptl, st.integers(0, 65_535), st.binary(max_size=300), SECONDARIES)


@given(IFPS)
def test_ifp_that_is_written_is_read(packet: Ifp) -> None:
    assert parse_ifp_untrusted(encode_ifp(packet)) == packet


@given(PACKETS)
def test_udptl_that_is_written_is_read(packet: Udptl) -> None:
    assert parse_udptl_untrusted(packet.to_bytes()) == packet


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda noise: b"\xc0\x02" + noise))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    for read in (parse_ifp_untrusted, parse_udptl_untrusted):
        try:
            read(noise)
        except T38Error:
            continue
    Sequencer().take_untrusted(noise)


def stream(count: int, redundancy: int, start: int = 0) -> list[bytes]:
    """Datagrams whose IFP packets are their numbers."""
    contents = [index.to_bytes(2) for index in range(count)]
    return [
        Udptl((start + index) % 65_536, contents[index], tuple(reversed(contents[max(0, index - redundancy):index]))).to_bytes()
        for index in range(count)
    ]


@given(st.integers(0, 3), st.sets(st.integers(0, 18)))
def test_what_redundancy_covers_is_recovered(redundancy: int, dropped: set[int]) -> None:
    """Gaps no longer than the redundancy vanish; of longer ones the latest packets come back."""
    sequencer = Sequencer()
    arrived = [datagram for index, datagram in enumerate(stream(20, redundancy)) if index not in dropped]
    got = [int.from_bytes(packet) for datagram in arrived for packet in sequencer.take_untrusted(datagram)]
    carriers = {index: set(range(index, min(index + redundancy + 1, 20))) for index in range(20)}
    expected = [index for index in range(20) if carriers[index] - dropped]
    assert got == expected
    assert sequencer.recovered == len(dropped & set(expected))
    assert sequencer.lost == 20 - len(expected)


@given(st.permutations(range(12)))
def test_order_and_doubles_do_not_matter_with_full_redundancy(order: list[int]) -> None:
    sequencer, sent = Sequencer(), stream(12, 12)
    got = [packet for index in itertools.chain.from_iterable((each, each) for each in order)
           for packet in sequencer.take_untrusted(sent[index])]
    assert [int.from_bytes(packet) for packet in got] == list(range(12))


def test_numbers_start_anew_after_the_last() -> None:
    sequencer = Sequencer()
    sequencer.take_untrusted(Udptl(32_767, b"").to_bytes())
    sequencer.take_untrusted(Udptl(65_533, b"").to_bytes())
    lost = sequencer.lost
    got = [packet for datagram in stream(4, 0, start=65_534) for packet in sequencer.take_untrusted(datagram)]
    assert [int.from_bytes(packet) for packet in got] == [0, 1, 2, 3]
    assert sequencer.lost == lost


def test_a_datagram_carries_as_much_redundancy_as_it_may() -> None:
    earlier = [bytes(50), bytes(50)]
    assert len(redundant(5, bytes(50), earlier, 200).secondaries) == 2
    assert len(redundant(5, bytes(50), earlier, 120).secondaries) == 1
    assert redundant(5, bytes(50), earlier, 60).secondaries == ()
    assert all(len(redundant(5, bytes(50), earlier, limit).to_bytes()) <= limit for limit in range(60, 200))
