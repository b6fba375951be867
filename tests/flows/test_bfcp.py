"""BFCP between a UE and a conference server (TS 33.328 §7.2 and §7.3, RFC 8856): dial-in, dial-out, further offers.

Each tale is checked by the ladder of what the three parties saw of it: the BFCP line and its attributes, in SIP and on Iq.
"""

from __future__ import annotations

from functools import partial

import pytest

from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.model import Stream, TcpRole
from pcscf.sip.message import response_to
from tests.support import tales
from tests.support.flowbed import Bed
from tests.support.parties import UE_FINGERPRINT, Ue, answered, call_ue, crlf, from_far
from tests.support.tales import be_called as dial_out
from tests.support.tales import core_says, hang_up, re_offer, ue_answers
from tests.support.tales import establish as dial_in

OTHER_FINGERPRINT = UE_FINGERPRINT.replace("A0:A1", "FF:FE")


def ue_bfcp(setup: str = "active", connection: str = "new", *, port: int = 9, host: str = "192.0.2.10", asked: bool = True,
            fingerprint: str = UE_FINGERPRINT, more: str = "") -> str:  # fmt: skip
    return crlf(f"""
        v=0
        o=alice 1 1 IN IP4 192.0.2.10
        s=-
        c=IN IP4 {host}
        t=0 0
        m=application {port} TCP/TLS/BFCP *
        a=floorctrl:c-only
        a=setup:{setup}
        a=connection:{connection}
        a=fingerprint:SHA-256 {fingerprint}""" + ("\na=3ge2ae:requested" if asked else "") + more)


def core_bfcp(setup: str = "passive", connection: str = "new", *, port: int = 40_100, host: str = "198.51.100.50") -> str:
    return crlf(f"""
        v=0
        o=focus 1 1 IN IP4 198.51.100.50
        s=-
        c=IN IP4 {host}
        t=0 0
        m=application {port} TCP/BFCP *
        a=floorctrl:s-only
        a=confid:4321
        a=userid:1234
        a=floorid:1 mstrm:10
        a=setup:{setup}
        a=connection:{connection}""")


def shown(body: bytes) -> str:
    """What a description says of the connection, in one line."""
    lines = body.decode().splitlines()
    line = next(line for line in lines if line.startswith("m="))
    names = ("setup", "connection", "3ge2ae")
    said = [line[2:] for name in names for line in lines if line.startswith(f"a={name}:")]
    return " ".join([*line.split()[1:3], *said, *(["fingerprint"] if "a=fingerprint" in body.decode() else [])])


def told(bed: Bed) -> dict[str, Stream]:
    """The gateway's stream on each side."""
    (context,) = bed.gateway.table.contexts.values()
    return {each.realm: each.streams[1] for each in context.terminations.values()}


def roles(bed: Bed) -> tuple[TcpRole | None, TlsRole, TcpRole | None, int]:
    """(TCP and TLS towards the UE, TCP towards the core, how many connections were asked for after the first)."""
    access, core = told(bed)["access"], told(bed)["core"]
    assert access.generation == core.generation
    return access.tcp, TlsRole.CLIENT if access.tls_client else TlsRole.SERVER, core.tcp, access.generation


story = partial(tales.story, mechanisms=("msrp-tls", "bfcp-tls"))

ACCEPT, CONNECT, CLIENT, SERVER = TcpRole.ACCEPT, TcpRole.CONNECT, TlsRole.CLIENT, TlsRole.SERVER


@pytest.mark.parametrize(("setup", "back", "ladder", "expected"), [
    ("active", "passive", ["30000 TCP/TLS/BFCP setup:passive"], (ACCEPT, SERVER, CONNECT, 0)),
    ("passive", "active", ["9 TCP/TLS/BFCP setup:active"], (CONNECT, SERVER, ACCEPT, 0)),
    ("actpass", "active", ["30000 TCP/TLS/BFCP setup:passive"], (ACCEPT, SERVER, ACCEPT, 0)),
])  # fmt: skip
def test_dial_in(setup: str, back: str, ladder: list[str], expected: tuple[object, ...]) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await dial_in(bed, ue, ue_bfcp(setup, port=7_000), core_bfcp(back))
        assert shown(invite.body) == "41000 TCP/BFCP setup:actpass connection:new"
        assert shown(answer.body) == f"{ladder[0]} connection:new fingerprint"
        assert b"a=floorid:1 mstrm:10" in answer.body
        assert roles(bed) == expected
        await hang_up(bed, ue, answer)

    story(tale)


