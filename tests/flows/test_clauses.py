"""The procedures of the standards, a ladder each, for every medium, over a wire that delivers and over one that loses.

    TS 33.328 §7.2.1, §7.3.1 and their like for BFCP (annex G) and T.38 (annex L): what becomes of the SDP
    TS 24.229 §6.7.2                                                              3ge2ae and fingerprints end at the edge
    TS 23.334 §6.2.10, §6.2.18                                                    what the gateway is told, and how often
    RFC 6337 table 1                                                              the six ways of an offer and its answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.model import LegPlan, TcpRole
from tests.support.audit import run
from tests.support.diligent import Diligent, lose_every_first_datagram
from tests.support.flowbed import Bed
from tests.support.ladder import Ladder
from tests.support.memorygateway import FINGERPRINT, RSA_FINGERPRINT
from tests.support.parties import UE_FINGERPRINT, crlf
from tests.support.plays import Play

SERVER, CLIENT, ACCEPT, CONNECT = TlsRole.SERVER, TlsRole.CLIENT, TcpRole.ACCEPT, TcpRole.CONNECT
CERTIFICATE = f"a=fingerprint:SHA-256 {UE_FINGERPRINT}"
OURS = f"a=fingerprint:sha-256 {FINGERPRINT.value}"
OUR_RSA = f"a=fingerprint:sha-256 {RSA_FINGERPRINT.value}"
REQUESTED, APPLIED = "a=3ge2ae:requested", "a=3ge2ae:applied"


def described(host: str, *lines: str) -> str:
    return crlf("\n".join(("v=0", "o=- 1 1 IN IP4 host.invalid", "s=-", f"c=IN IP4 {host}", "t=0 0", *lines)))


@dataclass(frozen=True)
class Medium:
    """What the UE and the core say of one medium, and what each is told: the lines of its m-section.

    tls, tcp  of the gateway when the UE offers, and when the core does: its role towards the UE; TCP towards UE and core
    """

    name: str
    ue: tuple[str, ...]             # offer and answer, but for a=setup
    core: tuple[str, ...]
    setups: tuple[str, str, str, str]    # offer of the UE, answer of the core, offer of the core, answer of the UE; "" none
    core_gets_offer: tuple[str, ...]
    ue_gets_answer: tuple[str, ...]
    ue_gets_offer: tuple[str, ...]
    core_gets_answer: tuple[str, ...]
    tls: tuple[TlsRole, TlsRole]
    tcp: tuple[tuple[TcpRole | None, TcpRole | None], tuple[TcpRole | None, TcpRole | None]]

    def said(self) -> dict[str, str]:
        """The bodies of a ladder."""
        named = zip(("ue offers", "core answers", "core offers", "ue answers"), self.setups, strict=True)
        written = {}
        for name, setup in named:
            who, what = name.split()
            lines = self.ue if who == "ue" else self.core
            extra = (CERTIFICATE, *((REQUESTED,) if what == "offers" else ())) if who == "ue" else ()
            role = (f"a=setup:{setup}",) if setup else ()
            written[name] = described("192.0.2.10" if who == "ue" else "198.51.100.50", *lines, *role, *extra)
        return written


MSRP = Medium(
    "MSRP",
    ue=("m=message 9 TCP/TLS/MSRP *", "a=accept-types:*", "a=path:msrps://192.0.2.10:9/u1;tcp", "a=msrp-cema"),
    core=("m=message 40100 TCP/MSRP *", "a=accept-types:*", "a=path:msrp://198.51.100.50:40100/c1;tcp", "a=msrp-cema"),
    setups=("active", "passive", "actpass", "active"),
    core_gets_offer=(
        "m=message 9 TCP/MSRP *", "a=accept-types:*", "a=path:msrps://192.0.2.10:9/u1;tcp", "a=msrp-cema", "a=setup:active"),
    ue_gets_answer=(
        "m=message 30000 TCP/TLS/MSRP *", "a=accept-types:*", "a=path:msrp://198.51.100.50:40100/c1;tcp", "a=msrp-cema",
        "a=setup:passive", OURS),
    ue_gets_offer=(
        "m=message 30000 TCP/TLS/MSRP *", "a=accept-types:*", "a=path:msrp://198.51.100.50:40100/c1;tcp", "a=msrp-cema",
        "a=setup:actpass", OURS, APPLIED),
    core_gets_answer=(
        "m=message 9 TCP/MSRP *", "a=accept-types:*", "a=path:msrps://192.0.2.10:9/u1;tcp", "a=msrp-cema", "a=setup:active"),
    tls=(SERVER, SERVER),
    tcp=((ACCEPT, CONNECT), (ACCEPT, CONNECT)),
)
BFCP = Medium(
    "BFCP",
    ue=("m=application 50000 TCP/TLS/BFCP *", "a=floorctrl:c-only", "a=connection:new"),
    core=("m=application 40200 TCP/BFCP *", "a=floorctrl:s-only", "a=confid:7", "a=userid:3", "a=connection:new"),
    setups=("actpass", "passive", "actpass", "active"),
    core_gets_offer=("m=application 41000 TCP/BFCP *", "a=floorctrl:c-only", "a=connection:new", "a=setup:actpass"),
    ue_gets_answer=(
        "m=application 30000 TCP/TLS/BFCP *", "a=floorctrl:s-only", "a=confid:7", "a=userid:3", "a=connection:new",
        "a=setup:passive", OURS),
    ue_gets_offer=(
        "m=application 30000 TCP/TLS/BFCP *", "a=floorctrl:s-only", "a=confid:7", "a=userid:3", "a=connection:new",
        "a=setup:actpass", OURS, APPLIED),
    core_gets_answer=("m=application 41000 TCP/BFCP *", "a=floorctrl:c-only", "a=connection:new", "a=setup:passive"),
    tls=(SERVER, CLIENT),   # RFC 8856 §8: the offerer is the client, whoever opens
    tcp=((ACCEPT, CONNECT), (ACCEPT, ACCEPT)),
)
FAX = Medium(
    "T.38",
    ue=("m=image 6100 UDP/TLS/UDPTL t38", "a=T38FaxVersion:0", "a=T38FaxUdpEC:t38UDPRedundancy"),
    core=("m=image 7100 udptl t38", "a=T38FaxVersion:0", "a=T38FaxMaxDatagram:150"),
    setups=("actpass", "", "", "active"),
    core_gets_offer=("m=image 41000 udptl t38", "a=T38FaxVersion:0", "a=T38FaxUdpEC:t38UDPRedundancy"),
    ue_gets_answer=(
        "m=image 30000 UDP/TLS/UDPTL t38", "a=T38FaxVersion:0", "a=T38FaxMaxDatagram:150", "a=setup:passive", OURS, OUR_RSA),
    ue_gets_offer=(
        "m=image 30000 UDP/TLS/UDPTL t38", "a=T38FaxVersion:0", "a=T38FaxMaxDatagram:150", "a=setup:actpass", OURS, OUR_RSA,
        APPLIED),
    core_gets_answer=("m=image 41000 udptl t38", "a=T38FaxVersion:0", "a=T38FaxUdpEC:t38UDPRedundancy"),
    tls=(SERVER, SERVER),
    tcp=((None, None), (None, None)),
)
MEDIA = (MSRP, BFCP, FAX)


@dataclass(frozen=True)
class Way:
    """A row of RFC 6337 table 1: OFFER and ANSWER stand for what the two ends say, who calls and who is called."""

    row: int
    ladder: str
    caller_offers: bool
    exchanges: int = 1
    carriers: tuple[str, str] = ("INVITE", "200")   # what carried the last offer and its answer


WAYS = (
    Way(1, """
        caller: INVITE (OFFER)
        callee: 180
        callee: 200 (ANSWER)
        caller: ACK
        """, caller_offers=True),
    Way(2, """
        caller: INVITE
        callee: 180
        callee: 200 (OFFER)
        caller: ACK (ANSWER)
        """, caller_offers=False, carriers=("200", "ACK")),
    Way(3, """
        caller: INVITE (OFFER)
        callee: 183 reliable (ANSWER)
        caller: PRACK
        callee: 200 PRACK
        callee: 200 INVITE
        caller: ACK
        """, caller_offers=True, carriers=("INVITE", "183")),
    Way(4, """
        caller: INVITE
        callee: 183 reliable (OFFER)
        caller: PRACK (ANSWER)
        callee: 200 PRACK
        callee: 200 INVITE
        caller: ACK
        """, caller_offers=False, carriers=("183", "PRACK")),
    Way(5, """
        caller: INVITE (OFFER)
        callee: 183 reliable (ANSWER)
        caller: PRACK (OFFER)
        callee: 200 PRACK (ANSWER)
        callee: 200 INVITE
        caller: ACK
        """, caller_offers=True, exchanges=2, carriers=("PRACK", "200 PRACK")),
    Way(6, """
        caller: INVITE (OFFER)
        callee: 183 reliable (ANSWER)
        caller: PRACK
        callee: 200 PRACK
        caller: UPDATE (OFFER)
        callee: 200 UPDATE (ANSWER)
        callee: 200 INVITE
        caller: ACK
        """, caller_offers=True, exchanges=2, carriers=("UPDATE", "200 UPDATE")),
)
ENDS = "caller: BYE\ncallee: 200 BYE\n"

Story = Callable[[Play], Awaitable[None]]


def on_the_wire(wire: str, story: Story) -> Story:
    """The story, where the wire loses: with ends that repeat what RFC 3261 has them repeat."""
    if wire == "clean":
        return story

    async def lossy(play: Play) -> None:
        lost = lose_every_first_datagram(play.bed)
        await story(play)
        assert any(data.startswith((b"INVITE", b"SIP/2.0 200")) for data in lost)
        assert any(data.startswith(b"!/") for data in lost)   # Iq
        await asyncio.sleep(40)

    return lossy


def gateway(bed: Bed) -> dict[str, LegPlan]:
    """What the gateway does on either side."""
    ((number, context),) = bed.gateway.table.contexts.items()
    plans = bed.gateway.table._plans[number]
    return {context.terminations[leg.termination].realm: plan for leg, plan in plans.items()}


def section(text: str, *, without: tuple[str, ...] = ("a=tls-id:",)) -> tuple[str, ...]:
    """The lines of the m-section."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("m="))
    return tuple(line for line in lines[start:] if not line.startswith(without))


