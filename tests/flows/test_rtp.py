"""Voice and video through the gateway: beside messages, on hold, moved, early, forked, behind a NAT, across families."""

from __future__ import annotations

import re

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.gateway.model import LegPlan
from pcscf.iq.media import line_of
from tests.support.audit import run
from tests.support.ends import End
from tests.support.flowbed import Bed
from tests.support.ladder import Body, Ladder
from tests.support.parties import crlf
from tests.support.plays import AT_HOME, IPV6, ROUTER, Play

ALL = ("from-ue", "to-ue", "between-ues")

HOME = {"alice": "192.0.2.10", "carol": "192.0.2.20", "bob": "198.51.100.50"}
PORT = {"alice": 20000, "carol": 24000, "bob": 26000}


def described(address: str, *lines: str, user: str = "x") -> str:
    family = "IP6" if ":" in address else "IP4"
    return crlf("\n".join([
        "v=0", f"o={user} 7 7 IN IP4 192.0.2.1", "s=-", f"c=IN {family} {address}", "t=0 0", *lines]))  # fmt: skip


def voice(*attributes: str, address: str = "", move: int = 0, media: str = "audio", proto: str = "RTP/AVP") -> Body:
    """One line of the end that says it; `move`: with its port moved by so much."""
    def said(end: End) -> str:
        here = address or (end.host if end.user == "alice" else HOME[end.user])
        return described(here, f"m={media} {PORT[end.user] + move} {proto} 8", *attributes, user=end.user)

    return said


def before(description: str, user: str) -> str:
    """Voice before the messages of the end."""
    return description.replace("m=message", f"m=audio {PORT[user]} RTP/AVP 8\r\nm=message")


BODIES: dict[str, Body] = {
    "voice": voice("a=ptime:20"), "muxed": voice("a=rtcp-mux"), "rtcp elsewhere": voice("a=rtcp:9100 IN IP4 192.0.2.66"),
    "hold": voice("a=sendonly"), "held": voice("a=recvonly"), "silence": voice("a=inactive"),
    "old hold": voice(address="0.0.0.0"),
    "moved": voice("a=ptime:20", move=8), "elsewhere": voice("a=ptime:20", address="192.0.2.44", move=8),
    "and messages": lambda end: before(end.offer, end.user), "and messages too": lambda end: before(end.answer, end.user),
    "here": described(HOME["bob"], "m=audio 26000 RTP/AVP 8"), "there": described("198.51.100.51", "m=audio 26008 RTP/AVP 8"),
    "and video": lambda end: described(
        HOME[end.user], f"m=audio {PORT[end.user]} RTP/AVP 8", f"m=video {PORT[end.user] + 2} RTP/AVP 97"),
    "no video": lambda end: described(
        HOME[end.user], f"m=audio {PORT[end.user]} RTP/AVP 8", "m=video 0 RTP/AVP 97"),
    "srtp": voice("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz", proto="RTP/SAVP"),
    "ice": voice(
        "a=ice-ufrag:F7gI", "a=ice-pwd:x9cml/YzichV2+XlhiMu8g", "a=candidate:1 1 UDP 2130706431 192.0.2.10 20000 typ host"),
    "bundle": lambda end: described(
        HOME[end.user], "a=group:BUNDLE a v", f"m=audio {PORT[end.user]} RTP/AVP 8", "a=mid:a",
        f"m=video {PORT[end.user]} RTP/AVP 97", "a=mid:v"),
}  # fmt: skip

BEGINS = """
    caller: INVITE (voice)
    callee: 180
    callee: 200 INVITE (voice)
    caller: ACK
    """
ENDS = """
    caller: BYE
    callee: 200
    """


def legs(bed: Bed, index: int = 0, half: int = 0) -> tuple[LegPlan, LegPlan]:
    """(access, core) of an m-line, in one half-call after the other; of several kinds the one that is open."""
    context = bed.gateway.table.contexts[sorted(bed.gateway.table.contexts)[half]]
    plans = bed.gateway.table._plans[context.id]
    realms = {
        context.terminations[leg.termination].realm: plan
        for leg, plan in sorted(plans.items(), key=lambda each: each[1].receives) if line_of(leg.stream) == index}
    return realms["access"], realms["core"]


