"""Both parties behind one P-CSCF: two half-calls with one Call-ID and the same tags, and nothing else in common but the core."""

from __future__ import annotations

from functools import partial

from pcscf.gateway.model import Context
from pcscf.sip.flow import Flow
from pcscf.sip.headers import parse_name_addr
from pcscf.sip.message import Request, Response
from tests.support.audit import run
from tests.support.ends import CORE_URI, ProxyCore
from tests.support.flowbed import ACCESS, CORE, Peer
from tests.support.plays import Play

AT_ACCESS, AT_CORE = "c=IN IP4 203.0.113.7", "c=IN IP4 198.51.100.7"


story = partial(run, place="between-ues")


def lines(message: Request | Response) -> list[str]:
    return message.body.decode().splitlines()


def media(message: Request | Response) -> tuple[int, str]:
    """Port and transport of the one m-line."""
    (line,) = [line.split() for line in lines(message) if line.startswith("m=")]
    return int(line[1]), line[2]


def tokens(message: Request | Response) -> list[str]:
    """The users of our own Record-Route entries, top first."""
    return [uri.user for uri in (parse_name_addr(each).uri_parsed for each in message.values("Record-Route")) if uri.user]


def in_core(play: Play, wanted: str | int) -> list[Request | Response]:
    """What came to the core of that method or status of an INVITE."""
    seen = [each for each in play.bed.core.seen if isinstance(each, Request)]
    return [each for each in seen if each.method == wanted]


def test_each_half_call_has_a_context_and_a_token_of_its_own() -> None:
    async def tale(play: Play) -> None:
        near, _ = await play.establish()
        assert len(play.contexts) == 2
        assert sorted(session.media.context for session in play.bed.store.sessions() if session.media) == play.contexts
        first, second = ({each.realm for each in context.terminations.values()} for context in _contexts(play))
        assert first == second == {"access", "core"}
        callee, caller = tokens(play.got)[0], tokens(play.got)[-1]
        assert tokens(play.got) == [callee, callee, caller, caller]
        assert caller != callee
        assert {session.token for session in play.bed.store.sessions()} == {caller, callee}
        assert {session.call_id for session in play.bed.store.sessions()} == {play.sent.call_id}
        await play.hang_up(play.caller, near)

    story(tale)


def test_nothing_of_one_leg_shows_on_another() -> None:
    async def tale(play: Play) -> None:
        await play.offer()
        (in_between,) = in_core(play, "INVITE")
        far = play.callee.accept(play.got)
        answer = await play.caller.expect(200)
        play.caller.acknowledge(play.sent, answer)
        await play.callee.expect("ACK")

        alice, carol = (next(line for line in end.offer.splitlines() if "fingerprint" in line) for end in play.ends)
        assert alice != carol
        assert media(play.got)[1] == media(answer)[1] == "TCP/TLS/MSRP"
        assert media(in_between)[1] == "TCP/MSRP"
        assert AT_ACCESS in lines(play.got)
        assert AT_ACCESS in lines(answer)
        assert AT_CORE in lines(in_between)
        assert not {alice, carol} & {*lines(play.got), *lines(answer), *lines(in_between)}
        assert not [line for line in lines(in_between) if line.startswith(("a=fingerprint", "a=3ge2ae"))]
        assert "a=3ge2ae:applied" in lines(play.got)
        assert "a=3ge2ae" not in answer.body.decode()
        assert media(play.got)[0] != media(answer)[0]
        for name in ("Security-Client", "Security-Verify", "Security-Server", "P-Charging-Vector"):
            assert name not in play.got
        assert play.got.get("P-Asserted-Identity") == f"<{play.caller.uri}>"
        await play.hang_up(play.callee, far)

    story(tale)


