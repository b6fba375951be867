"""The lab's BFCP and T.38 ends against other readers: libre, spandsp, tshark, and OpenSSL's own TLS and DTLS."""

from __future__ import annotations

import asyncio
import ctypes
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from pcscf.lab import tls
from pcscf.lab.bfcp import (
    ErrorCode,
    Group,
    Kind,
    Message,
    Number,
    Octets,
    Primitive,
    RequestStatus,
    Text,
    error_code,
    parse_message_untrusted,
    request_status,
    supported,
)
from pcscf.lab.bfcp_session import Conference, FloorParticipant, FloorServer
from pcscf.lab.datagrams import Datagrams, DtlsDatagrams, PlainDatagrams, UdpSocket
from pcscf.lab.fax_session import FaxSession
from pcscf.lab.medium import MediaFailedError, SessionClosedError
from pcscf.lab.secure import Layer, SecureEnd
from pcscf.lab.streams import Listener, PlainStream, Stream, dial, secure_stream
from pcscf.lab.t38 import (
    Data,
    Field,
    FieldType,
    Ifp,
    Indicator,
    Modulation,
    Udptl,
    encode_ifp,
    parse_ifp_untrusted,
    parse_udptl_untrusted,
)
from pcscf.lab.tap import Address, NoTap
from pcscf.observe.pcap import PcapWriter
from tests.support.foreign import FaxMachine, Libre, Spandsp
from tests.support.peers import require_peer
from tests.support.tshark import dissect, malformed

PATIENCE = 30
OURS, THEIRS = tls.self_signed("the lab"), tls.self_signed("openssl")
CONFERENCE = Conference(100, 200, (3,))

GRANTED = Group(Kind.FLOOR_REQUEST_INFORMATION, 789, (
    Group(Kind.OVERALL_REQUEST_STATUS, 789, (request_status(RequestStatus.GRANTED, 2), Text(Kind.STATUS_INFO, "go on"))),
    Group(Kind.FLOOR_REQUEST_STATUS, 3),
    Group(Kind.BENEFICIARY_INFORMATION, 9, (Text(Kind.USER_DISPLAY_NAME, "Bob"), Text(Kind.USER_URI, "sip:bob@ims.example"))),
    Octets(Kind.PRIORITY, b"\x40\x00"),
))


# BFCP

@pytest.mark.parametrize(("message", "words"), [
    (Message(Primitive.HELLO, 100, 1, 200), ["Hello (confid=100 tid=1 userid=200)"]),
    (Message(Primitive.HELLO_ACK, 100, 1, 200, supported((Primitive.HELLO, Primitive.ERROR), (Kind.FLOOR_ID, Kind.USER_URI))),
     ["*SUPPORTED-PRIMITIVES 2: Hello Error", "*SUPPORTED-ATTRIBUTES 2: FLOOR-ID USER-URI"]),
    (Message(Primitive.FLOOR_REQUEST, 100, 2, 200, (Number(Kind.FLOOR_ID, 3), Text(Kind.PARTICIPANT_PROVIDED_INFO, "may I"))),
     ["*FLOOR-ID 3", 'PARTICIPANT-PROVIDED-INFO "may I"']),
    (Message(Primitive.FLOOR_REQUEST_STATUS, 100, 2, 200, (GRANTED,)),
     ["*FLOOR-REQUEST-INFORMATION floor-request-id=789", "*OVERALL-REQUEST-STATUS floor-request-id=789",
      "*REQUEST-STATUS Granted (3), qpos=2", 'STATUS-INFO "go on"', "*FLOOR-REQUEST-STATUS floor-id=3",
      "*BENEFICIARY-INFORMATION beneficiary-id=9", 'USER-DISPLAY-NAME "Bob"', 'USER-URI "sip:bob@ims.example"', "*PRIORITY 2"]),
    (Message(Primitive.FLOOR_RELEASE, 100, 3, 200, (Number(Kind.FLOOR_REQUEST_ID, 789),)), ["*FLOOR-REQUEST-ID 789"]),
    (Message(Primitive.ERROR, 100, 4, 200, (error_code(ErrorCode.FLOOR_UNKNOWN), Text(Kind.ERROR_INFO, "no"))),
     ["*ERROR-CODE 6 (Invalid Floor ID)", 'ERROR-INFO "no"']),
], ids=lambda value: value.name if isinstance(value, Message) else "")
@pytest.mark.interop("libre", "BFCP messages of the lab decoded: every attribute, groups within groups")
def test_libre_reads_our_messages(message: Message, words: list[str]) -> None:
    require_peer("libre")
    told = re.sub(r"[ \t]+", " ", Libre().describe(message.to_bytes()))
    assert message.name in told
    for each in words:
        assert each in told


