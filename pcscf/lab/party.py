"""The MSRP party behind the core: plain TCP/MSRP with CEMA, its own SIP user agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pcscf.lab.agent import token
from pcscf.lab.call import Call, Habits
from pcscf.lab.media import MediaFailedError
from pcscf.lab.net import Link, Target, target_of
from pcscf.lab.tap import Address, Tap
from pcscf.lab.useragent import UserAgent
from pcscf.sip.headers import NameAddr
from pcscf.sip.message import Request, response_to
from pcscf.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Manners:
    """What the party does with a call.

    reject         status that every call gets; 0 answers
    ring           whether 180 goes before the answer
    delay          seconds before the answer
    reply          what answers each message; {text} stands for the message; "" stays silent
    hang_up_after  number of messages after which the party sends BYE; 0 leaves that to the other side
    """

    reject: int = 0
    ring: bool = False
    delay: float = 0.0
    reply: str = ""
    hang_up_after: int = 0


class Party(UserAgent):
    """Answers calls, and calls. `core`: where its own calls go. `received`: every text that came, in order."""

    def __init__(
        self, uri: str, core: Target, tap: Tap, *, habits: Habits | None = None, manners: Manners | None = None,
        host: str = "127.0.0.1", on_text: Callable[[Call, str], None] | None = None,
        on_end: Callable[[Call], None] | None = None,
    ) -> None:
        super().__init__(uri, host, habits or Habits(), tap)
        self.core = core
        self.manners = manners or Manners()
        self.received: list[str] = []
        self.ended: list[Call] = []
        self._on_text = on_text
        self._on_end = on_end

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

    async def alert(self, invite: Request, link: Link) -> int:
        if self.manners.ring:
            ringing = response_to(invite, 180, to_tag=token())
            ringing.copy_lines(invite, "Record-Route")
            ringing.add("Contact", self.contact(link))
            link.send(ringing)
        await asyncio.sleep(self.manners.delay)
        return self.manners.reject or 200

    async def converse(self, call: Call) -> None:
        """Take messages, and reply, until the call ends."""
        try:
            count = 0
            while True:
                text = await call.receive_text()
                count += 1
                self.received.append(text)
                if self._on_text is not None:
                    self._on_text(call, text)
                if self.manners.reply:
                    await call.send_text(self.manners.reply.replace("{text}", text))
                if count == self.manners.hang_up_after:
                    await call.hang_up()
        except MediaFailedError:
            await call.ended.wait()   # the media is gone; the signalling says when the call is
        self.ended.append(call)
        if self._on_end is not None:
            self._on_end(call)
