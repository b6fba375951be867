"""MSRP as a medium of calls."""

from __future__ import annotations

from dataclasses import dataclass

from pcscf.errors import MediaNotAcceptable
from pcscf.lab.call import Habits
from pcscf.lab.description import answer_setup
from pcscf.lab.media import DISCARD_PORT, MsrpListener, MsrpMedia, check_cema_offer, connect, read_sdp_untrusted
from pcscf.lab.medium import End, Opened
from pcscf.lab.tap import Tap
from pcscf.lab.tls import Identity


@dataclass(slots=True)
class MsrpEnd:
    """listener: where we may be the passive side; answers: whether we must then be."""

    local: MsrpMedia
    identity: Identity | None
    listener: MsrpListener | None
    answers: bool

    async def open(self, remote: MsrpMedia, tap: Tap, flow: str) -> Opened:
        if self.listener is not None and (self.answers or remote.setup == "active"):
            return await self.listener.accept(self.local, remote, self.identity, tap, flow)
        await self.close()
        return Opened(*await connect(self.local, remote, self.identity, tap, flow))

    async def close(self) -> None:
        if self.listener is not None:
            await self.listener.close()
            self.listener = None


@dataclass(frozen=True, slots=True)
class MsrpMedium:
    habits: Habits

    def read_untrusted(self, body: bytes) -> MsrpMedia:
        return read_sdp_untrusted(body)

    async def offer(self, host: str) -> End:
        habits = self.habits
        listener = await MsrpListener.open(host) if habits.setup in {"passive", "actpass"} else None
        local = habits.describe(
            host, listener.address[1] if listener else DISCARD_PORT, setup=habits.setup, secure=habits.secure, e2ae=habits.e2ae,
        )
        return MsrpEnd(local, habits.identity, listener, answers=False)

    async def answer(self, offer: MsrpMedia, host: str) -> End:
        check_cema_offer(offer, cema=self.habits.cema)
        setup = answer_setup(offer.setup, self.habits.choice)
        if offer.secure and self.habits.identity is None:
            raise MediaNotAcceptable("no certificate for TLS here")
        listener = await MsrpListener.open(host) if setup == "passive" else None
        port = listener.address[1] if listener else DISCARD_PORT
        local = self.habits.describe(host, port, setup=setup, secure=offer.secure)
        return MsrpEnd(local, self.habits.identity, listener, answers=True)
