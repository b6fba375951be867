"""The MSRP line of a session description, and the connection that an offer and its answer ask for.

RFC 4975 §8, RFC 6135 (setup), RFC 6714 (CEMA), RFC 8122 (fingerprint), TS 24.229 §7.5 (3ge2ae).
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial

from pcscf.errors import MalformedSdp, MediaNotAcceptable
from pcscf.lab import tls
from pcscf.lab.description import Section, fingerprint_attributes, read_sections_untrusted, write_section
from pcscf.lab.medium import MediaFailedError, Opened
from pcscf.lab.msrp import MsrpError, MsrpUri, parse_uri_untrusted
from pcscf.lab.msrp_session import MsrpSession
from pcscf.lab.streams import Pair, PlainStream, Stream, secure_stream, show_tls
from pcscf.lab.tap import Address, Tap

PLAIN, SECURE = "TCP/MSRP", "TCP/TLS/MSRP"
CONNECT_TIMEOUT = 10.0     # seconds
ACCEPT_TIMEOUT = 20.0      # seconds that the passive side waits for the peer's first SEND
DISCARD_PORT = 9           # what the active side writes (RFC 4145 §4.1)


@dataclass(frozen=True, slots=True)
class MsrpMedia:
    """One side's MSRP line. setup "" = absent; fingerprints as (hash, value); e2ae: value of a=3ge2ae or ""."""

    address: str
    port: int
    path: tuple[MsrpUri, ...]
    secure: bool = False
    setup: str = ""
    cema: bool = True
    fingerprints: tuple[tls.Fingerprint, ...] = ()
    e2ae: str = ""

    @property
    def own_uri(self) -> MsrpUri:
        return self.path[-1]

    def to_sdp(self, session: int) -> bytes:
        return write_sdp(self, session=session)

    def described_address(self) -> Address:
        """The address of c= and m=, the one that counts with CEMA."""
        return self.address, self.port

    def path_address(self) -> Address:
        """The address of the nearest hop of the path, the one that counts without (RFC 4975 §8.1)."""
        return self.path[0].host, self.path[0].port or 0


def new_uri(host: str, port: int, *, secure: bool) -> MsrpUri:
    """A fresh URI with an unguessable session-id (RFC 4975 §14.1)."""
    literal = f"[{host}]" if ":" in host else host
    return parse_uri_untrusted(f"{'msrps' if secure else 'msrp'}://{literal}:{port}/{secrets.token_hex(10)};tcp")


def write_sdp(media: MsrpMedia, *, session: int, version: int = 1) -> bytes:
    """A session description with this one line."""
    attributes = ["accept-types:text/plain message/cpim", "path:" + " ".join(map(str, media.path))]
    if media.setup:
        attributes.append(f"setup:{media.setup}")
    if media.cema:
        attributes.append("msrp-cema")
    if media.e2ae:
        attributes.append(f"3ge2ae:{media.e2ae}")
    attributes += fingerprint_attributes(media.fingerprints)
    line = f"message {media.port} {SECURE if media.secure else PLAIN} *"
    return write_section(media.address, line, attributes, session=session, version=version)


def read_sdp_untrusted(body: bytes) -> MsrpMedia:
    """The first MSRP line that is in use. Raises MalformedSdp, or MediaNotAcceptable where there is none."""
    for section in read_sections_untrusted(body):
        if section.in_use and section.kind in {("message", PLAIN), ("message", SECURE)}:
            return _read_line(section)
    raise MediaNotAcceptable("the session description has no MSRP line in use")


def _read_line(section: Section) -> MsrpMedia:
    try:
        path = tuple(parse_uri_untrusted(uri) for uri in " ".join(section.all("path")).split())
    except MsrpError as error:
        raise MalformedSdp(str(error)) from error
    if not path:
        raise MalformedSdp("an MSRP line needs a=path")
    return MsrpMedia(
        address=section.address,
        port=section.port,
        path=path,
        secure=section.kind[1] == SECURE,
        setup=section.setup,
        cema=bool(section.all("msrp-cema")),
        fingerprints=section.fingerprints,
        e2ae=section.e2ae,
    )


def check_cema_offer(offer: MsrpMedia, *, cema: bool) -> None:
    """Refuse an offer whose c=/m= is not in its path although it does not use CEMA (RFC 6714 §4.3)."""
    agree = offer.described_address() == offer.path_address()
    if cema and not offer.cema and offer.setup != "active" and not agree:
        raise MediaNotAcceptable("c= and m= do not fit a=path, and the offer has no a=msrp-cema")


