"""A TLS client that lets its peer be the client where the peer speaks first.

BFCP makes the offerer the TLS client although the answerer may have opened the TCP connection (RFC 8856 §8). Ends that
take the TLS role from a=setup, as RFC 8122 §6.2 has it, then both send a ClientHello, and the connection is lost. On a
connection that it accepted, the client therefore waits a moment. A TLS server never speaks first, so a peer that does is a
client. The same holds where nobody has said yet that we are the client: the controller does, once it knows that TCP is up.
Who is who changes nothing about trust: both certificates are compared with their fingerprints either way.
"""

from __future__ import annotations

from pcscf.gateway.certificate import Fingerprint
from pcscf.gateway.endpoint import EndpointEvent, TlsContext, TlsEndpoint, TlsRole


class YieldingEndpoint:
    """An `Endpoint` whose TLS role is open until its peer speaks, or `begin` is called.

    That comes `patience` seconds after TCP is up or, while it is `held`, after the controller has made us the client.
    """

    __slots__ = ("_context", "_fingerprints", "_inner", "_none", "_over", "held", "patience")

    def __init__(
        self, context: TlsContext, fingerprints: tuple[Fingerprint, ...], patience: float, *, held: bool = False
    ) -> None:
        self.patience = patience
        self.held = held
        self._context = context
        self._fingerprints = fingerprints
        self._inner: TlsEndpoint | None = None
        self._none: list[EndpointEvent] = []
        self._over = False

    @property
    def events(self) -> list[EndpointEvent]:
        return self._inner.events if self._inner is not None else self._none

    @property
    def established(self) -> bool:
        return self._inner is not None and self._inner.established

    @property
    def pending(self) -> bool:
        return self._inner is not None and self._inner.pending

    def begin(self) -> None:
        """The peer said nothing: we are the client, as agreed."""
        if self._inner is None and not self._over:
            self._inner = TlsEndpoint(self._context, TlsRole.CLIENT, self._fingerprints)

    def receive_data(self, data: bytes | memoryview) -> None:
        if self._over or not data:
            return
        if self._inner is None:
            self._inner = TlsEndpoint(self._context, TlsRole.SERVER, self._fingerprints)
        self._inner.receive_data(data)

    def send(self, data: bytes) -> None:
        """RuntimeError before `established`, as of any TLS endpoint."""
        if self._inner is None:
            raise RuntimeError("application data for a peer that is not verified")
        self._inner.send(data)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def discard(self) -> None:
        self._over = True
        if self._inner is not None:
            self._inner.discard()

    def take_network(self) -> bytes:
        return self._inner.take_network() if self._inner is not None else b""

    def take_plain(self) -> bytes:
        return self._inner.take_plain() if self._inner is not None else b""
