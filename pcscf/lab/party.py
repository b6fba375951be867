"""The party behind the core: a SIP user agent of its own whose media are not protected."""

from __future__ import annotations

from pcscf.lab.call import Call, Habits, Manners
from pcscf.lab.net import Link, Target, target_of
from pcscf.lab.tap import Address, Tap
from pcscf.lab.useragent import UserAgent, Witness
from pcscf.sip.headers import NameAddr
from pcscf.sip.uri import Uri


class Party(UserAgent):
    """Answers calls, and calls. `core`: where its own calls go."""

    def __init__(
        self, uri: str, core: Target, tap: Tap, *, habits: Habits | None = None, manners: Manners | None = None,
        host: str = "127.0.0.1", witness: Witness | None = None,
    ) -> None:
        super().__init__(uri, host, habits or Habits(), tap, manners=manners or Manners(), witness=witness)
        self.core = core

    async def start(self, port: int = 0) -> Address:
        """Open UDP and TCP on one port. Raises OSError."""
        return await self.sockets.listen(self.host, port)

    async def link_to(self, next_hop: Uri) -> Link:
        return await self.sockets.reach(target_of(next_hop))

    @property
    def core_uri(self) -> Uri:
        transport, host, port = self.core
        return Uri("sip", "", "", host, port, () if transport == "udp" else (("transport", transport),), "")

    def contact(self, link: Link) -> str:
        user = self.uri.partition(":")[2].partition("@")[0]
        params = () if link.transport == "udp" else (("transport", link.transport),)
        return str(NameAddr("", str(Uri("sip", user, "", *link.local, params, ""))))

    async def invite(self, target: str) -> Call:
        """Call `target` through the core. Raises as `call`."""
        return await self.call(target, self.core_uri)
