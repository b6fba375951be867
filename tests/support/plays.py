"""Where a call can run: from the UE, to the UE, or from UE to UE with a core between two half-calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pcscf.lab.call import Dialog
from pcscf.sip.flow import Flow
from pcscf.sip.message import Request, Response
from tests.support.ends import DOMAIN, End, ProxyCore, path_of
from tests.support.flowbed import ACCESS, ACCESS_IPV6, Bed
from tests.support.parties import PLAIN_ANSWER, PLAIN_OFFER, PROTECTED_ANSWER, PROTECTED_OFFER, UE_FINGERPRINT


@dataclass
class Play:
    """One call on a bed. `target` and `routes`: what the caller's INVITE says; `served`: the ends behind the P-CSCF."""

    bed: Bed
    caller: End
    callee: End
    target: str
    routes: list[str]

    def __post_init__(self) -> None:
        self.sent: Request       # the INVITE as the caller sent it
        self.got: Request        # the INVITE as the callee got it
        self.gone: set[End] = set()   # ends that nobody can tell anything any more

    @property
    def ends(self) -> tuple[End, End]:
        return self.caller, self.callee

    @property
    def served(self) -> list[End]:
        return [end for end in self.ends if end.peer is not self.bed.core]

    def invite(self) -> Request:
        self.sent = self.caller.invite(self.target, self.routes)
        return self.sent

    async def offer(self) -> Request:
        """INVITE, through to the callee."""
        self.invite()
        self.got = await self.callee.expect("INVITE")
        return self.got

    async def ring(self) -> None:
        """INVITE through, 180 back."""
        self.callee.reply(await self.offer(), 180)
        await self.caller.expect(180)

    async def establish(self) -> tuple[Dialog, Dialog]:
        """A confirmed session: the dialog as the caller and as the callee know it."""
        await self.ring()
        return await self.accept()

    async def accept(self, *, tag: str = "", body: str = "") -> tuple[Dialog, Dialog]:
        """200 back, ACK through."""
        far = self.callee.accept(self.got, tag=tag, body=body)
        near = self.caller.acknowledge(self.sent, await self.caller.expect(200))
        await self.callee.expect("ACK")
        return near, far

    async def refused(self, status: int, within: float = 300.0) -> Response:
        return await self.caller.refused(self.sent, status, within)

    async def hang_up(self, end: End, dialog: Dialog) -> None:
        """BYE from `end` through to the other one, 200 back."""
        end.say(dialog, "BYE")
        await self.other(end).answer_bye()
        await end.expect(200)

    def other(self, end: End) -> End:
        return self.callee if end is self.caller else self.caller

    @property
    def contexts(self) -> list[int]:
        """The contexts at the gateway, the caller's half-call first."""
        return sorted(self.bed.gateway.table.contexts)


def _ue(bed: Bed, user: str, host: str, number: int) -> End:
    flow = Flow("tls", "gm-tls", ACCESS, (host, 40000 + number), number)
    if ":" in host:
        flow = Flow("tls", "gm-tls6", ACCESS_IPV6, (host, 40000 + number), number)
    peer = bed.ue if flow == bed.ue.flow else bed.peer(user, flow)
    local = {"192.0.2.10": host, "alice": user, UE_FINGERPRINT: f"{number:02X}{UE_FINGERPRINT[2:]}", "kjh37s": f"{user}9"}
    offer, answer = (_replaced(body, local) for body in (PROTECTED_OFFER, PROTECTED_ANSWER))
    return End(bed, peer, user, offer, answer)


def _replaced(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


async def from_ue(bed: Bed, host: str = "192.0.2.10", believed: str = "") -> Play:
    alice = _ue(bed, "alice", host, 1)
    alice.host = believed or host
    await alice.register()
    return Play(bed, alice, End(bed, bed.core, "bob", PLAIN_OFFER, PLAIN_ANSWER), f"sip:bob@{DOMAIN}", alice.routes)


async def to_ue(bed: Bed, host: str = "192.0.2.10", believed: str = "") -> Play:
    alice = _ue(bed, "alice", host, 1)
    alice.host = believed or host
    await alice.register()
    (binding,) = bed.store.bindings()
    return Play(bed, End(bed, bed.core, "bob", PLAIN_OFFER, PLAIN_ANSWER), alice, binding.contact, [path_of(binding)])


async def between_ues(bed: Bed) -> Play:
    bed.core = ProxyCore(bed, "core", bed.core.flow)
    bed.net.peers[bed.core.flow.remote] = bed.core
    alice, carol = _ue(bed, "alice", "192.0.2.10", 1), _ue(bed, "carol", "192.0.2.20", 2)
    for end in (alice, carol):
        await end.register()
    return Play(bed, alice, carol, carol.uri, alice.routes)


AT_HOME, ROUTER = "10.0.0.7", "203.0.113.99"   # a UE behind a NAT, as it sees itself and as it is seen
IPV6 = "2001:db8:61::10"

PLACES: dict[str, Callable[[Bed], Any]] = {
    "from-ue": from_ue, "to-ue": to_ue, "between-ues": between_ues,
    "from-nat": lambda bed: from_ue(bed, ROUTER, AT_HOME), "to-nat": lambda bed: to_ue(bed, ROUTER, AT_HOME),
    "from-ipv6": lambda bed: from_ue(bed, IPV6), "to-ipv6": lambda bed: to_ue(bed, IPV6),
}
