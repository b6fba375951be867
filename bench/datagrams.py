"""What the gateway's UDP costs: datagrams passed on plain, out of DTLS and into it, and DTLS handshakes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from bench.process import cpu_seconds, on_cpu, pss_mib
from bench.report import Cell, Table
from bench.run import Run
from bench.terminators import Gateway, identity
from pcscf.gateway.certificate import Fingerprint, Identity
from pcscf.gateway.dtls import DtlsContext, DtlsEndpoint
from pcscf.gateway.endpoint import TlsRole
from tests.support.gatewaybed import Local, add_datagrams, local_of

DATAGRAM = 160
DATAGRAMS = 40_000
WINDOW = 16
HANDSHAKES = 200
PATIENCE = 10.0
COLUMNS = ("what", "µs of CPU each", "least", "most", "per CPU-s")
IDLE = 600
KIB_PER_STREAM = 60_000 / 1024


class Contexts(Gateway):
    """The gateway as a process, with contexts of UDP on both sides."""

    def pair(self, access: tuple[str, int], core: tuple[str, int], *, secure: bool) -> tuple[Local, Local]:
        return self._do(self._pair(access, core, secure=secure))

    async def _pair(self, access: tuple[str, int], core: tuple[str, int], *, secure: bool) -> tuple[Local, Local]:
        prints = [self._fingerprint] if secure else []
        adds = add_datagrams("access", peer=access, fingerprints=prints, secure=secure), add_datagrams("core", peer=core)
        reply = await self._iq.ask(f"Context=${{{','.join(adds)}}}")
        [action] = reply.actions
        self._contexts.append(action.context)
        near, far = (local_of(action.context, command) for command in action.commands)
        return near, far


class Phone:
    """The access side's far end."""

    def __init__(self, own: Identity) -> None:
        self._context = DtlsContext((own,), bytes(16))
        self.socket = _socket()

    def shake_hands(self, local: Local) -> DtlsEndpoint:
        prints = tuple(
            Fingerprint("sha-256", line.split()[1]) for line in local.sdp.splitlines() if line.startswith("a=fingerprint:"))
        endpoint = DtlsEndpoint(self._context, TlsRole.CLIENT, prints, mtu=1400, peer=b"gateway")
        while True:
            for datagram in endpoint.take_network():
                self.socket.sendto(datagram, local.address)
            if endpoint.established:
                return endpoint
            endpoint.receive(self.socket.recv(65536), b"gateway")


def datagrams(run: Run) -> list[Table]:
    folder = run.room("datagrams")
    own, _ = identity("client", folder)
    share = 8 if run.is_quick else 1
    with on_cpu(run.pins.load):
        gateway = Contexts(folder, run.pins, run.checkout, own, 9)
        try:
            # First of all: later, memory that other work has freed would be taken again, and not be seen.
            memory = _footprint(gateway, own, IDLE)
            rows = [
                _row("a datagram, plain to plain", run, lambda: _plain(gateway, DATAGRAMS // share)),
                _row("a datagram, DTLS to plain", run, lambda: _protected(gateway, own, DATAGRAMS // share, up=True)),
                _row("a datagram, plain to DTLS", run, lambda: _protected(gateway, own, DATAGRAMS // share, up=False)),
                _row("a DTLS handshake, ECDSA, with its cookie", run, lambda: _handshakes(gateway, own, HANDSHAKES // share)),
            ]
        finally:
            gateway.stop()
    return [
        Table("Gateway: UDP", COLUMNS, rows, [
            f"Datagrams of {DATAGRAM} octets, {WINDOW} at a time; the DTLS client is this process, whose CPU does not count."]),
        Table("Gateway: memory of an idle DTLS stream", ("streams", "KiB each, reserved", "KiB each, protected"), [memory], [
            f"Growth of PSS since the first few, with a plain stream behind each. The goal is {KIB_PER_STREAM:.0f} KiB."]),
    ]


def _row(what: str, run: Run, case: Callable[[], float]) -> tuple[Cell, ...]:
    found = [case() for _ in range(run.repeats)]
    return what, median(found), min(found), max(found), 1e6 / median(found)


def _footprint(gateway: Contexts, own: Identity, count: int) -> tuple[Cell, ...]:
    """KiB that one more of `count` streams takes: before its handshake, and idle after it."""
    phone = Phone(own)
    with phone.socket, _socket() as far:
        def opened(number: int) -> list[Local]:
            peers = phone.socket.getsockname(), far.getsockname()
            return [gateway.pair(*peers, secure=True)[0] for _ in range(number)]

        for local in opened(10):
            phone.shake_hands(local)
        before = _kib(gateway)
        locals_ = opened(count)
        reserved = _kib(gateway)
        for local in locals_:
            phone.shake_hands(local)
        found = count, (reserved - before) / count, (_kib(gateway) - before) / count
    gateway.close()
    return found


def _kib(gateway: Contexts) -> float:
    return sum(pss_mib(pid) for pid in gateway.pids) * 1024


def _plain(gateway: Contexts, count: int) -> float:
    with _socket() as near, _socket() as far:
        access, _ = gateway.pair(near.getsockname(), far.getsockname(), secure=False)
        with _spent(gateway) as spent:
            for _ in range(count // WINDOW):
                for _ in range(WINDOW):
                    near.sendto(b"p" * DATAGRAM, access.address)
                for _ in range(WINDOW):
                    far.recv(2048)
    gateway.close()
    return spent() * 1e6 / count


def _protected(gateway: Contexts, own: Identity, count: int, *, up: bool) -> float:
    phone = Phone(own)
    with phone.socket, _socket() as far:
        access, core = gateway.pair(phone.socket.getsockname(), far.getsockname(), secure=True)
        endpoint = phone.shake_hands(access)
        with _spent(gateway) as spent:
            for _ in range(count // WINDOW):
                for _ in range(WINDOW):
                    if up:
                        endpoint.send(b"p" * DATAGRAM)
                        phone.socket.sendto(endpoint.take_network()[0], access.address)
                    else:
                        far.sendto(b"p" * DATAGRAM, core.address)
                for _ in range(WINDOW):
                    (far if up else phone.socket).recv(2048)
    gateway.close()
    return spent() * 1e6 / count


def _handshakes(gateway: Contexts, own: Identity, count: int) -> float:
    phone = Phone(own)
    with phone.socket, _socket() as far:
        reserved = [gateway.pair(phone.socket.getsockname(), far.getsockname(), secure=True)[0] for _ in range(count)]
        with _spent(gateway) as spent:
            for local in reserved:
                phone.shake_hands(local)
    gateway.close()
    return spent() * 1e6 / count


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(PATIENCE)
    return made


@contextmanager
def _spent(gateway: Contexts) -> Iterator[Callable[[], float]]:
    """Seconds of the gateway's CPU between entering and leaving."""
    found: list[float] = []
    before = cpu_seconds(*gateway.pids)
    yield lambda: found[0]
    found.append(cpu_seconds(*gateway.pids) - before)