def is_open(*sides: LegPlan) -> bool:
    return all(leg.complete and leg.receives and leg.sends for leg in sides)


def media_lines(description: str) -> list[str]:
    return [line for line in description.splitlines() if line[0] in "cm"]


def foreign(description: str, play: Play) -> list[str]:
    """Addresses of ends in a description that should only have those of the gateway."""
    return [each for each in (*HOME.values(), AT_HOME, ROUTER, IPV6) if f" {each}" in description]


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("place", ALL)
def test_a_call(place: str, who: str) -> None:
    """Each side sees the gateway alone; the callee or the caller hangs up."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        assert len(play.contexts) == len(play.served)
        for half in range(len(play.contexts)):
            access, core = legs(play.bed, half=half)
            assert is_open(access, core)
            assert (access.rtp, core.rtp, access.latch, core.latch) == (True, True, 0, 0)
        for name, what in (("callee", "INVITE"), ("caller", "200")):
            told = ladder.description(name, what)
            assert not foreign(told, play)
            assert "a=ptime:20" in told
            assert re.search(r"^m=audio [34]\d{4} RTP/AVP 8\r$", told, re.MULTILINE)
        other = "callee" if who == "caller" else "caller"
        await ladder.climb(f"{who}: BYE\n{other}: 200")

    run(story, place)


def test_where_the_datagrams_go() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        access, core = legs(play.bed)
        assert (access.remote, access.rtcp) == ((HOME["alice"], 20000), (HOME["alice"], 20001))
        assert (core.remote, core.rtcp) == ((HOME["bob"], 26000), (HOME["bob"], 26001))
        assert access.source is not None
        assert access.source.admits((HOME["alice"], 9))
        assert not access.source.admits((ROUTER, 20000))
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize(("answer", "muxed"), [("muxed", True), ("voice", False)])
@pytest.mark.parametrize("place", ALL)
def test_one_port_for_rtp_and_rtcp_if_the_answer_agrees(place: str, answer: str, muxed: bool) -> None:
    """RFC 5761 §5.1.1."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(f"""
            caller: INVITE (muxed)
            callee: 200 ({answer})
            caller: ACK
            """)
        assert "a=rtcp-mux" in ladder.description("callee", "INVITE")
        assert ("a=rtcp-mux" in ladder.description("caller", "200")) is muxed
        for half in range(len(play.contexts)):
            access, core = legs(play.bed, half=half)
            assert (access.rtcp_mux, core.rtcp_mux) == (muxed, muxed)
            assert (access.rtcp is None, core.rtcp is None) == (muxed, muxed)
        told = play.bed.gateway.asked.count(("Modify", "Modify"))
        await ladder.climb(f"""
            caller: UPDATE (muxed)
            callee: 200 ({answer})
            """)
        assert play.bed.gateway.asked.count(("Modify", "Modify")) == told   # a refresh tells the gateway nothing
        await ladder.climb("""
            caller: UPDATE (voice)
            callee: 200 (voice)
            caller: UPDATE (muxed)
            callee: 200 (muxed)
            """)
        assert all(leg.rtcp_mux for leg in legs(play.bed))
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ["from-ue", "to-ue"])
def test_rtcp_on_a_port_of_its_own_choice(place: str) -> None:
    """RFC 3605."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (rtcp elsewhere)
            callee: 200 (voice)
            caller: ACK
            """)
        [port] = re.findall(r"m=audio (\d+)", offer := ladder.description("callee", "INVITE"))
        assert re.search(rf"^a=rtcp:{int(port) + 1} IN IP4 (203.0.113.7|198.51.100.7)\r$", offer, re.MULTILINE)
        access, core = legs(play.bed)
        caller = access if play.caller.user == "alice" else core
        assert caller.rtcp == ("192.0.2.66", 9100)
        assert access.source is not None
        assert access.source.admits(("192.0.2.66", 9100)) is (place == "from-ue")
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize(
    ("hold", "held"), [("hold", "held"), ("silence", "silence"), ("old hold", "old hold"), ("old hold", "voice")])
@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("place", ALL)
def test_hold_and_resume(place: str, method: str, who: str, hold: str, held: str) -> None:
    """RFC 3264 §8.4 and its older form with 0.0.0.0. RTCP goes on, so the gates stay open and the gateway is not told."""
    other = "callee" if who == "caller" else "caller"
    ack = f"{who}: ACK" if method == "INVITE" else ""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        before = [legs(play.bed, half=half) for half in range(len(play.contexts))]
        await ladder.climb(f"{who}: {method} ({hold})\n{other}: 200 ({held})\n{ack}")
        told = ladder.description(other, method)
        assert ("c=IN IP4 0.0.0.0" in told) is (hold == "old hold")
        assert not foreign(told, play)
        for line in ("a=sendonly", "a=inactive"):
            assert (line in told) is (line[2:] == {"hold": "sendonly", "silence": "inactive"}.get(hold))
        await ladder.climb(f"{who}: {method} (voice)\n{other}: 200 (voice)\n{ack}")
        assert [legs(play.bed, half=half) for half in range(len(play.contexts))] == before
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_voice_beside_protected_messages(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (and messages)
            callee: 200 (and messages too)
            caller: ACK
            """)
        for half in range(len(play.contexts)):
            sound, words = legs(play.bed, 0, half), legs(play.bed, 1, half)
            assert [leg.rtp for leg in (*sound, *words)] == [True, True, False, False]
            assert [leg.secure for leg in (*sound, *words)] == [False, False, True, False]
            assert all(leg.complete for leg in (*sound, *words))
        assert len(play.contexts) == len(play.served)   # one context for all of it
        assert not foreign("\n".join(media_lines(ladder.description("callee", "INVITE"))), play)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize(("moved", "remote"), [("moved", ("192.0.2.10", 20008)), ("elsewhere", ("192.0.2.44", 20008))])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_caller_that_moves(method: str, moved: str, remote: tuple[str, int]) -> None:
    """The gateway follows; the other side sees the same description, octet by octet (RFC 3264 §8)."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        first = ladder.description("callee", "INVITE")
        before, ack = legs(play.bed), "caller: ACK" if method == "INVITE" else ""
        await ladder.climb(f"caller: {method} ({moved})\ncallee: 200 (voice)\n{ack}")
        assert ladder.description("callee", method) == first
        access, core = legs(play.bed)
        assert (access.remote, access.local, core) == (remote, before[0].local, before[1])
        assert access.source is not None
        assert access.source.admits(remote)
        await ladder.climb(ENDS)

    run(story, "from-ue")


def test_a_move_that_is_refused_is_taken_back() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        before = legs(play.bed)
        await ladder.climb("caller: INVITE (elsewhere)\ncallee: 488 INVITE")
        await play.bed.settle()
        assert legs(play.bed) == before
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize("place", ALL)
def test_early_media(place: str, reliable: bool) -> None:
    """The announcement before the answer is heard, and answered: both gates are open with the first description."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("caller: INVITE (voice)")
        for half in range(len(play.contexts)):
            access, core = legs(play.bed, half=half)
            near, far = (access, core) if play.caller.user == "alice" and half == 0 else (core, access)
            assert (near.complete, far.complete, far.receives) == (True, False, False)
        await ladder.climb("""
            callee: 183 INVITE reliable (voice)
            caller: PRACK
            callee: 200 PRACK
            """ if reliable else "callee: 183 INVITE (voice)")
        for half in range(len(play.contexts)):
            assert is_open(*legs(play.bed, half=half))
        told = play.bed.gateway.asked.count(("Modify", "Modify"))
        await ladder.climb(f"callee: 200 INVITE{'' if reliable else ' (voice)'}\ncaller: ACK")
        assert play.bed.gateway.asked.count(("Modify", "Modify")) == told
        await ladder.climb(ENDS)

    run(story, place)