@pytest.mark.interop("libre", "BFCP messages of libre read by the lab")
def test_we_read_libre() -> None:
    require_peer("libre")
    floor = ctypes.c_uint16(3)
    octets = Libre().encode(1, 100, 2, 200, (2 | 0x80, ctypes.byref(floor)), (8, b"may I"))
    read = parse_message_untrusted(octets)
    assert read == Message(1, 100, 2, 200, (Number(2, 3), Text(8, "may I")))
    assert read.to_bytes() == octets
    status = (ctypes.c_int * 2)(3, 7)   # struct bfcp_reqstatus: an enum, then an octet
    octets = Libre().encode(4, 100, 2, 200, (5 | 0x80, ctypes.byref(status)))
    assert parse_message_untrusted(octets).attributes == (request_status(RequestStatus.GRANTED, 7),)


@dataclass
class Noted:
    """A stream or a way for datagrams whose traffic goes into a capture."""

    inner: Stream
    capture: PcapWriter

    @property
    def local(self) -> Address:
        return self.inner.local

    @property
    def peer(self) -> Address:
        return self.inner.peer

    async def read(self) -> bytes:
        data = await self.inner.read()
        self.capture.stream("in", data, self.local, self.peer)
        return data

    def write(self, data: bytes) -> None:
        self.capture.stream("out", data, self.local, self.peer)
        self.inner.write(data)

    def close(self) -> None:
        self.inner.close()


def tshark_fields(capture: Path, rule: str, *names: str) -> list[list[str]]:
    fields = [word for name in names for word in ("-e", name)]
    command = ["tshark", "-n", "-r", capture, "-d", rule, "-T", "fields", "-E", "separator=/t", *fields]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.interop("tshark", "a BFCP session of the lab: Hello, floor request, grant, status, release; nothing malformed")
async def test_tshark_reads_a_floor_request(tmp_path: Path) -> None:
    require_peer("tshark")
    capture = PcapWriter(tmp_path / "bfcp.pcap")
    listener = await Listener.open("127.0.0.1")
    pair = await dial(*listener.address)
    server = FloorServer(PlainStream(await listener.accept()), CONFERENCE, NoTap(), "call")
    participant = FloorParticipant(Noted(PlainStream(pair), capture), CONFERENCE, NoTap(), "call")
    async with asyncio.timeout(PATIENCE):
        await participant.greet()
        await participant.send_text("may I speak?")
        await server.send_text("you did")
        assert await participant.receive_text() == "you did"
    await participant.close()
    await server.close()
    listener.close()
    capture.close()
    rule = f"tcp.port=={listener.address[1]},bfcp"
    assert list(malformed(dissect(tmp_path / "bfcp.pcap", [rule]))) == []
    rows = tshark_fields(
        tmp_path / "bfcp.pcap", rule, "bfcp.primitive", "bfcp.conference_id", "bfcp.user_id", "bfcp.part_prov_info_text",
        "bfcp.status_info_text")
    seen = [row for row in rows if row[0]]
    assert {(row[1], row[2]) for row in seen} == {("100", "200")}
    assert [row[0] for row in seen if int(row[0]) in {1, 2, 11, 12}] == ["11", "12", "1", "2"]
    assert {row[0] for row in seen} == {"11", "12", "1", "2", "4", "8"}
    assert [row[3] for row in seen if row[0] == "1"] == ["may I speak?"]
    assert [row[4] for row in seen if row[0] == "8"] == ["you did"]


# T.38

PACKETS: list[Ifp] = [
    *Indicator,
    Data(Modulation.V21, (Field(FieldType.HDLC_DATA, b"\xff\xc8\x01\x00\x70\x0e"),)),
    Data(Modulation.V21, (Field(FieldType.HDLC_FCS_OK_SIG_END),)),
    Data(Modulation.V21, (Field(FieldType.HDLC_DATA, b"\xff"), Field(FieldType.HDLC_FCS_OK), Field(FieldType.HDLC_SIG_END))),
    Data(Modulation.V29_9600, (Field(FieldType.T4_NON_ECM_DATA, bytes(range(256))),)),
    Data(Modulation.V17_14400, (Field(FieldType.HDLC_FCS_BAD), Field(FieldType.T4_NON_ECM_SIG_END, b"end"))),
]


