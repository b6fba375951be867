"""What gateways report about a session: which causes end it, with which Reason, and which are only logged."""

from __future__ import annotations

from typing import Any

import pytest

from pcscf.h248.message import ErrorDescriptor
from pcscf.iq.notifications import BearerReleased, Layer
from pcscf.iq.overload import Urgency
from pcscf.iq.supervision import Supervision
from pcscf.procedures.site import Limits, Reactions, Side
from pcscf.procedures.urgency import urgency_of
from pcscf.procedures.watch import outcome, release_overdue
from pcscf.sip.message import Request
from tests.support.audit import run
from tests.support.plays import Play


@pytest.mark.parametrize(
    ("layer", "general", "status"),
    [
        ("tls", "FP", 488), ("tls", "IW", 488), ("tls", "", 488), ("tls", "UN", 488), ("tls", "FT", 503), ("tls", "UR", 503),
        ("dtls", "FP", 488), ("dtls", "IW", 488), ("dtls", "", 488), ("dtls", "FT", 503),
        ("tcp", "FT", 503), ("tcp", "FP", 503), ("tcp", "UR", 503), ("tcp", "", 503), ("", "FT", 503), ("", "", 503),
        ("tcp", "NR", 0), ("tls", "NR", 0), ("dtls", "NR", 0), ("", "NR", 0),
    ],
)  # fmt: skip
def test_the_outcome_of_each_cause(layer: Layer, general: str, status: int) -> None:
    error = outcome(BearerReleased(1, "ip/1/1/1", 1, layer, "why", general))
    assert (error.status if error is not None else 0) == status
    assert error is None or "why" in error.what


@pytest.mark.parametrize(("general", "cause"), [("FP", "488"), ("FT", "503")])
@pytest.mark.parametrize("place", ["from-ue", "to-ue"])
def test_a_failure_ends_the_session_with_its_reason(place: str, general: str, cause: str) -> None:
    async def story(play: Play) -> None:
        await play.establish()
        play.bed.gateway.notify_tls_failed(play.contexts[0], "as it was told", general)
        for end in play.ends:
            reason = (await end.answer_bye()).get("Reason") or ""
            assert f"cause={cause}" in reason
            assert "as it was told" in reason

    run(story, place)


def test_a_connection_that_an_end_closed_is_only_logged() -> None:
    async def story(play: Play) -> None:
        near, _ = await play.establish()
        play.bed.gateway.notify_tls_failed(play.contexts[0], "closed", "NR")
        await play.bed.settle(1.0)
        (record,) = play.bed.recorded("bearer-released")
        assert record["general"] == "NR"
        assert len(play.contexts) == 1
        await play.hang_up(play.caller, near)

    run(story, "from-ue")


def test_unless_the_operator_wants_its_session_to_end() -> None:
    async def story(play: Play) -> None:
        await play.establish()
        play.bed.gateway.notify_tls_failed(play.contexts[0], "closed", "NR")
        for end in play.ends:
            assert "cause=480" in ((await end.answer_bye()).get("Reason") or "")

    run(story, "from-ue", reactions=Reactions(closed="release"))


def test_media_that_stopped_ends_the_session() -> None:
    async def story(play: Play) -> None:
        await play.establish()
        play.bed.gateway.notify(play.contexts[0], "adid/ipstop")
        for end in play.ends:
            assert "cause=408" in ((await end.answer_bye()).get("Reason") or "")

    run(story, "from-ue")


def test_media_that_stopped_is_only_logged_where_the_operator_wants_that() -> None:
    async def story(play: Play) -> None:
        near, _ = await play.establish()
        play.bed.gateway.notify(play.contexts[0], "adid/ipstop")
        await play.bed.settle(1.0)
        assert len(play.bed.recorded("media-stopped")) == 1
        await play.hang_up(play.caller, near)

    run(story, "from-ue", reactions=Reactions(silent="log"))


@pytest.mark.parametrize("refused", [False, True])
def test_tls_begins_at_our_signal_once_tcp_is_up(refused: bool) -> None:
    """The UE is called and answers that it waits: the gateway connects, is the TLS client, and reports first."""

    async def story(play: Play) -> None:
        asked: list[str] = []
        gateway = play.bed.gateway
        execute = gateway.table.execute

        def noting(actions: Any, now: float) -> Any:
            asked.append(str(actions))
            return execute(actions, now)

        gateway.table.execute = noting  # type: ignore[method-assign]
        play.callee.answer = play.callee.answer.replace("setup:active", "setup:passive")
        near, _ = await play.establish()
        assert not any("EstBNC" in each for each in asked)
        (context,) = play.contexts
        events = [
            event for each in gateway.table.contexts[context].terminations.values() if each.realm == "access"
            for event in each.events.events if event.name == "tcpbcc/BNCChange"]
        assert [event.parameters for event in events] == [()]   # any change, Est included
        gateway.notify(context, "tcpbcc/BNCChange", Stream="9", Type="Est")   # no stream of the session
        await play.bed.settle(0.5)
        assert not any("EstBNC" in each for each in asked)
        if refused:
            gateway.answer = lambda commands: ErrorDescriptor(501, "no") if commands == ("Modify",) else None
        gateway.notify(context, "tcpbcc/BNCChange", Stream="1", Type="Est")
        if refused:
            for end in play.ends:
                assert "cause=500" in ((await end.answer_bye()).get("Reason") or "")
            return
        await play.bed.settle(0.5)
        assert len([each for each in asked if "tlsbsc/EstBNC" in each]) == 1
        await play.hang_up(play.caller, near)

    run(story, "to-ue", supervision=Supervision(begins_tls=True))


