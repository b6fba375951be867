"""The two ends of Iq: a controller on every transport it offers, a gateway on the one it was given."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from pcscf.errors import ConfigError
from pcscf.h248.peer import ConnectionPeer, Peer
from pcscf.transport.certificates import client_context, server_context
from pcscf.transport.connections import Carrier, Dialler, Listener
from pcscf.transport.model import Kind, TlsFiles, Transport, Upward
from pcscf.transport.sctp import Sctp
from pcscf.transport.tcp import Tcp
from pcscf.transport.udp import open_datagrams

CONTROLLER_BUFFER: Final = 4 * 1024 * 1024
"""Octets of replies that may wait in the kernel while a call is worked on."""


class Both:
    """Datagrams and connections on the same address; a peer belongs to one of them."""

    def __init__(self, datagrams: Transport, connections: Transport) -> None:
        self._datagrams = datagrams
        self._connections = connections

    @property
    def address(self) -> tuple[str, int]:
        return self._datagrams.address

    def renew(self) -> None:
        self._connections.renew()

    def peer(self, host: str, port: int) -> Peer:
        """Whom we reach out to ourselves: by datagrams, since it is gateways that connect."""
        return self._datagrams.peer(host, port)

    def send(self, message: bytes, peer: Peer) -> None:
        (self._connections if isinstance(peer, ConnectionPeer) else self._datagrams).send(message, peer)

    def disconnect(self, peer: Peer) -> None:
        if isinstance(peer, ConnectionPeer):
            self._connections.disconnect(peer)

    def close(self) -> None:
        self._datagrams.close()
        self._connections.close()


async def open_controller(
    kinds: Collection[Kind], bind: tuple[str, int], upward: Upward, tls: TlsFiles | None = None, *, datagrams_from: str = ""
) -> Transport:
    """`kinds`: one, or udp beside one of the others. datagrams_from: the only host whose datagrams count; "" for any.

    Raises OSError, and ConfigError for TLS files that cannot be used.
    """
    connected = set(kinds) - {"udp"}
    if len(connected) > 1:
        named = " and ".join(kind.upper() for kind in sorted(connected))
        raise ConfigError(f"Iq cannot be {named} on one port", hint="choose one of them; udp may stand beside it")
    if not connected:
        return await open_datagrams(bind, upward, only=datagrams_from, receive_buffer=CONTROLLER_BUFFER)
    connections = _listener(connected.pop(), upward, tls)
    if "udp" not in kinds:
        connections.listen(bind)
        return connections
    datagrams = await open_datagrams(bind, upward, only=datagrams_from, receive_buffer=CONTROLLER_BUFFER)
    try:
        connections.listen((bind[0], datagrams.address[1]))
    except BaseException:
        datagrams.close()
        raise
    return Both(datagrams, connections)


async def open_gateway(kind: Kind, bind: tuple[str, int], upward: Upward, tls: TlsFiles | None = None) -> Transport:
    """Where connections are made, the port of `bind` is not used: each has one of its own.

    Raises OSError, and ConfigError for TLS files that cannot be used.
    """
    if kind == "udp":
        return await open_datagrams(bind, upward)
    if kind == "tls":
        files = _needed(tls)
        return Dialler(upward, bind[0], Tcp(partial(client_context, files)), files.pins)
    return Dialler(upward, bind[0], _open_to_all(kind), {})


def _listener(kind: Kind, upward: Upward, tls: TlsFiles | None) -> Listener:
    if kind == "tls":
        files = _needed(tls)
        return Listener(upward, Tcp(partial(server_context, files)), files.pins)
    return Listener(upward, _open_to_all(kind), {})


def _open_to_all(kind: Kind) -> Carrier:
    """Without certificates."""
    return Sctp() if kind == "sctp" else Tcp(None)


def _needed(files: TlsFiles | None) -> TlsFiles:
    """Never TCP where TLS was meant."""
    if files is None:
        raise ConfigError("Iq over TLS needs certificates", hint="name iq.tls.ca and iq.tls.certificate")
    return files