@pytest.mark.interop("spandsp", "T.38 packets of the lab decoded: every indicator, and data with and without fields of data")
def test_spandsp_reads_our_packets() -> None:
    require_peer("spandsp")
    spandsp = Spandsp()
    expected: list[tuple[object, ...]] = []
    for sequence, packet in enumerate(PACKETS):
        assert spandsp.take(encode_ifp(packet), sequence) == 0
        if isinstance(packet, Indicator):
            expected.append(("indicator", int(packet)))
        else:
            expected += [("data", int(packet.modulation), int(each.type), each.data) for each in packet.fields]
    silent = ("indicator", int(Indicator.NO_SIGNAL))   # which it does not tell of while there is none
    assert [each for each in spandsp.heard if each != silent] == [each for each in expected if each != silent]
    spandsp.close()


@pytest.mark.interop("spandsp", "T.38 packets of spandsp read by the lab")
def test_we_read_spandsp() -> None:
    """Fields without data are tried one at a time: its writer starts each at an octet, where its reader does not."""
    require_peer("spandsp")
    spandsp = Spandsp()
    for indicator in list(Indicator)[1:]:
        spandsp.send_indicator(indicator)
    sent = [parse_ifp_untrusted(octets) for octets in dict.fromkeys(spandsp.sent)]
    assert sent == list(Indicator)[1:]
    spandsp.sent.clear()
    made = [
        (Modulation.V21, (Field(FieldType.HDLC_DATA, b"\xff\xc8\x01"), Field(FieldType.HDLC_FCS_OK))),
        (Modulation.V27_2400, (Field(FieldType.HDLC_SIG_END),)),
        (Modulation.V17_9600, (Field(FieldType.T4_NON_ECM_DATA, bytes(range(200))), Field(FieldType.T4_NON_ECM_SIG_END, b"x"))),
    ]
    for modulation, fields in made:
        spandsp.send_data(modulation, [(each.type, each.data) for each in fields])
    packets = list(dict.fromkeys(spandsp.sent))
    assert [parse_ifp_untrusted(octets) for octets in packets] == [Data(*each) for each in made]
    assert [encode_ifp(Data(*each)) for each in made] == packets
    spandsp.close()


@dataclass
class NotedDatagrams:
    inner: Datagrams
    capture: PcapWriter

    @property
    def local(self) -> Address:
        return self.inner.local

    @property
    def peer(self) -> Address:
        return self.inner.peer

    def send(self, data: bytes) -> None:
        self.capture.datagram("out", data, self.local, self.peer)
        self.inner.send(data)

    async def receive(self) -> bytes:
        data = await self.inner.receive()
        self.capture.datagram("in", data, self.local, self.peer)
        return data

    def close(self) -> None:
        self.inner.close()


@pytest.mark.interop("tshark", "a fax of the lab's ends: UDPTL with redundancy, T.30 frames joined and named; nothing malformed")
async def test_tshark_reads_a_fax(tmp_path: Path) -> None:
    require_peer("tshark")
    capture = PcapWriter(tmp_path / "t38.pcap")
    ours, theirs = await UdpSocket.open("127.0.0.1"), await UdpSocket.open("127.0.0.1")
    wire = NotedDatagrams(PlainDatagrams(ours, theirs.local), capture)
    caller = FaxSession(wire, caller=True, limit=150, tap=NoTap(), flow="call")
    called = FaxSession(PlainDatagrams(theirs, ours.local), caller=False, limit=150, tap=NoTap(), flow="call")
    async with asyncio.timeout(PATIENCE):
        await caller.greet()
        await caller.send_text("a page")
        assert await called.receive_text() == "a page"
    await caller.close()
    await called.close()
    capture.close()
    rule = f"udp.port=={ours.local[1]},t38"
    frames = dissect(tmp_path / "t38.pcap", [rule])
    assert list(malformed(frames)) == []
    assert all("t38" in frame.layers for frame in frames)
    rows = tshark_fields(
        tmp_path / "t38.pcap", rule, "udp.srcport", "t30.FacsimileControl", "t38.t30_indicator", "t38.field_data",
        "t38.secondary_ifp_packets")
    said = [(int(port) == ours.local[1], int(fcf)) for port, fcf, *_ in rows if fcf]
    assert said[:5] == [(False, 0x01), (True, 0x41), (False, 0x21), (True, 0x71), (False, 0x31)], "DIS, DCS, CFR, EOM, MCF"
    assert (True, 0x5F) in said, "DCN"
    assert any(b"a page".hex() in data.split(",")[0] for *_, data, _ in rows)
    assert {row[4] for row in rows} == {"0", "1", "2"}