def test_the_fork_that_answers_in_the_end_is_heard() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("caller: INVITE (voice)")
        for ladder.tag, body in (("one", "here"), ("two", "there")):
            await ladder.climb(f"callee: 183 INVITE ({body})")
        assert legs(play.bed)[1].remote == ("198.51.100.51", 26008)
        access = legs(play.bed)[0]
        ladder.tag = "one"
        await ladder.climb("callee: 200 INVITE (here)\ncaller: ACK")
        assert legs(play.bed)[1].remote == (HOME["bob"], 26000)
        assert legs(play.bed)[0] == access
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("place", ALL)
def test_video_comes_is_declined_and_goes(place: str, who: str) -> None:
    other = "callee" if who == "caller" else "caller"

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        voice_only = [legs(play.bed, half=half) for half in range(len(play.contexts))]
        for answer, opened in (("no video", False), ("and video", True)):
            await ladder.climb(f"{who}: INVITE (and video)\n{other}: 200 ({answer})\n{who}: ACK")
            for half in range(len(play.contexts)):
                assert [leg.receives for leg in legs(play.bed, 1, half)] == [opened, opened]
        await ladder.climb(f"{who}: INVITE (no video)\n{other}: 200 (no video)\n{who}: ACK")
        for half in range(len(play.contexts)):
            assert [leg.receives for leg in legs(play.bed, 1, half)] == [False, False]
        assert [legs(play.bed, half=half) for half in range(len(play.contexts))] == voice_only
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_closed_line_is_open_until_the_answer_is_in(place: str) -> None:
    """RFC 3264 §8.2: an offer that takes a line out may be refused."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (and video)
            callee: 200 (and video)
            caller: ACK
            caller: INVITE (no video)
            """)
        assert is_open(*legs(play.bed, 1))
        await ladder.climb("callee: 488 INVITE")
        await play.bed.settle()
        assert is_open(*legs(play.bed, 1))
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_keys_of_the_ends_pass(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (srtp)
            callee: 200 (srtp)
            caller: ACK
            """)
        for name, what in (("callee", "INVITE"), ("caller", "200")):
            assert " RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1j" in ladder.description(name, what)
            assert not foreign(ladder.description(name, what), play)
        assert is_open(*legs(play.bed))
        assert not any(leg.secure for leg in legs(play.bed))
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize(("body", "policy"), [
    ("ice", MediaPolicy()), ("bundle", MediaPolicy()), ("voice", MediaPolicy(anchor_rtp=False)),
    ("voice", MediaPolicy(anchor_plain=False)), ("srtp", MediaPolicy(anchor_pass=False)),
])
@pytest.mark.parametrize("place", ALL)
def test_what_goes_past_the_gateway_keeps_its_octets(place: str, body: str, policy: MediaPolicy) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(f"""
            caller: INVITE ({body})
            callee: 200 ({body})
            caller: ACK
            """)
        said = BODIES[body]
        assert not isinstance(said, str)
        assert ladder.description("callee", "INVITE") == said(play.caller)
        assert ladder.description("caller", "200") == said(play.callee)
        assert play.contexts == []
        await ladder.climb(ENDS)

    run(story, place, policy=policy)


@pytest.mark.parametrize("place", ["from-nat", "to-nat"])
def test_a_ue_behind_a_nat(place: str) -> None:
    """The gateway is told to look where its datagrams come from, and from where they may come."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        access, core = legs(play.bed)
        assert (access.latch, core.latch) == (1, 0)
        assert (access.remote, core.remote) == ((AT_HOME, 20000), (HOME["bob"], 26000))
        assert access.source is not None
        assert [access.source.admits((host, 1)) for host in (ROUTER, AT_HOME, "203.0.113.98")] == [True, True, False]
        assert core.source is None
        for name, what in (("callee", "INVITE"), ("caller", "200")):
            assert not foreign(ladder.description(name, what), play)
        ue = "caller" if place == "from-nat" else "callee"
        other = "callee" if ue == "caller" else "caller"
        await ladder.climb(f"{ue}: UPDATE (hold)\n{other}: 200 (held)\n{other}: UPDATE (voice)\n{ue}: 200 (voice)")
        assert legs(play.bed)[0].latch == 1   # nothing has moved
        await ladder.climb(f"{ue}: UPDATE (moved)\n{other}: 200 (voice)")
        assert legs(play.bed)[0].latch == 2   # it says so: once more, from the first one that sends
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize(("policy", "latch", "admitted"), [
    (MediaPolicy(latch="never"), 0, False), (MediaPolicy(latch_from="any"), 1, True),
])
def test_policy_decides_about_latching(policy: MediaPolicy, latch: int, admitted: bool) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        access, _ = legs(play.bed)
        assert access.latch == latch
        assert (access.source is None or access.source.admits(("203.0.113.98", 7))) is admitted
        await ladder.climb(ENDS)

    run(story, "from-nat", policy=policy)


def test_a_ue_whose_nat_gave_it_another_address() -> None:
    """An UPDATE over a connection from somewhere else: what stands in the SDP is the same, yet the media come from there."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        flow = play.caller.peer.flow._replace(remote=("203.0.113.55", 51000), connection=9)
        known = play.caller.peer
        play.caller.peer = play.bed.peer("alice elsewhere", flow)
        await ladder.climb("caller: UPDATE (voice)\ncallee: 200 (voice)")
        access, _ = legs(play.bed)
        assert access.latch == 2
        assert access.source is not None
        assert [access.source.admits((host, 1)) for host in (ROUTER, "203.0.113.55")] == [False, True]
        await ladder.climb(ENDS)
        play.caller.peer = known
        play.gone.add(play.caller)

    run(story, "from-nat")


@pytest.mark.parametrize("place", ["from-ipv6", "to-ipv6"])
def test_between_ipv6_and_ipv4(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        access, core = legs(play.bed)
        assert is_open(access, core)
        assert (access.local[0], access.remote) == ("2001:db8:7::7", (IPV6, 20000))
        assert (core.local[0], core.remote) == ("198.51.100.7", (HOME["bob"], 26000))
        seen = {"alice": "c=IN IP6 2001:db8:7::7", "bob": "c=IN IP4 198.51.100.7"}
        assert seen[play.callee.user] in ladder.description("callee", "INVITE")
        assert seen[play.caller.user] in ladder.description("caller", "200")
        await ladder.climb("caller: UPDATE (old hold)\ncallee: 200 (held)")
        unspecified = {"alice": "c=IN IP6 ::\r\n", "bob": "c=IN IP4 0.0.0.0\r\n"}
        assert unspecified[play.callee.user] in ladder.description("callee", "UPDATE")
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_line_that_changes_while_it_is_on_hold(place: str) -> None:
    """Nobody's new address is known, yet the new kind of line needs ports."""
    body = BODIES | {"fax, on hold": described("0.0.0.0", "m=image 20000 udptl t38", "a=T38FaxVersion:0")}

    async def story(play: Play) -> None:
        ladder = Ladder(play, body)
        await ladder.climb(BEGINS)
        await ladder.climb("""
            caller: INVITE (fax, on hold)
            callee: 200 (fax, on hold)
            caller: ACK
            """)
        assert re.search(r"^m=image [34]\d{4} udptl t38\r$", ladder.description("callee", "INVITE"), re.MULTILINE)
        assert "c=IN IP4 0.0.0.0" in ladder.description("callee", "INVITE")
        await ladder.climb("caller: UPDATE (voice)\ncallee: 200 (voice)")
        assert is_open(*legs(play.bed))
        await ladder.climb(ENDS)

    run(story, place)


def test_an_answer_that_leads_nowhere_ends_the_call() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES | {"a name": described("media.example", "m=audio 26000 RTP/AVP 8")})
        await ladder.climb("""
            caller: INVITE (voice)
            callee: 200 (a name) !
            pcscf: 488 caller
            pcscf: ACK callee
            pcscf: BYE callee
            """)

    run(story, "from-ue")


@pytest.mark.parametrize("place", ["from-ue", "to-ipv6"])
def test_an_answer_of_the_other_family_is_refused(place: str) -> None:
    """The offer named an address of ours that it cannot be reached from."""
    other = described("2001:db8:5::50" if place == "from-ue" else HOME["alice"], "m=audio 26000 RTP/AVP 8")

    async def story(play: Play) -> None:
        await Ladder(play, BODIES | {"other": other}).climb("""
            caller: INVITE (voice)
            callee: 200 (other) !
            pcscf: 488 caller
            pcscf: ACK callee
            pcscf: BYE callee
            """)

    run(story, place)


def test_a_move_to_the_other_family_is_refused_and_the_call_goes_on() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES | {"other": described("2001:db8:61::10", "m=audio 20000 RTP/AVP 8")})
        await ladder.climb(BEGINS)
        before = legs(play.bed)
        await ladder.climb("""
            caller: UPDATE (other) !
            pcscf: 488 UPDATE caller
            """)
        assert legs(play.bed) == before
        await ladder.climb("caller: UPDATE (voice)\ncallee: 200 (voice)")
        await ladder.climb(ENDS)

    run(story, "from-ue")
