"""Byte streams of the lab's endpoints: TCP, and TLS over it in either role, whichever side opened the connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Protocol

from pcscf.lab.medium import MediaFailedError
from pcscf.lab.secure import READ_BYTES, Layer, SecureEnd, SecureError
from pcscf.lab.tap import Address, Direction, Tap
from pcscf.lab.tls import Fingerprint, Identity, PeerRefusedError, TlsFacts

CONNECT_TIMEOUT = 10.0   # seconds, for TCP and again for the handshake
ACCEPT_TIMEOUT = 20.0    # seconds that the passive side waits for a connection

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stream(Protocol):
    """An open connection."""

    local: Address
    peer: Address

    async def read(self) -> bytes:
        """What came next; b"" once the peer closed. Raises OSError."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class PlainStream:
    def __init__(self, pair: Pair) -> None:
        self._reader, self._writer = pair
        self.local, self.peer = _addresses(self._writer)

    async def read(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()


class TlsStream:
    """TLS over a connection; `prove` comes before everything else."""

    def __init__(self, pair: Pair, end: SecureEnd) -> None:
        self._reader, self._writer = pair
        self._end = end
        self.local, self.peer = _addresses(self._writer)

    async def prove(self) -> TlsFacts:
        """Shake hands, and compare the peer's certificate. Raises OSError or PeerRefusedError."""
        try:
            while (facts := self._end.handshake()) is None:
                self._flush()
                if not (data := await self._reader.read(READ_BYTES)):
                    raise SecureError("the peer closed the connection during the TLS handshake")
                self._end.feed(data)
        finally:
            self._flush()
        return facts

    async def read(self) -> bytes:
        while (data := self._end.received()) is None:
            self._flush()
            if not (wire := await self._reader.read(READ_BYTES)):
                return b""
            self._end.feed(wire)
        return data

    def write(self, data: bytes) -> None:
        self._end.send(data)
        self._flush()

    def close(self) -> None:
        self._end.say_goodbye()
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        while data := self._end.outgoing():
            self._writer.write(data)


class Listener:
    """The passive side: one port, and the first connection to it."""

    def __init__(self, server: asyncio.Server, connections: asyncio.Queue[Pair]) -> None:
        self.address: Address = server.sockets[0].getsockname()[:2]
        self._server = server
        self._connections = connections

    @classmethod
    async def open(cls, host: str) -> Listener:
        """Raises OSError."""
        connections: asyncio.Queue[Pair] = asyncio.Queue()
        server = await asyncio.start_server(lambda *pair: connections.put_nowait(pair), host, 0)
        return cls(server, connections)

    async def accept(self) -> Pair:
        """Raises MediaFailedError."""
        try:
            async with asyncio.timeout(ACCEPT_TIMEOUT):
                return await self._connections.get()
        except TimeoutError:
            raise MediaFailedError("nobody opened the connection") from None

    def close(self) -> None:
        self._server.close()
        while not self._connections.empty():
            self._connections.get_nowait()[1].close()


async def dial(host: str, port: int) -> Pair:
    """Raises MediaFailedError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await asyncio.open_connection(host, port)
    except OSError as error:
        raise MediaFailedError(f"{host} port {port}: {error}") from error


async def secure_stream(
    pair: Pair, identity: Identity, expected: tuple[Fingerprint, ...], *, server: bool, tap: Tap, flow: str,
) -> tuple[TlsStream, TlsFacts]:
    """TLS over `pair`, the peer proven; on failure the connection is closed. Raises MediaFailedError."""
    try:
        stream = TlsStream(pair, SecureEnd(Layer.TLS, identity, expected, server=server))
        async with asyncio.timeout(CONNECT_TIMEOUT):
            facts = await stream.prove()
    except (OSError, PeerRefusedError) as error:
        with contextlib.suppress(OSError):
            pair[1].close()
        raise MediaFailedError(str(error) or "no end of the TLS handshake in time") from error
    show_tls(tap, "TLS", facts, "in" if server else "out", flow, stream.local, stream.peer)
    return stream, facts


def show_tls(
    tap: Tap, proto: Literal["TLS", "DTLS"], facts: TlsFacts, direction: Direction, flow: str, local: Address, peer: Address,
) -> None:
    """Tell of a finished handshake; `direction`: which way the ClientHello went."""
    tap.event(
        proto, direction, f"{facts.version} {facts.cipher}, certificate as in SDP", flow=flow, local=local, peer=peer,
        facts={"version": facts.version, "cipher": facts.cipher, "fingerprint": facts.peer_fingerprint},
    )


def _addresses(writer: asyncio.StreamWriter) -> tuple[Address, Address]:
    local, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername") or ("", 0)
    return (str(local[0]), int(local[1])), (str(peer[0]), int(peer[1]))
