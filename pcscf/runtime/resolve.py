"""Where a SIP URI leads: numeric addresses at once, names through the system's resolver (RFC 3263 §4.2, A and AAAA)."""

from __future__ import annotations

import asyncio
import math
import socket
from ipaddress import ip_address

from pcscf.errors import NextHopTimeout, SipError
from pcscf.sip.flow import Hop
from pcscf.sip.uri import parse_uri

SIP_PORT = 5060
NAME_LIFETIME = 30.0   # seconds an answer of the resolver is used again
MAX_NAMES = 1000


class Resolver:
    """Finds next hops. Answers for names are kept a while, and what is an address already for good."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, Hop]] = {}

    async def locate(self, uri: str, realm: str) -> Hop:
        """The hop of `uri` in `realm`; its transport is the URI's, or "" where any will do. Raises NextHopTimeout."""
        known = self._known.get((uri, realm))
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return known[1]
        until, hop = await self._find(uri, realm)
        if len(self._known) >= MAX_NAMES:
            self._known.clear()
        self._known[uri, realm] = until, hop
        return hop

    async def _find(self, uri: str, realm: str) -> tuple[float, Hop]:
        """The hop, and until when it may be used (loop time)."""
        try:
            parsed = parse_uri(uri)
        except SipError as error:
            raise NextHopTimeout(f"the next hop is not a SIP URI: {error.what}") from error
        if parsed.scheme != "sip":
            raise NextHopTimeout(f"there is no way to a {parsed.scheme} URI on this side")
        transport = (parsed.param("transport") or "").lower()
        if transport not in ("", "udp", "tcp"):
            raise NextHopTimeout(f"the core is not reached over {transport}")
        host, port = parsed.host, parsed.port or SIP_PORT
        until, address = (math.inf, host) if _is_numeric(host) else await self._ask(host, port)
        return until, Hop(transport, realm, address, port)

    @staticmethod
    async def _ask(host: str, port: int) -> tuple[float, str]:
        """The address of a name, and until when it may be used (loop time)."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise NextHopTimeout(f"the name {host} of the next hop cannot be resolved") from error
        return loop.time() + NAME_LIFETIME, str(found[0][4][0])


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
