"""The MSRP line of a session description, and the connection that an offer and its answer ask for.

RFC 4975 §8, RFC 6135 (setup), RFC 6714 (CEMA), RFC 8122 (fingerprint), TS 24.229 §7.5 (3ge2ae).
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from pcscf.errors import MalformedSdp, MediaNotAcceptable, PcscfError
from pcscf.lab import tls
from pcscf.lab.msrp import MsrpError, MsrpUri, parse_uri_untrusted
from pcscf.lab.msrp_session import MsrpSession
from pcscf.lab.tap import Address, Tap

PLAIN, SECURE = "TCP/MSRP", "TCP/TLS/MSRP"
CONNECT_TIMEOUT = 10.0     # seconds
ACCEPT_TIMEOUT = 20.0      # seconds that the passive side waits for the peer's first SEND
DISCARD_PORT = 9           # what the active side writes (RFC 4145 §4.1)

COMPLEMENT = {"active": "passive", "passive": "active"}


class MediaFailedError(PcscfError):
    """The MSRP connection did not come about."""


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
    family = "IP6" if ":" in media.address else "IP4"
    lines = [
        "v=0",
        f"o=- {session} {version} IN {family} {media.address}",
        "s=-",
        f"c=IN {family} {media.address}",
        "t=0 0",
        f"m=message {media.port} {SECURE if media.secure else PLAIN} *",
        "a=accept-types:text/plain message/cpim",
        "a=path:" + " ".join(map(str, media.path)),
    ]
    if media.setup:
        lines.append(f"a=setup:{media.setup}")
    if media.cema:
        lines.append("a=msrp-cema")
    if media.e2ae:
        lines.append(f"a=3ge2ae:{media.e2ae}")
    lines += [f"a=fingerprint:{name} {value}" for name, value in media.fingerprints]
    return ("\r\n".join(lines) + "\r\n").encode()


def read_sdp_untrusted(body: bytes) -> MsrpMedia:
    """The first MSRP line that is in use. Raises MalformedSdp, or MediaNotAcceptable where there is none."""
    try:
        lines = [line.strip() for line in body.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise MalformedSdp("not UTF-8") from error
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    session = lines[:starts[0]] if starts else lines
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        words = lines[start][2:].split()
        if len(words) >= 4 and words[0] == "message" and words[2].upper() in {PLAIN, SECURE} and words[1] != "0":
            return _read_line(words, lines[start + 1:end], session)
    raise MediaNotAcceptable("the session description has no MSRP line in use")


def _read_line(words: list[str], section: list[str], session: list[str]) -> MsrpMedia:
    def attributes(name: str) -> list[str]:
        """Of the media section, else of the session (RFC 8122 §5, RFC 4145 §4)."""
        for place in (section, session):
            found = [line[2:].partition(":")[2].strip() for line in place if line[2:].partition(":")[0] == name]
            if found:
                return found
        return []

    connection = next((line[2:].split() for place in (section, session) for line in place if line.startswith("c=")), [])
    try:
        path = tuple(parse_uri_untrusted(uri) for uri in " ".join(attributes("path")).split())
        port = int(words[1])
    except (MsrpError, ValueError) as error:
        raise MalformedSdp(str(error)) from error
    if not path or len(connection) != 3:
        raise MalformedSdp("an MSRP line needs a=path and c=")
    fingerprints = [value.split() for value in attributes("fingerprint")]
    setup = (attributes("setup") or [""])[0].lower()
    return MsrpMedia(
        address=connection[2],
        port=port,
        path=path,
        secure=words[2].upper() == SECURE,
        setup="" if setup == "holdconn" else setup,   # RFC 6135 §4.2.1
        cema=bool(attributes("msrp-cema")),
        fingerprints=tuple((pair[0].lower(), pair[1].upper()) for pair in fingerprints if len(pair) == 2),
        e2ae=(attributes("3ge2ae") or [""])[0].lower(),
    )


def answer_setup(offered: str, wanted: str) -> str:
    """Our setup in the answer (RFC 4145 §4.1); `wanted` counts where the offer leaves the choice."""
    if offered == "actpass":
        return wanted
    return COMPLEMENT[offered or "active"]


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
        self._accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._bound: asyncio.Future[MsrpSession] = asyncio.get_running_loop().create_future()
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

    async def accept(self, local: MsrpMedia, remote: MsrpMedia, tap: Tap, flow: str) -> MsrpSession:
        """The session, once a request for it came on some connection. Raises MediaFailedError."""
        self._task = asyncio.create_task(self._serve(local, remote, tap, flow))
        try:
            async with asyncio.timeout(ACCEPT_TIMEOUT):
                return await asyncio.shield(self._bound)
        except TimeoutError:
            await self.close()
            raise MediaFailedError("nobody opened the MSRP session") from None

    async def _serve(self, local: MsrpMedia, remote: MsrpMedia, tap: Tap, flow: str) -> None:
        while True:
            reader, writer = await self._accepted.get()
            self.sessions.append(MsrpSession(
                reader, writer, local=local.own_uri, remote=remote.path, tap=tap, flow=flow, claim=self._claim,
            ))

    def _claim(self, session: MsrpSession) -> bool:
        if self._bound.done():
            return False
        self._bound.set_result(session)
        return True

    async def close(self) -> None:
        self._server.close()
        if self._task is not None:
            self._task.cancel()
        while not self._accepted.empty():
            self._accepted.get_nowait()[1].close()
        for session in self.sessions:
            await session.close()


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
            _show_tls(tap, flow, writer, facts)
        else:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(host, port)
    except (OSError, tls.PeerRefusedError) as error:
        raise MediaFailedError(f"{host} port {port}: {error}") from error
    session = MsrpSession(reader, writer, local=local.own_uri, remote=remote.path, tap=tap, flow=flow)
    return session, facts


def _show_tls(tap: Tap, flow: str, writer: asyncio.StreamWriter, facts: tls.TlsFacts) -> None:
    tap.event(
        "TLS", "out", f"{facts.version} {facts.cipher}, certificate as in SDP", flow=flow,
        local=writer.get_extra_info("sockname")[:2], peer=writer.get_extra_info("peername")[:2],
        facts={"version": facts.version, "cipher": facts.cipher, "fingerprint": facts.peer_fingerprint},
    )
