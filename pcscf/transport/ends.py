"""The two ends of Iq: a controller on every transport it offers, a gateway on the one it was given."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pcscf.errors import ConfigError
from pcscf.h248.peer import ConnectionPeer, Peer
from pcscf.transport.model import Kind, TlsFiles, Transport, Upward
from pcscf.transport.tcp import Dialler, Listener
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
    if {"tcp", "tls"} <= set(kinds):
        raise ConfigError("Iq cannot be TCP and TLS on one port", hint="choose one of them; udp may stand beside it")
    connections = Listener(upward, _files("tls" in kinds, tls)) if set(kinds) - {"udp"} else None
    if connections is not None and "udp" not in kinds:
        connections.listen(bind)
        return connections
    datagrams = await open_datagrams(bind, upward, only=datagrams_from, receive_buffer=CONTROLLER_BUFFER)
    if connections is None:
        return datagrams
    try:
        connections.listen((bind[0], datagrams.address[1]))
    except BaseException:
        datagrams.close()
        raise
    return Both(datagrams, connections)


async def open_gateway(kind: Kind, bind: tuple[str, int], upward: Upward, tls: TlsFiles | None = None) -> Transport:
    """Over TCP and TLS the port of `bind` is not used: each connection has one of its own.

    Raises OSError, and ConfigError for TLS files that cannot be used.
    """
    if kind == "udp":
        return await open_datagrams(bind, upward)
    return Dialler(upward, bind[0], _files(kind == "tls", tls))


def _files(is_tls: bool, files: TlsFiles | None) -> TlsFiles | None:
    """Never TCP where TLS was meant."""
    if is_tls and files is None:
        raise ConfigError("Iq over TLS needs certificates", hint="name iq.tls.ca and iq.tls.certificate")
    return files if is_tls else None