EOL = "000000000001"   # T.4 §4.1: codes of whole rows of 1,728 dots, the first bit sent is the highest
WHITE, BLACK = "010011011" + "00110101", "00110101" + "0000001100101" + "0000110111"
ROWS = ([WHITE] * 10 + [BLACK] * 10) * 10


def image(rows: list[str]) -> bytes:
    bits = "".join(EOL + row for row in rows) + EOL * 6
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def rows_of(octets: bytes) -> list[str]:
    bits = f"{int.from_bytes(octets):0{8 * len(octets)}b}"
    return [row for row in re.split("0{11,}1", bits) if row.strip("0")]


@dataclass
class ToMachine:
    """A way for datagrams to a fax machine that has IFP packets and no UDPTL; its clock runs five times as fast as ours."""

    machine: FaxMachine
    local: Address = ("lab", 1)
    peer: Address = ("spandsp", 2)

    def __post_init__(self) -> None:
        self._coming: asyncio.Queue[bytes] = asyncio.Queue()
        self._sequence = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.machine.wait(0.02)
            for packet in self.machine.outgoing:
                self._coming.put_nowait(Udptl(self._sequence, packet).to_bytes())
                self._sequence += 1
            self.machine.outgoing.clear()
            await asyncio.sleep(0.004)

    def send(self, data: bytes) -> None:
        packet = parse_udptl_untrusted(data)
        assert self.machine.take(packet.primary, packet.sequence) == 0

    async def receive(self) -> bytes:
        return await self._coming.get()

    def close(self) -> None:
        """The machine goes on: it has an end of its own."""

    async def completed(self) -> int:
        while self.machine.completed is None:
            await asyncio.sleep(0.01)
        self._task.cancel()
        self.machine.close()
        return self.machine.completed


@pytest.mark.interop("spandsp", "a page to a fax machine of spandsp and one from it: T.30 over T.38, images in T.4, confirmed")
async def test_a_fax_machine(tmp_path: Path) -> None:
    require_peer("spandsp")
    async with asyncio.timeout(2 * PATIENCE):
        way = ToMachine(FaxMachine(caller=False, receives=tmp_path / "page.tif"))
        fax = FaxSession(way, caller=True, limit=150, tap=NoTap(), flow="call")
        await fax.greet()
        await fax.send_page(image(ROWS))
        await fax.close()
        assert await way.completed() == 0
        assert fax.counted.lost == 0

        way = ToMachine(FaxMachine(caller=True, sends=tmp_path / "page.tif"))
        fax = FaxSession(way, caller=False, limit=150, tap=NoTap(), flow="call")
        assert rows_of(await fax.receive_page()) == ROWS
        assert await way.completed() == 0
        with pytest.raises(SessionClosedError, match="disconnected"):
            await fax.receive_page()
        await fax.close()


# TLS and DTLS

def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Openssl:
    process: asyncio.subprocess.Process

    async def until(self, *words: str) -> str:
        told = b""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not all(word.encode() in told for word in words):
                some = await self.process.stdout.read(4096)
                assert some, told.decode(errors="replace")
                told += some
        return told.decode(errors="replace")

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())