@pytest.mark.parametrize(("setup", "back", "towards_core", "expected"), [
    ("actpass", "active", "41000 TCP/BFCP setup:passive", (ACCEPT, CLIENT, ACCEPT, 0)),
    ("actpass", "passive", "41000 TCP/BFCP setup:passive", (CONNECT, CLIENT, ACCEPT, 0)),
    ("passive", "active", "9 TCP/BFCP setup:active", (ACCEPT, CLIENT, CONNECT, 0)),
])  # fmt: skip
def test_dial_out(setup: str, back: str, towards_core: str, expected: tuple[object, ...]) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await dial_out(bed, core_bfcp(setup), ue_bfcp(back, port=7_000, asked=False))
        assert shown(invite.body) == "30000 TCP/TLS/BFCP setup:actpass connection:new 3ge2ae:applied fingerprint"
        assert shown(answer.body) == f"{towards_core} connection:new"
        assert roles(bed) == expected
        bed.core.send(core_says("BYE", answer, 2))
        ue.answer(await bed.ue.expect("BYE"))
        await bed.core.expect(200)

    story(tale)


@pytest.mark.parametrize(("offer", "back", "asked_anew"), [
    (ue_bfcp("active", "existing"), core_bfcp("passive", "existing"), 0),
    (ue_bfcp("actpass", "existing", port=7_000), core_bfcp("active", "existing", port=9), 0),
    (ue_bfcp("holdconn", "existing"), core_bfcp("holdconn", "existing"), 0),
    (ue_bfcp("active", "existing", more="\na=sendonly"), core_bfcp("passive", "existing"), 0),
    (ue_bfcp("active", "existing"), core_bfcp("passive", "new"), 1),
    (ue_bfcp("active", "new"), core_bfcp("passive", "new"), 1),
    (ue_bfcp("active", "new", fingerprint=OTHER_FINGERPRINT), core_bfcp("passive", "new"), 1),
    (ue_bfcp("active", "new", host="192.0.2.11"), core_bfcp("passive", "new", port=40_200), 1),
], ids=[
    "refresh", "existing-ignores-setup", "existing-holdconn", "hold", "answered-new", "reconnect", "certificate", "address",
])  # fmt: skip
def test_a_further_offer_of_the_ue(offer: str, back: str, asked_anew: int) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await dial_in(bed, ue, ue_bfcp(), core_bfcp())
        modifies = bed.gateway.asked.count(("Modify", "Modify"))
        before = told(bed)["access"].remote
        ue.in_dialog("INVITE", answer, offer)
        invite = await bed.core.expect("INVITE")
        assert bed.gateway.asked.count(("Modify", "Modify")) == modifies   # nothing before the answer
        bed.core.send(answered(invite, body=back))
        again = await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        for name in ("connection:new", "connection:existing"):
            assert (f"a={name}" in invite.body.decode()) == (f"a={name}" in offer)
            assert (f"a={name}" in again.body.decode()) == (f"a={name}" in back)
        assert roles(bed) == (ACCEPT, SERVER, CONNECT, asked_anew)
        assert bed.gateway.asked.count(("Modify", "Modify")) == modifies + asked_anew
        after = told(bed)["access"].remote
        assert before is not None
        assert after is not None
        if OTHER_FINGERPRINT in offer:
            assert after.fingerprints[0].value == OTHER_FINGERPRINT
        elif not asked_anew:
            assert after == before
        await hang_up(bed, ue, answer)

    story(tale)


def test_the_server_offers_a_new_connection_and_the_gateway_becomes_the_client() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await dial_in(bed, ue, ue_bfcp(), core_bfcp())
        assert roles(bed) == (ACCEPT, SERVER, CONNECT, 0)
        bed.core.send(from_far(invite, "INVITE", body=core_bfcp("actpass", "new")))
        offer = await bed.ue.expect("INVITE")
        assert shown(offer.body) == "30000 TCP/TLS/BFCP setup:actpass connection:new 3ge2ae:applied fingerprint"
        ue.answer(offer, body=ue_bfcp("active", "new", asked=False))
        back = await bed.core.expect(200)
        assert shown(back.body) == "41000 TCP/BFCP setup:passive connection:new"
        bed.core.send(from_far(invite, "ACK"))
        await bed.ue.expect("ACK")
        assert roles(bed) == (ACCEPT, CLIENT, ACCEPT, 1)
        await re_offer(bed, ue, answer, ue_bfcp("active", "new"), core_bfcp("passive", "new"))
        assert roles(bed) == (ACCEPT, SERVER, CONNECT, 2)
        await hang_up(bed, ue, answer)

    story(tale)