def test_the_gateway_stands_twice_in_the_path_of_the_media() -> None:
    async def tale(play: Play) -> None:
        near, _ = await play.establish()
        outer, inner = _contexts(play)
        access = {each.realm: each for each in outer.terminations.values()}["access"]
        told = next(each for each in play.caller.peer.seen if isinstance(each, Response) and each.body)
        assert f"m=message {media(told)[0]} " in access.streams[1].local.text
        remote = [_ports(each.streams[1].remote.text) for each in outer.terminations.values() if each.realm == "core"]
        local = [_ports(each.streams[1].local.text) for each in inner.terminations.values() if each.realm == "core"]
        assert remote == local   # the outer half-call's far end is the inner one's core side
        await play.hang_up(play.caller, near)

    story(tale)


def test_a_spiral_is_not_a_loop() -> None:
    async def tale(play: Play) -> None:
        near, far = await play.establish()
        assert play.caller.peer.count(482) == 0
        assert len(in_core(play, "INVITE")) == 1
        assert int(play.got.get("Max-Forwards") or "") < int(play.sent.get("Max-Forwards") or "")
        for end, dialog in ((play.caller, near), (play.callee, far)):
            end.say(dialog, "INFO")
            info = await play.other(end).expect("INFO")
            play.other(end).reply(info, 200)
            await end.expect(200)
        assert len(in_core(play, "INFO")) == 2
        await play.hang_up(play.caller, near)

    story(tale)


def test_a_loop_is_one() -> None:
    class Echo(ProxyCore):
        """A core that sends everything back with nothing changed that steers it."""

        def _onward(self, request: Request) -> Request:
            onward = request.copy()
            onward.prepend("Via", f"SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bKecho{request.top_via.branch};rport")
            return onward

    async def tale(play: Play) -> None:
        play.bed.core.__class__ = Echo
        play.invite()
        await play.refused(482)
        assert play.callee.peer.count("INVITE") == 0

    story(tale)


def test_a_core_that_stays_out_of_the_dialog() -> None:
    class Mirror(Peer):
        """Our own core address: what we send there comes to us."""

        def receive(self, data: bytes) -> None:
            self.send(data)

    class Silent(ProxyCore):
        def _onward(self, request: Request) -> Request:
            onward = super()._onward(request)
            kept = [each for each in onward.values("Record-Route") if each != CORE_URI]
            onward.set_values("Record-Route", kept)
            return onward

    async def tale(play: Play) -> None:
        play.bed.core.__class__ = Silent
        play.bed.net.peers[CORE] = Mirror(play.bed, "mirror", Flow("udp", "mw-udp", CORE, CORE, 0))
        near, _ = await play.establish()
        assert len(play.got.values("Record-Route")) == 4
        await play.hang_up(play.caller, near)
        assert not in_core(play, "BYE")

    story(tale)


def test_the_callees_token_does_not_open_the_callers_half() -> None:
    async def tale(play: Play) -> None:
        near, _ = await play.establish()
        callee = tokens(play.got)[0]
        forged = near.request("BYE")
        forged.set_values("Route", [f"<sip:{callee}@{ACCESS[0]}:{ACCESS[1]};transport=tls;lr>"])
        play.caller.send(forged)
        await play.caller.expect(481)
        assert len(play.contexts) == 2
        await play.hang_up(play.caller, near)

    story(tale)


def test_two_calls_between_the_same_two() -> None:
    async def tale(play: Play) -> None:
        first, _ = await play.establish()
        back = Play(play.bed, play.callee, play.caller, play.caller.uri, play.callee.routes)
        second, _ = await back.establish()
        assert len(play.contexts) == 4
        await play.hang_up(play.caller, first)
        await play.bed.settle()
        assert len(play.contexts) == 2
        await back.hang_up(back.caller, second)

    story(tale)


def _contexts(play: Play) -> list[Context]:
    return [play.bed.gateway.table.contexts[number] for number in play.contexts]


def _ports(text: str) -> str:
    return next(line.split()[1] for line in text.splitlines() if line.startswith("m="))