def written(way: Way, place: str) -> str:
    """The ladder with the bodies that the two ends say."""
    caller_is_ue = place == "from-ue"
    offerer, answerer = ("ue", "core") if way.caller_offers == caller_is_ue else ("core", "ue")
    return way.ladder.replace("OFFER", f"{offerer} offers").replace("ANSWER", f"{answerer} answers")


@pytest.mark.parametrize("wire", ["clean", "lossy"])
@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"row-{way.row}")
@pytest.mark.parametrize("place", ["from-ue", "to-ue"])
def test_every_way_of_an_offer(place: str, way: Way, medium: Medium, wire: str) -> None:
    ue_offers = way.caller_offers == (place == "from-ue")
    to_answerer, to_offerer = (
        (medium.core_gets_offer, medium.ue_gets_answer) if ue_offers else (medium.ue_gets_offer, medium.core_gets_answer))

    async def story(play: Play) -> None:
        ladder = Ladder(play, medium.said())
        await ladder.climb(written(way, place))
        offerer, answerer = ("caller", "callee") if way.caller_offers else ("callee", "caller")
        offer, answer = (carrier.partition(" ")[0] for carrier in way.carriers)
        if way.exchanges == 1:
            assert section(ladder.description(answerer, offer)) == to_answerer
            assert section(ladder.description(offerer, answer)) == to_offerer
        else:
            assert section(ladder.description(answerer, offer)) == to_answerer   # the same again, in a message of its own

        legs = gateway(play.bed)
        access, core = legs["access"], legs["core"]
        assert access.secure
        assert not core.secure
        assert access.tls is medium.tls[0 if ue_offers else 1]
        assert (access.tcp, core.tcp) == medium.tcp[0 if ue_offers else 1]
        assert [each.value for each in access.fingerprints] == [UE_FINGERPRINT]
        assert access.receives
        assert access.sends

        await ladder.climb(ENDS)
        await play.bed.settle(10)
        told = [each for each in play.bed.gateway.asked if each[0] != "AuditValue" and each != ("Modify",)]   # those are of ROOT
        renewed = medium is BFCP and way.exchanges == 2   # a=connection:new asks for another connection (RFC 4145 §5)
        assert told == [("Add", "Add"), *[("Modify", "Modify")] * (2 if renewed else 1), ("Subtract",)]

    run(on_the_wire(wire, story), place, mechanisms=("msrp-tls", "bfcp-tls", "udptl-dtls"), peer_class=Diligent)


