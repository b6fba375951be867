"""What we encode is read by two decoders that are not ours: megaco of Erlang/OTP, and tshark."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pcscf.h248.codec import encode_compact, encode_pretty
from pcscf.h248.message import Message
from tests.interop.h248_messages import MESSAGES
from tests.support.peers import require_peer

ENCODERS = pytest.mark.parametrize("encode", [encode_compact, encode_pretty])
PORT = 2944


def _file_name(name: str) -> str:
    return name.replace(" ", "-")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[str]]:
    """Decodes the files of a folder with Erlang; a line for each."""
    require_peer("erl", "erlc", "megaco")
    beams = tmp_path_factory.mktemp("beams")
    source = Path(__file__).parent / "erlang" / "megaco_decode.erl"
    subprocess.run(["erlc", "-o", beams, source], check=True)

    def decode(folder: Path) -> list[str]:
        command = ["erl", "-noshell", "-pa", beams, "-s", "megaco_decode", "main", folder]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    return decode


@ENCODERS
@pytest.mark.interop("megaco", "decodes every kind of message that we write, pretty and compact")
def test_erlang_reads_every_message(
    encode: Callable[[Message], bytes], decoder: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    for name, message in MESSAGES.items():
        (tmp_path / _file_name(name)).write_bytes(encode(message))
    assert decoder(tmp_path) == sorted(f"OK {_file_name(name)}" for name in MESSAGES)


def test_the_erlang_decoder_does_refuse(decoder: Callable[[Path], list[str]], tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(encode_compact(MESSAGES["release"])[:-1])
    (line,) = decoder(tmp_path)
    assert line.startswith("ERROR broken ")


@ENCODERS
@pytest.mark.interop("tshark", "dissects every kind of H.248 message that we write, pretty and compact")
def test_tshark_dissects_every_message(encode: Callable[[Message], bytes], tmp_path: Path) -> None:
    require_peer("tshark", "text2pcap")
    dump = tmp_path / "dump.txt"
    capture = tmp_path / "capture.pcap"
    lines = []
    for message in MESSAGES.values():
        octets = encode(message)
        lines += [f"{offset:06x} " + octets[offset : offset + 16].hex(" ") for offset in range(0, len(octets), 16)]
    dump.write_text("\n".join(lines) + "\n")
    subprocess.run(["text2pcap", "-q", "-u", f"{PORT},{PORT}", dump, capture], check=True, capture_output=True)
    shown = subprocess.run(["tshark", "-r", capture, "-V", "-O", "megaco,sdp"], check=True, capture_output=True, text=True).stdout
    assert shown.count("MEGACO") >= len(MESSAGES)
    assert re.findall(r".*(?:Malformed|[Ii]nvalid SDP|[Uu]nparsable|Sorry|[Pp]arse error).*", shown) == []
