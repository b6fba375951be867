"""Protection that is not ours to end (TS 33.328 §7.2.3, TS 23.334 §6.2.10): what the ends wrote about it reaches the other end.

The gateway stands in the path of octets that it cannot read, or, where policy says so, of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.gateway.model import TcpRole
from tests.support.flowbed import Bed
from tests.support.parties import crlf
from tests.support.plays import PLACES, Play
from tests.support.virtual import run_virtually

TICKET = "a=key-mgmt:mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyONQ6gAAAAAGEEoo2pee4hp2\r\n"
OURS = {"access": "203.0.113.7", "core": "198.51.100.7"}
ENDS = {"caller": "192.0.2.99", "callee": "198.51.100.99"}


def description(who: str, line: str) -> str:
    """Everything at media level that an end can say of its protection, and what nobody knows."""
    host, name = ENDS[who], who[4:]
    return crlf(f"""
        v=0
        o={who} 77 78 IN IP4 {host}
        s=-
        c=IN IP4 {host}
        t=0 0
        """) + line.replace("HOST", host).replace("NAME", name)


def msrp(setup: str, port: int, *more: str) -> str:
    return crlf("\n".join((f"""
        m=message {port} TCP/TLS/MSRP *
        a=accept-types:message/cpim text/plain
        a=path:msrps://HOST:{port}/NAME77;tcp
        a=msrp-cema
        a=fingerprint:SHA-256 {":".join(["AB"] * 32)}
        a=setup:{setup}
        a=connection:new
        a=x-nobody:knows""".strip(), *more)))


def bfcp(setup: str, port: int) -> str:
    return crlf(f"""
        m=application {port} TCP/TLS/BFCP *
        a=floorctrl:c-only
        a=fingerprint:sha-1 {":".join(["ab"] * 20)}
        a=tls-id:abc3de65cddef001be82
        a=setup:{setup}
        a=connection:new""")


def moved(text: str, address: str) -> list[str]:
    """The lines of a description, with c= and the port of m= as the gateway writes them."""
    return [
        f"c=IN IP4 {address}" if line.startswith("c=") else line.replace(" 7777 ", " PORT ") if line.startswith("m=") else line
        for line in text.splitlines()
    ]


def sent(body: bytes) -> list[str]:
    """The lines of a description that came, with a port of the gateway by name."""
    return [
        re.sub(r" [34]\d{4} ", " PORT ", line) if line.startswith("m=") else line for line in body.decode().splitlines()
    ]


def play_with(place: str, tale: Callable[[Play], Awaitable[None]], **policy: bool) -> None:
    async def story() -> None:
        bed = Bed(policy=MediaPolicy(**policy))   # type: ignore[arg-type]
        await bed.start()
        play = await PLACES[place](bed)
        await tale(play)
        await bed.settle(300)
        assert not bed.gateway.table.contexts, bed.story()
        await bed.close()

    run_virtually(story)


LINES = {
    "msrp": msrp,
    "msrp with a ticket": lambda setup, port: msrp(setup, port) + TICKET,
    "bfcp": bfcp,
}
ROLES = {"active": ("active", 9, "passive", 7777), "passive": ("passive", 7777, "active", 9),
         "actpass, the callee opens": ("actpass", 7777, "active", 9), "actpass": ("actpass", 7777, "passive", 7777)}


@pytest.mark.parametrize("roles", ROLES)
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", ["from-ue", "to-ue"])
def test_only_addresses_change_on_the_way(place: str, line: str, roles: str) -> None:
    offered, offer_port, answered, answer_port = ROLES[roles]
    near, far = ("access", "core") if place == "from-ue" else ("core", "access")

    async def tale(play: Play) -> None:
        play.caller.offer = description("caller", LINES[line](offered, offer_port))
        play.callee.answer = description("callee", LINES[line](answered, answer_port))
        got = await play.offer()
        assert sent(got.body) == moved(play.caller.offer, OURS[far])
        play.callee.accept(got)
        answer = await play.caller.expect(200)
        assert sent(answer.body) == moved(play.callee.answer, OURS[near])
        dialog = play.caller.acknowledge(play.sent, answer)
        await play.callee.expect("ACK")

        [context] = play.bed.gateway.table.contexts.values()
        streams = [termination.streams[1] for termination in context.terminations.values()]
        assert not any(stream.local.secure or stream.local.fingerprints for stream in streams), "nothing ends here"
        by_realm = {termination.realm: termination.streams[1] for termination in context.terminations.values()}
        opens, waits = (far, near) if answered == "passive" else (near, far)
        assert (by_realm[opens].tcp, by_realm[waits].tcp) == (TcpRole.CONNECT, TcpRole.ACCEPT)
        dials = by_realm[opens].remote
        assert dials is not None
        assert dials.target == (ENDS["callee" if opens == far else "caller"], 7777)
        await play.hang_up(play.caller, dialog)

    play_with(place, tale)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", ["from-ue", "to-ue", "between-ues"])
def test_without_an_anchor_octets_are_the_same(place: str, line: str) -> None:
    async def tale(play: Play) -> None:
        play.caller.offer = description("caller", LINES[line]("active", 9))
        play.callee.answer = description("callee", LINES[line]("passive", 7777))
        got = await play.offer()
        assert got.body == play.caller.offer.encode()
        play.callee.accept(got)
        answer = await play.caller.expect(200)
        assert answer.body == play.callee.answer.encode()
        assert not play.bed.gateway.table.contexts
        dialog = play.caller.acknowledge(play.sent, answer)
        await play.callee.expect("ACK")
        await play.hang_up(play.caller, dialog)

    play_with(place, tale, anchor_pass=False)


def test_a_request_for_the_edge_beside_own_keys_is_not_passed_on() -> None:
    """The UE contradicts itself: its keys stay its own, and what was for us goes no further."""
    async def tale(play: Play) -> None:
        plain = description("caller", msrp("active", 9) + TICKET)
        play.caller.offer = plain + "a=3ge2ae:requested\r\n"
        play.callee.answer = description("callee", msrp("passive", 7777) + TICKET)
        got = await play.offer()
        assert got.body == plain.encode()
        dialogs = await play.accept()
        await play.hang_up(play.caller, dialogs[0])

    play_with("from-ue", tale, anchor_pass=False)