@asynccontextmanager
async def openssl(tmp_path: Path, *arguments: str) -> AsyncIterator[Openssl]:
    """Its standard input stays open, without which it ends."""
    (tmp_path / "peer.pem").write_bytes(THEIRS.certificate + THEIRS.key)
    process = await asyncio.create_subprocess_exec(
        "openssl", *arguments, "-cert", str(tmp_path / "peer.pem"), "-key", str(tmp_path / "peer.pem"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Openssl(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


EXPECTED = (THEIRS.fingerprint(),)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.interop("openssl", "{version} of the lab's BFCP ends as {role}, certificates of both sides compared")
async def test_tls_with_openssl(role: Literal["client", "server"], version: str, tmp_path: Path) -> None:
    require_peer("openssl")
    listener = await Listener.open("127.0.0.1")
    if role == "client":
        where = ["s_server", "-accept", f"127.0.0.1:{free_port(socket.SOCK_STREAM)}", "-Verify", "1", version]
    else:
        where = ["s_client", "-connect", f"127.0.0.1:{listener.address[1]}", version]
    async with openssl(tmp_path, *where) as peer, asyncio.timeout(PATIENCE):
        if role == "client":
            await peer.until("ACCEPT")
            pair = await dial("127.0.0.1", int(where[2].rpartition(":")[2]))
        else:
            pair = await listener.accept()
        stream, facts = await secure_stream(pair, OURS, EXPECTED, server=role == "server", tap=NoTap(), flow="call")
        assert facts.peer_fingerprint == " ".join(THEIRS.fingerprint())
        assert facts.version == ("TLSv1.2" if version == "-tls1_2" else "TLSv1.3")
        stream.write(b"from the lab\n")
        assert "the lab" in await peer.until("from the lab")
        peer.say("from openssl\n")
        assert await stream.read() == b"from openssl\n"
        stream.close()
    listener.close()


@pytest.mark.interop("openssl", "the lab's TLS ends say nothing to a certificate that the SDP does not name")
async def test_tls_with_another_certificate(tmp_path: Path) -> None:
    require_peer("openssl")
    listener = await Listener.open("127.0.0.1")
    async with openssl(tmp_path, "s_client", "-connect", f"127.0.0.1:{listener.address[1]}"), asyncio.timeout(PATIENCE):
        with pytest.raises(MediaFailedError, match="not the one"):
            await secure_stream(
                await listener.accept(), OURS, (OURS.fingerprint(),), server=True, tap=NoTap(), flow="call")
    listener.close()


async def dtls(peer: Address, ours: UdpSocket, expected: tuple[tls.Fingerprint, ...], *, server: bool) -> DtlsDatagrams:
    return DtlsDatagrams(ours, peer, SecureEnd(Layer.DTLS, OURS, expected, server=server))


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.interop("openssl", "DTLS 1.2 of the lab's fax ends as {role}, certificates of both sides compared")
async def test_dtls_with_openssl(role: Literal["client", "server"], tmp_path: Path) -> None:
    require_peer("openssl")
    ours, port = await UdpSocket.open("127.0.0.1"), free_port(socket.SOCK_DGRAM)
    if role == "client":
        where = ["s_server", "-dtls1_2", "-accept", f"127.0.0.1:{port}", "-Verify", "1"]
    else:
        where = ["s_client", "-dtls1_2", "-connect", f"127.0.0.1:{ours.local[1]}", "-bind", f"127.0.0.1:{port}"]
    async with openssl(tmp_path, *where) as peer, asyncio.timeout(PATIENCE):
        if role == "client":
            await peer.until("ACCEPT")
        way = await dtls(("127.0.0.1", port), ours, EXPECTED, server=role == "server")
        facts = await way.prove()
        assert (facts.version, facts.peer_fingerprint) == ("DTLSv1.2", " ".join(THEIRS.fingerprint()))
        for number in range(3):
            way.send(f"datagram {number}\n".encode())
        told = await peer.until(*(f"datagram {number}" for number in range(3)))
        assert "the lab" in told or role == "server"
        for number in range(3):
            peer.say(f"line {number}\n")
            assert await way.receive() == f"line {number}\n".encode()
        way.close()
        await asyncio.sleep(0)


@pytest.mark.interop("openssl", "the lab's DTLS ends say nothing to a certificate that the SDP does not name")
async def test_dtls_with_another_certificate(tmp_path: Path) -> None:
    require_peer("openssl")
    ours, port = await UdpSocket.open("127.0.0.1"), free_port(socket.SOCK_DGRAM)
    where = ["s_server", "-dtls1_2", "-accept", f"127.0.0.1:{port}", "-Verify", "1"]
    async with openssl(tmp_path, *where) as peer, asyncio.timeout(PATIENCE):
        await peer.until("ACCEPT")
        way = await dtls(("127.0.0.1", port), ours, (OURS.fingerprint(),), server=False)
        with pytest.raises(MediaFailedError, match="not the one"):
            await way.prove()
        way.close()


async def test_dtls_that_the_peer_closes(tmp_path: Path) -> None:
    require_peer("openssl")
    ours, port = await UdpSocket.open("127.0.0.1"), free_port(socket.SOCK_DGRAM)
    where = ["s_client", "-dtls1_2", "-connect", f"127.0.0.1:{ours.local[1]}", "-bind", f"127.0.0.1:{port}"]
    async with openssl(tmp_path, *where) as peer, asyncio.timeout(PATIENCE):
        way = await dtls(("127.0.0.1", port), ours, EXPECTED, server=True)
        await way.prove()
        peer.say("Q\n")
        with pytest.raises(SessionClosedError):
            await way.receive()
        way.close()


