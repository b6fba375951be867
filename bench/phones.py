"""UEs that register, as many as wanted, each from an address and port of its own, and the registrar behind the P-CSCF.

Sockets are opened one after the other and closed again: a UE is known by its flow, not by a socket that stays open.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

from bench.messages import with_body
from bench.process import Failure

COPIED = (b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:", b"Contact:")
PATIENCE = 2.0   # seconds
TRIES = 5
PORTS_PER_ADDRESS = 5_000

REGISTER = """
    REGISTER sip:ims.example SIP/2.0
    Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKr{number}x{stamp};rport
    Max-Forwards: 70
    From: <sip:{user}@ims.example>;tag=r{number}
    To: <sip:{user}@ims.example>
    Call-ID: registration{number}x{stamp}@{host}
    CSeq: 1 REGISTER
    Contact: <sip:{user}@{host}:{port}>;expires=7200;+g.oma.sip-im
    Authorization: Digest username="{user}@ims.example", realm="ims.example", uri="sip:ims.example", nonce="", response=""
    Require: mediasec
    Proxy-Require: mediasec
    Security-Client: msrp-tls;mediasec
    Supported: path, outbound, gruu
    User-Agent: handset/4.2 (bench)
    """


def sources(count: int) -> Iterator[tuple[str, int]]:
    """Addresses and ports of `count` UEs: 127.1.0.1:20000 … , so that none is on an address that anything else uses."""
    for number in range(count):
        network, place = divmod(number, PORTS_PER_ADDRESS)
        yield f"127.1.{network // 250}.{network % 250 + 1}", 20_000 + place


class Registrar:
    """Answers every REGISTER with a 200, at the core's port, while it is open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = _udp(("127.0.0.1", port))

    def answer(self) -> None:
        """Wait for one REGISTER and answer it."""
        data, source = self._socket.recvfrom(65_535)
        lines = data.split(b"\r\n")
        copied = [line + b";tag=core" if line.startswith(b"To:") else line for line in lines if line.startswith(COPIED)]
        user = data.partition(b"sip:")[2] and data.partition(b"\r\nTo: <sip:")[2].partition(b"@")[0].decode()
        head = [
            "SIP/2.0 200 OK", *(line.decode() for line in copied), f"Service-Route: <sip:orig@127.0.0.1:{self._port};lr>",
            f"P-Associated-URI: <sip:{user}@ims.example>",
        ]
        self._socket.sendto(with_body("\n".join(head)).encode(), source)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def register(proxy: int, core: int, users: Iterator[tuple[str, tuple[str, int]]]) -> int:
    """Register users, given as name and source, at the UDP port `proxy` with the core at `core`; how many."""
    registrar, count, stamp = Registrar(core), 0, f"{time.time_ns():x}"
    try:
        for user, (host, port) in users:
            text = REGISTER.format(user=user, host=host, port=port, number=count, stamp=stamp)
            with _udp((host, port)) as phone:
                status = _exchange(with_body(text).encode(), phone, proxy, registrar)
            if not status:
                raise Failure(f"the registration of {user} was not answered")
            if status != b"200":
                raise Failure(f"the registration of {user} was answered with {status.decode()}")
            count += 1
    finally:
        registrar.close()
    return count


def _exchange(request: bytes, phone: socket.socket, proxy: int, registrar: Registrar) -> bytes:
    """The final status of a REGISTER, sent again as long as nothing comes; b"" when nothing does.

    The registrar answers whatever it gets meanwhile: on a busy machine that may be one that the P-CSCF has sent again.
    """
    for _ in range(TRIES):
        phone.sendto(request, ("127.0.0.1", proxy))
        while ready := select.select([phone, registrar], [], [], PATIENCE)[0]:
            if phone in ready:
                return phone.recv(65_535)[8:11]
            registrar.answer()
    return b""


def _udp(address: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.bind(address)
    return made