UP = "tlsbsc/BNCChange"


@pytest.mark.parametrize("what", ["granted", "refused", "crossed by BYE"])
def test_the_core_is_dialled_at_our_signal_once_the_ue_is_verified(what: str) -> None:
    """The UE opens to the gateway, which opens to the core when it is told to."""

    async def story(play: Play) -> None:
        gateway = play.bed.gateway
        near, _ = await play.establish()
        (context,) = play.contexts
        assert core_stream(play, context).remote is None
        gateway.notify(context, "tcpbcc/BNCChange", Stream="1", Type="Est")   # TCP alone shows nobody
        gateway.notify(context, UP, Stream="2", Type="Est")
        await play.bed.settle(0.5)
        assert core_stream(play, context).remote is None
        if what == "refused":
            gateway.answer = lambda commands: ErrorDescriptor(501, "no") if commands == ("Modify",) else None
        gateway.notify(context, UP, Stream="1", Type="Est")
        if what == "refused":
            for end in play.ends:
                assert "cause=500" in ((await end.answer_bye()).get("Reason") or "")
            return
        if what == "granted":
            await play.bed.settle(0.5)
            stream = core_stream(play, context)
            assert (stream.remote is not None, stream.triggers) == (True, 1)
            (session,) = play.bed.store.sessions()
            assert session.media is not None
            assert session.media.held == frozenset()
        await play.hang_up(play.caller, near)

    run(story, "from-ue", supervision=Supervision(tcp_start="interlinked"))


def core_stream(play: Play, context: int) -> Any:
    terminations = play.bed.gateway.table.contexts[context].terminations.values()
    return next(each for each in terminations if each.realm == "core").streams[1]


@pytest.mark.parametrize("comes", [False, True])
def test_an_end_that_does_not_come_ends_the_session(comes: bool) -> None:
    async def story(play: Play) -> None:
        near, _ = await play.establish()
        (context,) = play.contexts
        if comes:
            play.bed.gateway.notify(context, UP, Stream="1", Type="Est")
        release_overdue(play.bed.calls)
        await play.bed.settle(61.0)
        assert len(play.contexts) == 1
        release_overdue(play.bed.calls)
        if comes:
            await play.hang_up(play.caller, near)
            return
        for end in play.ends:
            assert "the peer made no TCP connection" in ((await end.answer_bye()).get("Reason") or "")

    run(story, "from-ue", supervision=Supervision(tcp_start="interlinked"))


def test_a_gateway_without_a_session_changes_nothing() -> None:
    """It lost a context that no session has any more, or never had."""

    async def story(play: Play) -> None:
        near, _ = await play.establish()
        (context,) = play.contexts
        play.bed.gateways._on_contexts_lost("[203.0.113.1]:2945", (context,), "another gateway")
        await play.bed.settle(1.0)
        assert play.bed.recorded("gateway-lost")[0]["sessions"] == 0
        await play.hang_up(play.caller, near)

    run(story, "from-ue")


def test_an_emergency_gets_through_an_overloaded_gateway_and_a_full_pcscf() -> None:
    """The gateway wants nothing at all: an ordinary session is refused, the emergency served, and its context says so."""

    async def story(play: Play) -> None:
        controller = play.bed.gateways._controller
        assert controller is not None
        (found,) = controller.association
        found.throttle.congested(100)
        play.invite()
        assert "too much to do" in ((await play.refused(503)).get("Warning") or "")
        assert play.bed.gateway.table.contexts == {}

        emergency = play.caller.opening(play.target, play.routes)
        emergency.add("Resource-Priority", "esnet.0")
        emergency.set_body(play.caller.offer.encode(), "application/sdp")
        play.sent = play.caller.send(emergency)
        play.got = await play.callee.expect("INVITE")
        (context,) = play.bed.gateway.table.contexts.values()
        assert (context.priority, context.emergency) == (15, True)
        near, _ = await play.accept()
        play.invite()   # that one was the last for which there was room
        await play.refused(503)
        await play.hang_up(play.caller, near)

    run(story, "to-ue", limits=Limits(sessions=1))


@pytest.mark.parametrize(
    ("uri", "priority", "caller", "urgency"),
    [
        ("sip:bob@ims.example", "", Side.ACCESS, Urgency.NORMAL),
        ("urn:service:sos", "", Side.ACCESS, Urgency.EMERGENCY),
        ("URN:service:sos.fire", "", Side.ACCESS, Urgency.EMERGENCY),
        ("urn:service:sosx", "", Side.ACCESS, Urgency.NORMAL),
        ("sip:bob@ims.example", "esnet.1", Side.ACCESS, Urgency.NORMAL),  # anybody could write that
        ("sip:bob@ims.example", "esnet.1", Side.CORE, Urgency.EMERGENCY),
        ("sip:bob@ims.example", "wps.3, ets.0", Side.CORE, Urgency.PRIORITY),
        ("sip:bob@ims.example", "wps.3, ESNET.0", Side.CORE, Urgency.EMERGENCY),
    ],
)
def test_who_is_urgent(uri: str, priority: str, caller: Side, urgency: Urgency) -> None:
    request = Request("INVITE", uri, [("Resource-Priority", priority)] if priority else [])
    assert urgency_of(request, caller) is urgency