@pytest.mark.parametrize("wire", ["clean", "lossy"])
@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
def test_the_ue_offers_without_asking_for_the_edge(medium: Medium, wire: str) -> None:
    """TS 33.328 §7.2.1 step 2: without 3ge2ae it is end to end, and passes as it is."""

    async def story(play: Play) -> None:
        offer = medium.said()["ue offers"].replace(f"{REQUESTED}\r\n", "")
        answer = described("198.51.100.50", *medium.ue, "a=setup:passive", CERTIFICATE.replace("A0", "B0"))
        ladder = Ladder(play, {"offer": offer, "answer": answer})
        ladder.shows_certificates = True
        await ladder.climb("caller: INVITE (offer)\ncallee: 200 (answer)\ncaller: ACK")
        for who, what, sent in (("callee", "INVITE", offer), ("caller", "200", answer)):
            got, was = section(ladder.description(who, what)), section(sent)
            assert got[1:] == was[1:]
            assert got[0].split()[2:] == was[0].split()[2:]
        assert not gateway(play.bed)["access"].secure
        await ladder.climb(ENDS)

    run(on_the_wire(wire, story), "from-ue", mechanisms=("msrp-tls", "bfcp-tls", "udptl-dtls"), peer_class=Diligent)


@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
def test_the_core_offers_protection_of_its_own(medium: Medium) -> None:
    """TS 33.328 §7.3.1 step 3: an offer that is protected already is end to end; nobody is told that it was applied."""

    async def story(play: Play) -> None:
        offer = described("198.51.100.50", *medium.ue, "a=setup:actpass", CERTIFICATE, REQUESTED)
        answer = described("192.0.2.10", *medium.ue, "a=setup:active", CERTIFICATE.replace("A0", "B0"))
        ladder = Ladder(play, {"offer": offer, "answer": answer})
        ladder.shows_certificates = True
        await ladder.climb("caller: INVITE (offer)\ncallee: 200 (answer)\ncaller: ACK")
        for who, what, sent in (("callee", "INVITE", offer), ("caller", "200", answer)):
            got, was = section(ladder.description(who, what)), section(sent, without=("a=3ge2ae",))
            assert got[1:] == was[1:]
        await ladder.climb(ENDS)

    run(story, "to-ue", mechanisms=("msrp-tls", "bfcp-tls", "udptl-dtls"))


