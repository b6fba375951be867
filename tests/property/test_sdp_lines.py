"""Any octets: parsing fails in the documented way or is undone by serialising; an edit is seen by its reader and by none else."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import MalformedSdp
from pcscf.sdp.lines import MAX_PORT, Sdp, parse_sdp_untrusted
from pcscf.sdp.views import (
    HASH_OCTETS,
    connection_host,
    msrp_uri_address,
    parse_fingerprint,
    path_uris,
    setup,
    usable_fingerprints,
)

TEXT = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20)
NAMES = st.sampled_from(["setup", "Setup", "fingerprint", "x", "3ge2ae", "path", "connection"])
ATTRIBUTES = st.one_of(NAMES, st.builds("{}:{}".format, NAMES, TEXT)).map("a={}".format)
OTHERS = st.builds("{}={}".format, st.sampled_from("vosiuepcbtrzk"), TEXT)
MEDIA = st.builds(
    "m={} {} {} {}".format,
    st.sampled_from(["audio", "message", "image"]),
    st.one_of(st.integers(0, MAX_PORT), st.builds("{}/{}".format, st.integers(0, MAX_PORT), st.integers(1, 9))),
    st.sampled_from(["RTP/AVP", "TCP/MSRP", "TCP/TLS/MSRP", "udptl"]),
    st.sampled_from(["*", "0 8 101", "t38"]),
)
LINES = st.lists(st.one_of(ATTRIBUTES, ATTRIBUTES, OTHERS, MEDIA), max_size=25)
ENDINGS = st.sampled_from(["\r\n", "\n"])


@st.composite
def descriptions(draw: st.DrawFn) -> bytes:
    endings = draw(st.one_of(ENDINGS.map(st.just), st.just(ENDINGS)))
    text = "".join(f"{line}{draw(endings)}" for line in ["v=0", *draw(LINES)])
    return text.encode("latin-1") + draw(st.sampled_from([b"", b"\r\n", b"\n\n"]))


def read_everything(sdp: Sdp) -> None:
    for section in sdp.media:
        setup(sdp, section)
        connection_host(sdp, section)
        for uri in path_uris(section):
            msrp_uri_address(uri)
        usable_fingerprints(section.values("fingerprint"), "sha-1")


@given(descriptions())
def test_serialising_undoes_parsing(data: bytes) -> None:
    sdp = parse_sdp_untrusted(data)
    assert sdp.to_bytes() == data
    assert sdp.copy().to_bytes() == data
    read_everything(sdp)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: b"v=0\r\n" + data)))
def test_any_octets_fail_in_the_documented_way(data: bytes) -> None:
    with contextlib.suppress(MalformedSdp):
        sdp = parse_sdp_untrusted(data)
        assert sdp.to_bytes() == data
        read_everything(sdp)


@given(descriptions(), st.integers(0, MAX_PORT), st.lists(TEXT.map(str.strip), max_size=3))
def test_an_edit_survives_the_wire_and_spares_the_rest(data: bytes, port: int, values: list[str]) -> None:
    sdp = parse_sdp_untrusted(data)
    before = [[line for line in section.lines[1:] if not _is_setup(line)] for section in sdp.media]
    for section in sdp.media:
        section.set_media(port, "TCP/MSRP")
        section.set_attributes({"setup": values})
    again = parse_sdp_untrusted(sdp.to_bytes())
    # With the last bare LF gone, what is left of mixed line endings is read as CRLF alone.
    assert [line.rstrip("\r") for line in again.session.lines] == [line.rstrip("\r") for line in sdp.session.lines]
    for section, edited, kept in zip(again.media, sdp.media, before, strict=True):
        assert (section.port, section.proto) == (port, "TCP/MSRP")
        assert section.values("setup") == edited.values("setup") == tuple(values)
        assert [line.rstrip("\r") for line in section.lines[1:] if not _is_setup(line)] == [
            line.rstrip("\r") for line in kept
        ]


def _is_setup(line: str) -> bool:
    return line[:2] == "a=" and line[2:].partition(":")[0].strip().lower() == "setup"


@given(st.sampled_from(sorted(HASH_OCTETS)), st.binary(min_size=1, max_size=70), st.booleans())
def test_fingerprints_count_only_with_the_octets_of_their_hash(name: str, octets: bytes, upper: bool) -> None:
    text = octets.hex(":").upper() if upper else octets.hex(":")
    parsed = parse_fingerprint(f"{name.upper()} {text}")
    assert parsed == ((name, octets.hex(":").upper()) if len(octets) == HASH_OCTETS[name] else None)