def test_holdconn_makes_no_connection_until_a_further_offer_does() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await dial_in(bed, ue, ue_bfcp("holdconn"), core_bfcp("holdconn"))
        assert shown(invite.body) == "9 TCP/BFCP setup:holdconn connection:new"
        assert shown(answer.body) == "9 TCP/TLS/BFCP setup:holdconn connection:new fingerprint"
        assert roles(bed)[0] is roles(bed)[2] is None
        await re_offer(bed, ue, answer, ue_bfcp("active", "new"), core_bfcp("passive", "new"))
        assert roles(bed) == (ACCEPT, SERVER, CONNECT, 1)
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_refused_reconnect_leaves_the_connection() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await dial_in(bed, ue, ue_bfcp(), core_bfcp())
        before = roles(bed), told(bed)["access"].remote
        ue.in_dialog("INVITE", answer, ue_bfcp("active", "new", fingerprint=OTHER_FINGERPRINT))
        bed.core.send(answered(await bed.core.expect("INVITE"), 488, body=""))
        await bed.ue.expect(488)
        await bed.core.expect("ACK")
        await bed.settle(1)
        assert (roles(bed), told(bed)["access"].remote) == before
        await hang_up(bed, ue, answer)

    story(tale)


@pytest.mark.parametrize("back", [
    core_bfcp("active"), "\r\n".join(line for line in ue_bfcp(asked=False).split("\r\n") if "fingerprint" not in line),
], ids=["plain", "no-fingerprint"])  # fmt: skip
def test_an_answer_that_drops_protection(back: str) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed, core_bfcp("actpass"))
        bed.ue.send(ue_answers(await bed.ue.expect("INVITE"), back))
        await bed.core.expect(488)
        await bed.ue.expect("ACK")
        assert "cause=488" in (await bed.ue.expect("BYE")).get("Reason")

    story(tale)


def test_a_further_answer_that_drops_protection_ends_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, _ = await dial_in(bed, ue, ue_bfcp(), core_bfcp())
        bed.core.send(from_far(invite, "INVITE", body=core_bfcp("actpass", "existing")))
        ue.answer(await bed.ue.expect("INVITE"), body=core_bfcp("active", "existing"))
        await bed.core.expect(488)
        assert "cause=488" in (await bed.ue.expect("BYE")).get("Reason")

    story(tale)


@pytest.mark.parametrize("cause", ["TLS handshake timeout", "TLS protocol error", "TLS certificate fingerprint mismatch"])
def test_a_handshake_that_fails_ends_both_sides_with_the_reason(cause: str) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, _ = await dial_in(bed, ue, ue_bfcp(), core_bfcp())
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, cause)
        for peer in (bed.ue, bed.core):
            bye = await peer.expect("BYE")
            assert cause in bye.get("Reason")
            peer.send(response_to(bye, 200))

    story(tale)


def test_a_connection_that_its_peer_closed_waits_for_the_further_offer() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await dial_in(bed, ue, ue_bfcp(), core_bfcp())
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "connection released by the peer", "NR")
        await bed.settle(5)
        await re_offer(bed, ue, answer, ue_bfcp("active", "new"), core_bfcp("passive", "new"))
        assert roles(bed) == (ACCEPT, SERVER, CONNECT, 1)
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_dial_in_that_is_sent_elsewhere() -> None:
    """The core retargets: 302 goes to the UE as it came, with the conference's focus in its Contact."""
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(ue_bfcp())
        moved = answered(await bed.core.expect("INVITE"), 302, body="")
        moved.add("Contact", "<sip:conf42@ims.example>;isfocus")
        bed.core.send(moved)
        got = await bed.ue.expect(302)
        assert got.get("Contact") == "<sip:conf42@ims.example>;isfocus"
        await bed.core.expect("ACK")

    story(tale)


def test_the_focus_takes_over_the_dialog() -> None:
    """A target refresh names the focus; what the UE sends next goes there (RFC 4579 §5)."""
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(ue_bfcp())
        invite = await bed.core.expect("INVITE")
        accepted = answered(invite, body=core_bfcp())
        accepted.remove("Contact")
        accepted.add("Contact", "<sip:conf42@198.51.100.2:5080>;isfocus")
        bed.core.send(accepted)
        answer = await bed.ue.expect(200)
        assert answer.get("Contact") == "<sip:conf42@198.51.100.2:5080>;isfocus"

        def in_dialog(method: str) -> None:
            answer_as_target = response_to(invite, 200)
            answer_as_target.copy_lines(answer, "Record-Route")
            answer_as_target.remove("To")
            answer_as_target.add("To", answer.get("To") or "")
            answer_as_target.add("Contact", "<sip:conf42@198.51.100.2:5080>")
            ue.in_dialog(method, answer_as_target)

        in_dialog("ACK")
        await bed.core.expect("ACK")
        in_dialog("BYE")
        bye = await bed.core.expect("BYE")
        assert bye.uri == "sip:conf42@198.51.100.2:5080"
        bed.core.send(response_to(bye, 200))
        await bed.ue.expect(200)

    story(tale)
