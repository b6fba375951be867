"""RCS clients that know nothing of TS 33.328, under policies/rcs.yaml: TLS unasked, SHA-1, no CEMA, odd spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcscf.config.load import load_rules
from pcscf.config.resolve import resolve
from tests.support.audit import run
from tests.support.ladder import Ladder
from tests.support.parties import crlf
from tests.support.plays import Play

FLEET = resolve(
    load_rules(Path("policies/rcs.yaml")).policies, realm="access", access="tls", identities=(), user_agent="Phone-RCS/5.1")
WEAK = ":".join(f"{octet:02X}" for octet in range(0x60, 0x74))
PEER = crlf("""
    v=0
    o=bob 100 200 IN IP4 198.51.100.50
    s=-
    c=IN IP4 198.51.100.50
    t=0 0
    m=message 40100 TCP/MSRP *
    a=accept-types:text/plain
    a=path:msrp://198.51.100.50:40100/z9;tcp
    """)
RCS = crlf(f"""
    v=0
    o=- 1 1 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=message 9 TCP/TLS/MSRP *
    a=accept-types:message/cpim
    a=path:msrps://192.0.2.10:9/s4Lt;tcp
    a=setup:actpass
    a=connection:new
    a=fingerprint:SHA-1 {WEAK}
    """)
SPELLINGS = {
    "as RFC 4975 has it": RCS,
    "lower case": RCS.replace(WEAK, WEAK.lower()).replace("SHA-1", "sha-1"),
    "a blank after the colon": RCS.replace("a=path:", "a=path: ").replace("a=fingerprint:", "a=fingerprint: "),
    "c= after t=": RCS.replace("c=IN IP4 192.0.2.10\r\nt=0 0", "t=0 0\r\nc=IN IP4 192.0.2.10"),
    "no t=": RCS.replace("t=0 0\r\n", ""),
    "no setup": RCS.replace("a=setup:actpass\r\n", ""),
    "the certificate for the whole session": RCS.replace(f"a=fingerprint:SHA-1 {WEAK}\r\n", "").replace(
        "t=0 0", f"t=0 0\r\na=fingerprint:SHA-1 {WEAK}"),
    "asking for the edge without registration": RCS + "a=3ge2ae:requested\r\n",
}


@pytest.mark.parametrize("offer", SPELLINGS.values(), ids=SPELLINGS)
def test_its_tls_ends_at_the_gateway(offer: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, {"rcs": offer, "peer": PEER, "rcs again": offer.replace("actpass", "active")})
        await ladder.climb("""
            caller: INVITE (rcs)
            callee: 200 (peer)
            caller: ACK
            """)
        towards_core = ladder.description("callee", "INVITE")
        assert "TCP/MSRP" in towards_core
        assert "a=path:msrp://198.51.100.7:41000/s4Lt;tcp" in towards_core
        towards_ue = ladder.description("caller", "200")
        assert "m=message 30000 TCP/TLS/MSRP *" in towards_ue
        assert "a=path:msrps://203.0.113.7:30000/z9;tcp" in towards_ue
        assert "a=fingerprint:sha-256 " in towards_ue
        ((number, context),) = play.bed.gateway.table.contexts.items()
        plans = play.bed.gateway.table._plans[number]
        (access,) = (plan for leg, plan in plans.items() if context.terminations[leg.termination].realm == "access")
        assert [(each.hash, each.value) for each in access.fingerprints] == [("sha-1", WEAK)]

        # The far end refreshes in the clear, and the line stays protected.
        await ladder.climb("callee: UPDATE (peer)\ncaller: 200 (rcs again)")
        assert "TCP/TLS/MSRP" in ladder.description("caller", "UPDATE")
        await ladder.climb("caller: BYE\ncallee: 200 BYE")

    run(story, "from-ue", policy=FLEET, mechanisms=(), weakest_hash="sha-1")


def test_a_call_to_it_stays_plain() -> None:
    """It listed nothing, so it is offered nothing (TS 33.328 §7.3.1)."""

    async def story(play: Play) -> None:
        plain = RCS.replace("TCP/TLS/", "TCP/").replace("msrps:", "msrp:").replace(f"a=fingerprint:SHA-1 {WEAK}\r\n", "")
        ladder = Ladder(play, {"peer": PEER, "plain": plain.replace("actpass", "passive")})
        await ladder.climb("caller: INVITE (peer)\ncallee: 200 (plain)\ncaller: ACK")
        assert "TCP/MSRP" in ladder.description("callee", "INVITE")
        await ladder.climb("caller: BYE\ncallee: 200 BYE")

    run(story, "to-ue", policy=FLEET, mechanisms=(), weakest_hash="sha-1")


def test_everybody_else_is_held_to_sha_256() -> None:
    everybody = resolve(
        load_rules(Path("policies/rcs.yaml")).policies, realm="access", access="tls", identities=(), user_agent="Other/1")

    async def story(play: Play) -> None:
        await Ladder(play, {"rcs": RCS + "a=3ge2ae:requested\r\na=msrp-cema\r\n"}).climb("""
            caller: INVITE (rcs) !
            pcscf: 488 caller
            """)

    run(story, "from-ue", policy=everybody, mechanisms=("msrp-tls",))