def connect_address(local: MsrpMedia, remote: MsrpMedia) -> Address:
    """Where the active side connects: c= and m= when both sides speak CEMA, else the path (RFC 6714 §4.2)."""
    return remote.described_address() if local.cema and remote.cema else remote.path_address()


class MsrpListener:
    """The passive side: one port for one session."""

    def __init__(self, server: asyncio.Server, address: Address) -> None:
        self.address = address
        self._server = server
        self._accepted: asyncio.Queue[Pair] = asyncio.Queue()
        self._bound: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.sessions: list[MsrpSession] = []   # one per connection, whether it was bound or refused

    @classmethod
    async def open(cls, host: str) -> MsrpListener:
        """Raises OSError."""
        connections: list[MsrpListener] = []
        server = await asyncio.start_server(lambda *pair: connections[0]._accepted.put_nowait(pair), host, 0)
        listener = cls(server, server.sockets[0].getsockname()[:2])
        connections.append(listener)
        return listener

    async def accept(
        self, local: MsrpMedia, remote: MsrpMedia, identity: tls.Identity | None, tap: Tap, flow: str,
    ) -> Opened:
        """The session, once a request for it came on some connection; as TLS server where TLS is agreed (RFC 8122 §6.2).

        Raises MediaFailedError.
        """
        self._task = asyncio.create_task(self._serve(local, remote, identity, tap, flow))
        try:
            async with asyncio.timeout(ACCEPT_TIMEOUT):
                return await asyncio.shield(self._bound)
        except TimeoutError:
            await self.close()
            raise MediaFailedError("nobody opened the MSRP session") from None

    async def _serve(self, local: MsrpMedia, remote: MsrpMedia, identity: tls.Identity | None, tap: Tap, flow: str) -> None:
        while True:
            pair = await self._accepted.get()
            stream: Stream = PlainStream(pair)
            facts: tls.TlsFacts | None = None
            if local.secure:
                try:
                    stream, facts = await _served(pair, identity, remote.fingerprints, tap, flow)
                except MediaFailedError as error:
                    if not self._bound.done():
                        self._bound.set_exception(error)
                    continue
            claim = partial(self._claim, facts)
            self.sessions.append(MsrpSession(
                stream, local=local.own_uri, remote=remote.path, tap=tap, flow=flow, claim=claim,
            ))

    def _claim(self, facts: tls.TlsFacts | None, session: MsrpSession) -> bool:
        if self._bound.done():
            return False
        self._bound.set_result(Opened(session, facts))
        return True

    async def close(self) -> None:
        self._server.close()
        if self._task is not None:
            self._task.cancel()
        while not self._accepted.empty():
            self._accepted.get_nowait()[1].close()
        for session in self.sessions:
            await session.close()


async def _served(
    pair: Pair, identity: tls.Identity | None, expected: tuple[tls.Fingerprint, ...], tap: Tap, flow: str,
) -> tuple[Stream, tls.TlsFacts]:
    """The passive side of TLS. Raises MediaFailedError."""
    if identity is None:
        pair[1].close()
        raise MediaFailedError("no certificate for TLS")
    return await secure_stream(pair, identity, expected, server=True, tap=tap, flow=flow)


async def connect(
    local: MsrpMedia, remote: MsrpMedia, identity: tls.Identity | None, tap: Tap, flow: str,
) -> tuple[MsrpSession, tls.TlsFacts | None]:
    """The active side: open the connection and prove the peer where TLS is agreed. The caller binds the session.

    Raises MediaFailedError.
    """
    host, port = connect_address(local, remote)
    facts: tls.TlsFacts | None = None
    try:
        if local.secure:
            if identity is None:
                raise MediaFailedError("no certificate for TLS")
            reader, writer, facts = await tls.connect(host, port, identity, remote.fingerprints)
            show_tls(
                tap, "TLS", facts, "out", flow, writer.get_extra_info("sockname")[:2], writer.get_extra_info("peername")[:2],
            )
        else:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(host, port)
    except (OSError, tls.PeerRefusedError) as error:
        raise MediaFailedError(f"{host} port {port}: {error}") from error
    session = MsrpSession(PlainStream((reader, writer)), local=local.own_uri, remote=remote.path, tap=tap, flow=flow)
    return session, facts
