"""Plans as H.248 actions: what each side of the gateway is told, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import (
    Action,
    Command,
    CommandName,
    ContextId,
    Events,
    Message,
    Mode,
    Signals,
    Stream,
    TransactionRequest,
)
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq import procedures, root
from pcscf.iq.media import Media
from pcscf.iq.procedures import Realms
from pcscf.iq.replies import read_configured_untrusted
from pcscf.iq.supervision import Supervision, watch_root
from pcscf.mediasec.model import Agreed, Direction, MediaPlan, StreamMedia
from pcscf.mediasec.plan import decide, settle
from tests.unit.iq.plans import (
    BFCP,
    BFCP_TLS,
    BOTH,
    GATEWAY_PRINT,
    MSRP,
    MSRP_TLS,
    UE_PRINT,
    answered_by_core,
    answered_by_ue,
    from_core,
    from_ue,
    protection,
    sdp,
)

REALMS = Realms("gm", "mw")
ACCESS = StreamMedia("192.0.2.1", 40000, (("sha-256", GATEWAY_PRINT),))
CORE = StreamMedia("192.0.2.2", 50000)


def media_for(plan: MediaPlan, access_setup: str, core_setup: str, *clients: int) -> Media:
    lines = [line.index for line in plan.lines if line.gateway]
    return Media(
        "[192.0.2.1]:2945", 77, "ip/1/1/1", "ip/1/2/2",
        dict.fromkeys(lines, ACCESS), dict.fromkeys(lines, CORE),
        dict.fromkeys(lines, access_setup), dict.fromkeys(lines, core_setup), frozenset(clients),
    )  # fmt: skip


def both(actions: tuple[Action, ...]) -> tuple[Command, Command]:
    (action,) = actions
    access, core = action.commands
    return access, core


def streams(command: Command) -> tuple[Stream, ...]:
    return next(each for each in command.descriptors if isinstance(each, MediaDescriptor)).streams


def armed(command: Command) -> list[str]:
    events = next(each for each in command.descriptors if isinstance(each, Events))
    return [event.name for event in events.events]


def signals(command: Command) -> list[tuple[str, str]]:
    found = next((each for each in command.descriptors if isinstance(each, Signals)), Signals())
    return [(signal.name, signal.parameters[0].value.text) for signal in found.signals]


def mode(stream: Stream) -> Mode | None:
    return stream.local_control.mode if stream.local_control is not None else None


def realm(stream: Stream) -> str:
    assert stream.local_control is not None
    return stream.local_control.properties[0].value.text


def test_offer_of_the_ue_configures_the_access_side_and_reserves_the_core_side() -> None:
    actions = procedures.reserve(from_ue("active"), REALMS)
    assert [action.context for action in actions] == [ContextId.CHOOSE]
    access, core = both(actions)
    assert (access.name, core.name) == (CommandName.ADD, CommandName.ADD)
    assert (access.terminations, core.terminations) == (("ip/1/$/$",), ("ip/1/$/$",))
    (near,), (far,) = streams(access), streams(core)
    assert near.local == "v=0\r\nc=IN IP4 $\r\nm=message $ TCP/TLS -\r\na=setup:passive\r\na=fingerprint:sha-256 $\r\n"
    assert near.remote == (
        "v=0\r\nc=IN IP4 203.0.113.9\r\nm=message 7654 TCP/TLS -\r\na=setup:active\r\n"
        f"a=fingerprint:sha-256 {UE_PRINT}\r\n"
    )
    assert far.local == "v=0\r\nc=IN IP4 $\r\nm=message $ TCP -\r\na=setup:active\r\n"
    assert far.remote is None
    assert (mode(near), mode(far)) == (Mode.SEND_RECEIVE, Mode.INACTIVE)
    assert [realm(near), realm(far)] == ["gm", "mw"]


def test_every_add_arms_the_events_of_its_layers() -> None:
    access, core = both(procedures.reserve(from_ue(), REALMS))
    assert armed(access) == ["g/cause", "hangterm/thb", "tcpbcc/BNCChange", "tlsbsc/BNCChange"]
    assert armed(core) == ["g/cause", "hangterm/thb", "tcpbcc/BNCChange"]
    requests = [each.request_id for command in (access, core) for each in command.descriptors if isinstance(each, Events)]
    assert requests == [procedures.ACCESS_EVENTS, procedures.CORE_EVENTS]


def test_offer_of_the_core_is_the_mirror() -> None:
    access, core = both(procedures.reserve(from_core("actpass"), REALMS))
    (near,), (far,) = streams(core), streams(access)
    assert "a=setup:actpass" in (near.local or "")
    assert "a=setup" not in (near.remote or "")  # open until the UE has answered
    assert far.local == "v=0\r\nc=IN IP4 $\r\nm=message $ TCP/TLS -\r\na=setup:actpass\r\na=fingerprint:sha-256 $\r\n"
    assert far.remote is None
    assert (mode(near), mode(far)) == (Mode.SEND_RECEIVE, Mode.INACTIVE)


@pytest.mark.parametrize(("setup", "told"), [("active", []), ("passive", [("tlsbsc/EstBNC", "1")])])
def test_tls_client_by_establish_server_by_its_absence(setup: str, told: list[tuple[str, str]]) -> None:
    access, core = both(procedures.reserve(from_ue(setup), REALMS))
    assert signals(access) == told
    assert signals(core) == []


def test_bfcp_offerer_is_tls_client_whatever_tcp_does() -> None:
    offer = sdp("203.0.113.9", BFCP_TLS + protection("passive"))
    access, _ = both(procedures.reserve(decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_UE), REALMS))
    assert "a=setup:active" in (streams(access)[0].local or "")
    assert signals(access) == []
    mirrored = decide(MediaPolicy(), BOTH, sdp("198.51.100.9", BFCP + "a=setup:actpass\n"), Direction.OFFER_FROM_CORE)
    access, _ = both(procedures.reserve(mirrored, REALMS))
    assert signals(access) == [("tlsbsc/EstBNC", "1")]


def test_one_stream_per_line_numbered_by_its_place() -> None:
    plan = from_ue("active", "m=audio 4000 RTP/AVP 0\na=ice-ufrag:x\n", BFCP_TLS + protection("actpass"))
    access, core = both(procedures.reserve(plan, REALMS))
    assert [stream.id for stream in streams(access)] == [1, 3]
    assert [stream.id for stream in streams(core)] == [1, 3]


def test_address_family_follows_the_peer_and_else_the_realm() -> None:
    plan = from_ue("active", host="2001:db8::9")
    access, core = both(procedures.reserve(plan, Realms(core_family="IP6")))
    assert "c=IN IP6 $" in (streams(access)[0].local or "")
    assert "c=IN IP6 2001:db8::9" in (streams(access)[0].remote or "")
    assert "c=IN IP6 $" in (streams(core)[0].local or "")


def test_a_plan_without_gateway_reserves_nothing() -> None:
    offer = sdp("203.0.113.9", "m=audio 4000 RTP/AVP 0\na=ice-ufrag:x\n")
    plan = decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_UE)
    assert not procedures.needs_gateway(plan)
    with pytest.raises(ValueError, match="no line"):
        procedures.reserve(plan, REALMS)


def test_the_answer_configures_both_sides_in_one_transaction() -> None:
    plan = from_ue("active")
    actions = procedures.configure(media_for(plan, "passive", "active"), answered_by_core(plan, "passive"))
    assert [action.context for action in actions] == [77]
    access, core = both(actions)
    assert (access.name, access.termination) == (CommandName.MODIFY, "ip/1/1/1")
    assert (core.name, core.termination) == (CommandName.MODIFY, "ip/1/2/2")
    (far,) = streams(core)
    assert far.remote == "v=0\r\nc=IN IP4 198.51.100.9\r\nm=message 2855 TCP -\r\na=setup:passive\r\n"
    assert (far.local, mode(far)) == (None, Mode.SEND_RECEIVE)
    assert streams(access)[0].local is None


@pytest.mark.parametrize(("answered", "told"), [("active", []), ("passive", [("tlsbsc/EstBNC", "1")])])
def test_the_ues_answer_decides_the_tls_role(answered: str, told: list[tuple[str, str]]) -> None:
    plan = from_core("actpass")
    settled = answered_by_ue(plan, answered)
    access, core = both(procedures.configure(media_for(plan, "actpass", "actpass"), settled))
    (far,), (near,) = streams(access), streams(core)
    assert f"a=setup:{answered}" in (far.remote or "")
    assert UE_PRINT in (far.remote or "")
    assert far.local is None  # actpass in Local: Remote settles it
    assert signals(access) == told
    opposite = {"active": "passive", "passive": "active"}[answered]
    assert near.remote is not None
    assert ("a=setup:" in near.remote) and (settled.lines[0].core is not None)
    assert (opposite == "passive") == (settled.lines[0].access is not None and settled.lines[0].access.tcp == "accept")


def test_a_role_already_told_is_not_told_again() -> None:
    plan = from_core("actpass")
    settled = answered_by_ue(plan, "passive")
    access, _ = both(procedures.configure(media_for(plan, "actpass", "actpass", 0), settled))
    assert signals(access) == []


def test_local_is_sent_again_when_a_later_offer_turns_the_tcp_role() -> None:
    plan = from_ue("passive")
    settled = answered_by_core(plan, "active")
    access, _ = both(procedures.configure(media_for(plan, "passive", "actpass", 0), settled))
    assert streams(access)[0].local == (
        f"v=0\r\nc=IN IP4 192.0.2.1\r\nm=message 40000 TCP/TLS -\r\na=setup:active\r\na=fingerprint:sha-256 {GATEWAY_PRINT}\r\n"
    )


def test_a_declined_line_is_closed_and_keeps_its_stream() -> None:
    plan = from_ue("active", BFCP_TLS + protection("actpass"))
    answer = sdp("198.51.100.9", MSRP + "a=setup:passive\n", "m=application 0 TCP/BFCP *\n")
    access, core = both(procedures.configure(media_for(plan, "passive", "actpass"), settle(plan, answer)))
    for command in (access, core):
        closed = streams(command)[1]
        assert (closed.id, mode(closed), closed.local, closed.remote) == (2, Mode.INACTIVE, None, None)


def test_a_session_whose_lines_are_all_declined_is_watched_for_no_silence() -> None:
    plan = from_ue("active")
    settled = settle(plan, sdp("198.51.100.9", "m=message 0 TCP/MSRP *\n"))
    access, core = both(procedures.configure(media_for(plan, "passive", "active"), settled, Supervision(quiet=(("msrp", 30),))))
    for command in (access, core):
        assert [mode(stream) for stream in streams(command)] == [Mode.INACTIVE]


def test_a_further_offer_adds_a_stream_and_leaves_the_running_one() -> None:
    first = from_ue("active")
    both_lines = from_ue("active", BFCP_TLS + protection("actpass"))
    access, core = both(procedures.configure(media_for(first, "passive", "active"), both_lines))
    assert [stream.id for stream in streams(core)] == [2]  # the core's answer is not known yet: line 1 stays as it is
    assert "m=application $ TCP -" in (streams(core)[0].local or "")
    assert [stream.id for stream in streams(access)] == [1, 2]
    assert armed(access) == ["g/cause", "hangterm/thb", "tcpbcc/BNCChange", "tlsbsc/BNCChange"]


def test_a_further_stream_has_the_family_of_its_termination() -> None:
    grown = from_ue("active", BFCP_TLS + protection("actpass"))
    media = media_for(from_ue("active"), "passive", "active")
    six = {0: StreamMedia("2001:db8::1", 40000)}
    moved = Media(**{**{name: getattr(media, name) for name in media.__slots__}, "core": six})
    _, core = both(procedures.configure(moved, grown))
    assert "c=IN IP6 $" in (streams(core)[0].local or "")


def test_a_line_that_becomes_protected_gets_a_new_local() -> None:
    plain = decide(MediaPolicy(), BOTH, sdp("203.0.113.9", MSRP + "a=setup:active\n"), Direction.OFFER_FROM_UE)
    media = media_for(plain, "passive", "active")
    unprotected = Media(**{**{name: getattr(media, name) for name in media.__slots__}, "access": {0: CORE}})
    access, _ = both(procedures.configure(unprotected, answered_by_core(from_ue("active"))))
    assert "TCP/TLS" in (streams(access)[0].local or "")
    assert "a=fingerprint:sha-256 $" in (streams(access)[0].local or "")


FAX = "m=image 6100 udptl t38\n"
FAX_DTLS = "m=image 6200 UDP/TLS/UDPTL t38\n"
FAX_AGREED = Agreed(frozenset({"udptl-dtls"}), frozenset({"udptl-dtls"}))


def fax(setup: str, theirs: str, previous: MediaPlan | None, ours: str, port: int = 6100) -> MediaPlan:
    """The UE offers fax with this a=tls-id, beside a line that passes; ours: the name of a new association."""
    section = FAX_DTLS.replace("6200", "6200" if port else "0") + protection(setup) + f"a=tls-id:{theirs}\n"
    plan = decide(MediaPolicy(), FAX_AGREED, sdp("203.0.113.9", section, BFCP), Direction.OFFER_FROM_UE, previous=previous,
                  new_tls_id=lambda: ours)  # fmt: skip
    return settle(plan, sdp("198.51.100.9", FAX.replace("6100", str(port)), BFCP + "a=setup:passive\n"))


def told(media: Media, plan: MediaPlan) -> Media:
    return read_configured_untrusted(media, plan, ())


def fax_media(plan: MediaPlan) -> Media:
    return replace(media_for(plan, "", ""), access={0: ACCESS, 1: StreamMedia("192.0.2.1", 40002)},
                   access_setup={0: "active", 1: "passive"}, core_setup={0: "", 1: "active"})  # fmt: skip


def test_a_dtls_association_is_told_by_its_names() -> None:
    offer = sdp("203.0.113.9", FAX_DTLS + protection("actpass") + f"a=tls-id:{'u' * 20}\n")
    plan = decide(MediaPolicy(), FAX_AGREED, offer, Direction.OFFER_FROM_UE, new_tls_id=lambda: "o" * 20)
    access, core = (streams(command)[0] for command in both(procedures.reserve(plan, REALMS)))
    assert access.local == (
        "v=0\r\nc=IN IP4 $\r\nm=image $ UDP/DTLS -\r\na=setup:passive\r\na=fingerprint:sha-256 $\r\n"
        f"a=tls-id:{'o' * 20}\r\n")
    assert f"a=tls-id:{'u' * 20}\r\n" in (access.remote or "")
    assert "tls-id" not in (core.local or "") + (core.remote or "")


def test_another_association_is_told_once_and_its_role_by_release() -> None:
    first = fax("passive", "u" * 20, None, "o" * 20)
    media = told(fax_media(first), first)
    assert media.tls_clients == {0}
    assert media.access[0].tls_id == "o" * 20
    second = fax("active", "v" * 20, first, "p" * 20)
    (action,) = procedures.configure(media, second)
    released, access, _ = action.commands
    assert signals(released) == [("dtlsbsc/RelBNC", "1")]   # client no more
    assert signals(access) == []
    assert "a=tls-id:" + "p" * 20 in (streams(access)[0].local or "")
    assert "a=tls-id:" + "v" * 20 in (streams(access)[0].remote or "")
    assert "a=connection" not in (streams(access)[0].remote or "")
    media = told(media, second)
    assert (media.tls_clients, media.access[0].tls_id) == (frozenset(), "p" * 20)
    (action,) = procedures.configure(media, second)
    assert len(action.commands) == 2
    assert streams(action.commands[0])[0].local is None


def test_a_line_that_was_closed_ends_its_connection_once() -> None:
    first = fax("passive", "u" * 20, None, "o" * 20)
    media = told(fax_media(first), first)
    closed = fax("passive", "u" * 20, first, "p" * 20, port=0)
    (action,) = procedures.configure(media, closed)
    access, core = action.commands
    assert signals(access) == [("dtlsbsc/RelBNC", "1")]
    assert signals(core) == []   # plain UDP has nothing to end
    assert [(one.id, one.local_control.mode) for one in streams(access) if one.local_control][-1] == (1, Mode.INACTIVE)
    media = told(media, closed)
    assert media.tls_clients == frozenset()
    (action,) = procedures.configure(media, closed)
    assert [signals(command) for command in action.commands] == [[], []]
    again = fax("passive", "u" * 20, closed, "q" * 20)
    (action,) = procedures.configure(media, again)
    access = action.commands[0]
    assert signals(access) == [("dtlsbsc/EstBNC", "1")]
    assert "a=tls-id:" + "q" * 20 in (streams(access)[0].local or "")


def test_msrp_that_was_closed_is_released_and_opened_with_another_connection() -> None:
    lines = sdp("203.0.113.9", MSRP_TLS + protection("active"), BFCP_TLS + protection("active"))
    back = sdp("198.51.100.9", MSRP + "a=setup:passive\n", BFCP + "a=setup:passive\n")
    none = sdp("198.51.100.9", MSRP.replace("2855 TCP", "0 TCP") + "a=setup:passive\n", BFCP + "a=setup:passive\n")
    first = settle(decide(MediaPolicy(), BOTH, lines, Direction.OFFER_FROM_UE), back)
    media = told(media_for(first, "passive", "active"), first)
    closed = settle(decide(MediaPolicy(), BOTH, lines, Direction.OFFER_FROM_UE, previous=first), none)
    for command in both(procedures.configure(media, closed)):
        assert signals(command) == [("tcpbcc/RelBNC", "1")]
    media = told(media, closed)
    again = settle(decide(MediaPolicy(), BOTH, lines, Direction.OFFER_FROM_UE, previous=closed), back)
    for command in both(procedures.configure(media, again)):
        assert (streams(command)[0].remote or "").endswith("a=connection:new\r\n")
        assert "a=connection" not in (streams(command)[1].remote or "")


def test_transparent_lines_say_nothing_of_tls() -> None:
    offer = sdp("203.0.113.9", MSRP_TLS + protection("active", requested=False))
    plan = decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_UE)
    assert plan.lines[0].gateway
    access, core = both(procedures.reserve(plan, REALMS))
    for command in (access, core):
        assert "TLS" not in (streams(command)[0].local or "") + (streams(command)[0].remote or "")
        assert "fingerprint" not in (streams(command)[0].local or "") + (streams(command)[0].remote or "")
        assert "tlsbsc/BNCChange" not in armed(command)


def test_release_audits_and_watch() -> None:
    ((release,), (heartbeat,), (contexts,), (watch,), (restored,)) = (
        procedures.release(77), root.audit_root(), root.audit_contexts(), watch_root(30.0, None),
        root.restoration(),
    )  # fmt: skip
    assert release.context == 77
    assert release.commands[0].wildcard_response
    assert release.commands[0].termination == "*"
    assert (heartbeat.context, heartbeat.commands[0].termination) == (ContextId.NULL, "ROOT")
    assert (contexts.context, contexts.commands[0].termination) == (ContextId.ALL, "*")
    assert watch.commands[0].optional
    for actions in ((release,), (heartbeat,), (contexts,), (watch,), (restored,)):
        message = Message("[192.0.2.9]:2944", (TransactionRequest(1, actions),))
        assert decode_untrusted(encode_compact(message)) == message


def test_what_is_asked_survives_the_wire() -> None:
    plan = from_ue("passive", BFCP_TLS + protection("actpass"))
    for actions in (
        procedures.reserve(plan, REALMS),
        procedures.configure(media_for(plan, "active", "passive"), answered_by_core(plan, "active")),
    ):
        message = Message("[192.0.2.9]:2944", (TransactionRequest(1, actions),))
        data = encode_compact(message)
        assert encode_compact(decode_untrusted(data)) == data
        assert len(data) < 1400


def test_a_gateway_that_shall_read_msrp_is_told_the_paths() -> None:
    bare_tls, bare = MSRP_TLS.replace("a=msrp-cema\n", ""), MSRP.replace("a=msrp-cema\n", "")
    offer = sdp("203.0.113.9", bare_tls + protection("active"))
    plan = decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_UE)
    access, core = (streams(command)[0] for command in both(procedures.reserve(plan, REALMS)))
    assert access.local == (
        "v=0\r\nc=IN IP4 $\r\nm=message $ TCP/TLS/MSRP *\r\na=setup:passive\r\na=fingerprint:sha-256 $\r\n")
    assert access.remote == (
        "v=0\r\nc=IN IP4 203.0.113.9\r\nm=message 7654 TCP/TLS/MSRP *\r\na=path:msrps://203.0.113.9:7654/u1;tcp\r\n"
        f"a=setup:active\r\na=fingerprint:sha-256 {UE_PRINT}\r\n")
    assert core.local == "v=0\r\nc=IN IP4 $\r\nm=message $ TCP/MSRP *\r\na=setup:actpass\r\na=path:msrp://$:$/u1;tcp\r\n"
    settled = settle(plan, sdp("198.51.100.9", bare + "a=setup:passive\n"))
    told = procedures.configure(media_for(settled, "passive", "actpass"), settled)
    access, core = (streams(command)[0] for command in both(told))
    assert access.local is not None
    assert access.local.endswith("a=path:msrps://192.0.2.1:40000/c1;tcp\r\n")
    assert core.local is not None
    assert core.local.endswith("m=message 50000 TCP/MSRP *\r\na=setup:actpass\r\na=path:msrp://192.0.2.2:50000/u1;tcp\r\n")
    assert core.remote == (
        "v=0\r\nc=IN IP4 198.51.100.9\r\nm=message 2855 TCP/MSRP *\r\na=path:msrp://198.51.100.9:2855/c1;tcp\r\na=setup:passive\r\n")


def bfcp_exchanges() -> tuple[MediaPlan, MediaPlan]:
    """The core offers, so the gateway is the TLS client; then the UE offers a new connection, and it is the server."""
    core = sdp("198.51.100.9", BFCP + "a=setup:actpass\na=connection:new\n")
    ue = sdp("203.0.113.9", BFCP_TLS + protection("active") + "a=connection:new\n")
    first = settle(decide(MediaPolicy(), BOTH, core, Direction.OFFER_FROM_CORE), ue)
    answer = sdp("198.51.100.9", BFCP + "a=setup:passive\na=connection:new\n")
    return first, settle(decide(MediaPolicy(), BOTH, ue, Direction.OFFER_FROM_UE, previous=first), answer)


def test_a_new_connection_is_asked_for_once_and_its_tls_role_said_anew() -> None:
    first, second = bfcp_exchanges()
    media = media_for(first, "actpass", "passive", 0)
    for command in both(procedures.configure(media, first)):
        assert "a=connection" not in (streams(command)[0].remote or "")
        assert signals(command) == []
    access, core = both(procedures.configure(media, second))
    assert (streams(access)[0].remote or "").endswith("a=connection:new\r\n")
    assert (streams(core)[0].remote or "").endswith("a=connection:new\r\n")
    assert signals(access) == []   # the absence of EstBNC: server
    told = read_configured_untrusted(media, second, ())
    assert (told.tls_clients, told.connections) == (frozenset(), {0: 2})
    assert not told.renews(second.lines[0])
    back = both(procedures.configure(told, first))[0]   # as after a rollback: the number differs again
    assert (streams(back)[0].remote or "").endswith("a=connection:new\r\n")
    assert signals(back) == [("tlsbsc/EstBNC", "1")]
