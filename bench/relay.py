"""What the gateway's TLS costs, beside haproxy that ends the same TLS: in bulk, in small messages, in handshakes."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE

from bench.pcscf import ROOT
from bench.process import Failure, Process, cpu_seconds, on_cpu, pss_mib
from bench.report import Cell, Table
from bench.run import Run
from bench.terminators import Gateway, Haproxy, Terminator, identity

BULK = 1024 * 1_048_576      # octets
CHUNK = 262_144
MESSAGE, RESPONSE = 200, 100
MESSAGES = 30_000
WINDOW = 32
HANDSHAKES = 600
PATIENCE = 60.0
COLUMNS = ("what", "unit", "gateway", "least", "most", "haproxy", "least", "most", "gateway ÷ haproxy", "goal", "reached")
FIRST_BULK = 64 * 1_048_576  # octets: what a process that has just started takes longest for
KIB_PER_SESSION = 60_000 / 1024
# Work per CPU that is wanted, as a part of haproxy's.
BULK_GOAL, HANDSHAKE_GOAL, MESSAGE_GOAL = 1 / 1.3, 1 / 1.4, 1 / 4


def relay(run: Run) -> list[Table]:
    """All figures are work per second of the relay's own CPU, so more is better."""
    folder = run.room("relay")
    own, file = identity("client", folder)
    share = 8 if run.is_quick else 1
    cases: dict[tuple[str, str, float], Callable[[Terminator], float]] = {
        ("bulk over one connection, TLS 1.3", "MB", BULK_GOAL): lambda one: bulk(one, context(file), BULK // share),
        ("200-byte messages, each answered before the next, TLS 1.3", "messages", MESSAGE_GOAL): (
            lambda one: messages(one, context(file), MESSAGES // share, 1)),
        (f"200-byte messages, {WINDOW} at a time, TLS 1.3", "messages", MESSAGE_GOAL): (
            lambda one: messages(one, context(file), MESSAGES // share, WINDOW)),
        ("full handshakes, TLS 1.3", "handshakes", HANDSHAKE_GOAL): (
            lambda one: handshakes(one, context(file), HANDSHAKES // share)),
        ("full handshakes, TLS 1.2", "handshakes", HANDSHAKE_GOAL): (
            lambda one: handshakes(one, context(file, ssl.TLSVersion.TLSv1_2), HANDSHAKES // share)),
    }
    rows: list[tuple[Cell, ...]] = []
    notes = [
        "Each end has a P-256 certificate, and the client shows its own. A message is answered with 100 octets by the sink. A "
        "handshake includes the TCP connections on both sides and one octet there and back; for the gateway the context stands "
        "already.",
    ]
    with ExitStack() as stack:
        stack.enter_context(on_cpu(run.pins.load))   # the client is this process
        sink = Process([sys.executable, "-m", "bench.sink"], cpu=run.pins.load, log=folder / "sink.log", folder=ROOT, stdout=PIPE)
        stack.callback(sink.stop, 1.0)
        port = int(sink.first_line())
        terminators: list[Terminator] = [Gateway(folder, run.pins, run.checkout, own, port)]
        stack.callback(terminators[0].stop)
        try:
            terminators.append(Haproxy(folder, run.pins, file, port))
            stack.callback(terminators[1].stop)
        except Failure as failure:
            notes.append(f"**haproxy is missing**: {failure}")
        fresh = {one.name: [bulk(one, context(file), FIRST_BULK)] for one in terminators}
        rows.append(row("bulk over the first connection of the process, TLS 1.3", "MB", fresh, BULK_GOAL))
        for one in terminators:
            handshakes(one, context(file), 10)
        # First of all: later, memory that other work has freed would be taken again, and not be seen.
        sizes = [(one.name, HANDSHAKES, *footprint(one, context(file), HANDSHAKES)) for one in terminators]
        for (what, unit, goal), case in cases.items():
            found: dict[str, list[float]] = {one.name: [] for one in terminators}
            for _ in range(run.repeats):
                for one in terminators:
                    found[one.name].append(case(one))
            rows.append(row(what, unit, found, goal))
    return [
        Table("Gateway: work per second of CPU", COLUMNS, rows, notes),
        Table("Gateway: memory", ("program", "sessions", "KiB each, reserved", "KiB each, connected with TLS"), sizes, [
            "Growth of PSS since the first few connections. haproxy reserves nothing. "
            f"The goal is {KIB_PER_SESSION:.0f} KiB (60 kB) for one that is connected and idle."]),
    ]


def row(what: str, unit: str, found: Mapping[str, list[float]], goal: float) -> tuple[Cell, ...]:
    """Median, least and most of both, the ratio of the medians, and whether it is the goal at least; no haproxy, no ratio."""
    ours, theirs = found["gateway"], found.get("haproxy")
    head = what, f"{unit} per CPU-s", median(ours), min(ours), max(ours)
    if not theirs:
        return *head, None, None, None, None, goal, None
    ratio = median(ours) / median(theirs)
    return *head, median(theirs), min(theirs), max(theirs), ratio, goal, "yes" if ratio >= goal else "no"


def context(file: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client of one TLS version with its certificate. It trusts whoever answers: loopback, and nothing is secret."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    made.load_cert_chain(file)
    return made


def bulk(one: Terminator, client: ssl.SSLContext, size: int) -> float:
    """MB per CPU-second."""
    chunk = os.urandom(CHUNK)
    with _connected(one, client) as connection, _spent(one) as spent:
        connection.sendall(b"B" + struct.pack("!Q", size))
        for _ in range(size // CHUNK):
            connection.sendall(chunk)
        if connection.recv(1) != b"k":
            raise Failure(f"not everything came through {one.name}")
    return size / 1e6 / spent()


def messages(one: Terminator, client: ssl.SSLContext, count: int, window: int) -> float:
    """Messages per CPU-second: `window` are sent, each in a record of its own, and answered, before the next ones."""
    message = b"m" * MESSAGE
    with _connected(one, client) as connection, _spent(one) as spent:
        connection.sendall(b"M" + struct.pack("!II", MESSAGE, RESPONSE))
        for _ in range(count // window):
            for _ in range(window):
                connection.sendall(message)
            missing = window * RESPONSE
            while missing:
                received = len(connection.recv(65_536))
                if not received:
                    raise Failure(f"{one.name} closed the connection")
                missing -= received
    return count // window * window / spent()


def handshakes(one: Terminator, client: ssl.SSLContext, count: int) -> float:
    """Full handshakes per CPU-second."""
    addresses = one.open(count)
    with ExitStack() as stack:
        stack.callback(one.close)
        with _spent(one) as spent:
            for address in addresses:
                _established(one, client, address, stack)
    return count / spent()


def footprint(one: Terminator, client: ssl.SSLContext, count: int) -> tuple[float, float]:
    """KiB that one more of `count` sessions takes: before anybody connected, and with its connection."""
    with ExitStack() as stack:
        stack.callback(one.close)
        before = _kib(one)
        addresses = one.open(count)
        reserved = _kib(one)
        for address in addresses:
            _established(one, client, address, stack)
        return (reserved - before) / count, (_kib(one) - before) / count


def _established(one: Terminator, client: ssl.SSLContext, address: tuple[str, int], stack: ExitStack) -> None:
    """A connection over which one octet went there and back, open until `stack` ends."""
    connection = stack.enter_context(client.wrap_socket(_dial(address)))
    connection.sendall(b"h")
    if connection.recv(1) != b"h" or connection.session_reused:
        raise Failure(f"no full handshake with {one.name}")


def _kib(one: Terminator) -> float:
    return sum(pss_mib(pid) for pid in one.pids) * 1024


@contextmanager
def _connected(one: Terminator, client: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    [address] = one.open(1)
    try:
        with client.wrap_socket(_dial(address)) as connection:
            yield connection
    finally:
        one.close()


def _dial(address: tuple[str, int]) -> socket.socket:
    made = socket.create_connection(address, PATIENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


@contextmanager
def _spent(one: Terminator) -> Iterator[Callable[[], float]]:
    """Seconds of CPU between entering and leaving."""
    found: list[float] = []
    before = cpu_seconds(*one.pids)
    yield lambda: max(found[0], 0.01)   # one tick: less cannot be seen
    time.sleep(0.05)
    found.append(cpu_seconds(*one.pids) - before)