@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
def test_the_core_offers_to_a_ue_that_listed_nothing(medium: Medium) -> None:
    """TS 33.328 §7.3.1: protection is offered to a UE that said at registration that it knows it, and to no other."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, {
            "offer": medium.said()["core offers"],
            "answer": described("192.0.2.10", *medium.core, *(() if medium is FAX else ("a=setup:active",)))})
        await ladder.climb("caller: INVITE (offer)\ncallee: 200 (answer)\ncaller: ACK")
        shown = ladder.description("callee", "INVITE")
        assert medium.core[0].split()[2] in shown
        assert "fingerprint" not in shown
        assert "3ge2ae" not in shown
        await ladder.climb(ENDS)

    run(story, "to-ue", mechanisms=())


@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
@pytest.mark.parametrize("way", WAYS[:4], ids=lambda way: f"row-{way.row}")
@pytest.mark.parametrize("damage", ["no certificate", "plain"])
def test_an_answer_of_the_ue_that_drops_protection(way: Way, medium: Medium, damage: str) -> None:
    """Whatever carries it – 2xx, reliable 1xx, PRACK or ACK – nothing of it reaches the core, and the call is over."""
    place = "to-ue" if way.caller_offers else "from-ue"
    plain = medium.ue[0].replace("TCP/TLS/", "TCP/").replace("UDP/TLS/UDPTL", "udptl")

    async def story(play: Play) -> None:
        said = medium.said()
        answer = said["ue answers"].replace(f"{CERTIFICATE}\r\n", "")
        if damage == "plain":
            answer = answer.replace(medium.ue[0], plain)
        ladder = Ladder(play, said | {"ue answers": answer})
        rungs = [line.strip() for line in written(way, place).strip().splitlines()]
        fatal = next(index for index, line in enumerate(rungs) if "ue answers" in line)
        if way.row == 2:   # an ACK cannot be refused: it goes on with closed lines
            await ladder.climb("\n".join(rungs))
            assert section(ladder.description("callee", "ACK"))[0].split()[1] == "0"
            await ladder.climb("pcscf: BYE caller\npcscf: BYE callee")
            return
        await ladder.climb("\n".join(rungs[:fatal]) + f"\n{rungs[fatal]} !")
        if way.row == 4:
            await ladder.climb("pcscf: 488 PRACK caller\npcscf: 488 INVITE caller\npcscf: CANCEL callee")
        elif way.row == 3:
            await ladder.climb("pcscf: 488 INVITE caller\npcscf: CANCEL callee")
        else:
            await ladder.climb("pcscf: 488 INVITE caller")
            await play.callee.expect("ACK")
            await ladder.climb("pcscf: BYE callee")

    run(story, place, mechanisms=("msrp-tls", "bfcp-tls", "udptl-dtls"))


CORE_CERTIFICATE = "a=fingerprint:sha-256 " + ":".join(["C0"] * 32)
INSIDE = MediaPolicy(msrp=MediumPolicy(core="tls"), bfcp=MediumPolicy(core="tls"), fax=MediumPolicy(core="tls"))


def within(medium: Medium, certificate: str, setup: str) -> str:
    """What the core says where it protects as well: its own lines in the protected transport."""
    head, *rest = medium.core
    media, port, plain, formats = head.split()
    secure = {"TCP/MSRP": "TCP/TLS/MSRP", "TCP/BFCP": "TCP/TLS/BFCP", "udptl": "UDP/TLS/UDPTL"}[plain]
    lines = (f"{media} {port} {secure} {formats}", *rest, f"a=setup:{setup}", *([certificate] if certificate else ()))
    return described("198.51.100.50", *lines)


@pytest.mark.parametrize("place", ["from-ue", "to-ue"])
@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
def test_protection_inside_the_core_is_another_one(medium: Medium, place: str) -> None:
    """TS 33.328 §7.2.1 NOTE 4: the gateway ends it on both sides, and each side sees the gateway's certificate alone."""

    async def story(play: Play) -> None:
        roles = {"core offers": "actpass", "core answers": "passive"}
        inside = {what: within(medium, CORE_CERTIFICATE, setup) for what, setup in roles.items()}
        ladder = Ladder(play, medium.said() | inside)
        ladder.shows_certificates = True
        await ladder.climb(written(WAYS[0], place))
        legs = gateway(play.bed)
        assert (legs["access"].secure, legs["core"].secure) == (True, True)
        assert [each.value for each in legs["access"].fingerprints] == [UE_FINGERPRINT]
        assert [each.value for each in legs["core"].fingerprints] == [CORE_CERTIFICATE.partition(" ")[2]]
        for what, who in (("INVITE", "callee"), ("200", "caller")):
            shown = ladder.description(who, what)
            assert OURS in shown
            assert UE_FINGERPRINT not in shown
            assert CORE_CERTIFICATE not in shown
        await ladder.climb(ENDS)

    run(story, place, mechanisms=("msrp-tls", "bfcp-tls", "udptl-dtls"), policy=INSIDE)


@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
@pytest.mark.parametrize("damage", ["no certificate", "plain"])
def test_a_core_that_drops_its_own_protection_ends_the_call(medium: Medium, damage: str) -> None:
    async def story(play: Play) -> None:
        answer = within(medium, "", "passive") if damage == "no certificate" else medium.said()["core answers"]
        ladder = Ladder(play, medium.said() | {"core answers": answer})
        ladder.shows_certificates = True
        await ladder.climb("caller: INVITE (ue offers)\ncallee: 200 (core answers) !\npcscf: 488 INVITE caller")
        await play.callee.expect("ACK")
        await ladder.climb("pcscf: BYE callee")

    run(story, "from-ue", mechanisms=("msrp-tls", "bfcp-tls", "udptl-dtls"), policy=INSIDE)
