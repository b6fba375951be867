"""RTP and latching on Iq: what the gateway is told, in which order, and what its replies mean."""

from __future__ import annotations

from typing import Any

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.errors import InternalFailure
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import Action, Command, CommandName, Message, Mode, Signals, Stream, TransactionRequest
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq import procedures, replies
from pcscf.iq.media import Media, line_of
from pcscf.iq.procedures import Realms
from pcscf.mediasec.model import Agreed, Direction, MediaPlan, Origin
from pcscf.mediasec.plan import decide, settle
from pcscf.sdp.lines import MAX_MEDIA
from tests.unit.iq.plans import BOTH, sdp

REALMS = Realms("gm", "mw")
UE, CORE = "203.0.113.9", "198.51.100.9"
SEEN = Origin("203.0.113.99", behind_nat=True)
AUDIO = "m=audio 4000 RTP/AVP 0\n"
MUX = "a=rtcp-mux\n"
FAX = "m=image 4002 udptl t38\n"


def offered(*sections: str, origin: Origin = SEEN, host: str = UE, previous: MediaPlan | None = None, **knobs: Any) -> MediaPlan:
    return decide(
        MediaPolicy(**knobs), Agreed(), sdp(host, *sections), Direction.OFFER_FROM_UE, previous=previous, origin=origin)


def answered(plan: MediaPlan, *sections: str) -> MediaPlan:
    return settle(plan, sdp(CORE, *sections))


def reply(media: Media | None, actions: tuple[Action, ...], *, port: int = 40000, extra: str = "") -> tuple[Action, ...]:
    """What a good gateway says to `actions`: a Local for every stream with a port to be chosen."""
    commands = []
    for number, command in enumerate(actions[0].commands):
        chosen = []
        for stream in streams(command):
            if stream.local is not None and "$" in stream.local:
                local = stream.local.replace("IP4 $", f"IP4 192.0.2.{number + 1}").replace(" $ ", f" {port + 2 * stream.id} ")
                chosen.append(Stream(stream.id, local=local + extra))
        name = f"ip/1/{number + 1}/{number + 1}" if media is None else command.termination
        commands.append(Command(command.name, (name,), (MediaDescriptor(tuple(chosen)),) if chosen else ()))
    return (Action(77, tuple(commands)),)


def reserved(plan: MediaPlan) -> Media:
    return replies.read_reserved_untrusted("[192.0.2.1]:2945", plan, reply(None, procedures.reserve(plan, REALMS)))


def configured(media: Media, plan: MediaPlan) -> Media:
    return replies.read_configured_untrusted(media, plan, reply(media, procedures.configure(media, plan)))


def streams(command: Command) -> tuple[Stream, ...]:
    return next(each for each in command.descriptors if isinstance(each, MediaDescriptor)).streams


def signals(command: Command) -> list[tuple[str, ...]]:
    found = next((each for each in command.descriptors if isinstance(each, Signals)), Signals())
    return [(signal.name, *(each.value.text for each in signal.parameters)) for signal in found.signals]


def both(actions: tuple[Action, ...]) -> tuple[Command, Command]:
    access, core = actions[0].commands
    return access, core


def control(stream: Stream) -> tuple[Mode | None, dict[str, tuple[str, ...]]]:
    assert stream.local_control is not None
    return stream.local_control.mode, {each.name: each.value.values for each in stream.local_control.properties}


def test_rtp_is_reserved_under_the_proto_of_its_line() -> None:
    access, core = both(procedures.reserve(offered(AUDIO + "a=rtcp:4009\n", origin=Origin()), REALMS))
    (near,), (far,) = streams(access), streams(core)
    assert near.local == "v=0\r\nc=IN IP4 $\r\nm=audio $ RTP/AVP -\r\n"
    assert near.remote == f"v=0\r\nc=IN IP4 {UE}\r\nm=audio 4000 RTP/AVP -\r\na=rtcp:4009 IN IP4 {UE}\r\n"
    assert (far.local, far.remote) == (near.local, None)
    assert control(near) == (Mode.SEND_RECEIVE, {"ipdc/realm": ("gm",), "gm/saf": ("ON",), "gm/sam": (f"[{UE}]",)})
    assert control(far) == (Mode.INACTIVE, {"ipdc/realm": ("mw",)})
    assert (signals(access), signals(core)) == ([], [])


@pytest.mark.parametrize("proto", ["RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
def test_what_the_ends_protect_has_no_certificate_on_iq(proto: str) -> None:
    lines = AUDIO.replace("RTP/AVP", proto) + "a=setup:actpass\na=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\n"
    for command in both(procedures.reserve(offered(lines), REALMS)):
        (stream,) = streams(command)
        assert f" {proto} -" in (stream.local or "")
        assert "fingerprint" not in (stream.local or "") + (stream.remote or "")
        assert "setup" not in (stream.local or "") + (stream.remote or "")


def test_one_port_for_rtcp_is_wished_for_and_waits_for_the_answer() -> None:
    plan = offered(AUDIO + MUX)
    access, core = both(procedures.reserve(plan, REALMS))
    assert all((streams(each)[0].local or "").endswith("a=rtcp-mux\r\n") for each in (access, core))
    assert "rtcp-mux" not in (streams(access)[0].remote or "")
    media = reserved(plan)
    agreed, declined = answered(plan, AUDIO + MUX), answered(plan, AUDIO)
    for command in both(procedures.configure(media, agreed)):
        assert (streams(command)[0].remote or "").endswith("a=rtcp-mux\r\n")
        assert (streams(command)[0].local or "").endswith("a=rtcp-mux\r\n")
    for command in both(procedures.configure(media, declined)):
        assert "rtcp-mux" not in (streams(command)[0].remote or "") + (streams(command)[0].local or "")


def test_the_gateway_is_told_its_own_ports_again() -> None:
    plan = offered(AUDIO)
    access, core = both(procedures.configure(reserved(plan), answered(plan, AUDIO)))
    assert streams(access)[0].local == "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 40002 RTP/AVP -\r\n"
    assert streams(core)[0].local == "v=0\r\nc=IN IP4 192.0.2.2\r\nm=audio 40002 RTP/AVP -\r\n"


@pytest.mark.parametrize("lines", [AUDIO, FAX, "m=application 9 UDP/DTLS/SCTP x\n"])
def test_a_ue_behind_a_nat_is_latched_onto_once(lines: str) -> None:
    plan = offered(lines)
    access, core = both(procedures.reserve(plan, REALMS))
    assert (signals(access), signals(core)) == ([("ipnapt/latch", "1", "LATCH")], [])
    assert control(streams(access)[0])[1]["gm/sam"] == ("[203.0.113.99]", f"[{UE}]")
    media = reserved(plan)
    assert media.latched == {0: ((UE, int(lines.split()[1])), ("203.0.113.99", UE))}
    access, core = both(procedures.configure(media, answered(plan, lines)))
    assert (signals(access), signals(core)) == ([], [])


def test_an_answering_ue_is_latched_onto_when_it_is_known() -> None:
    plan = decide(MediaPolicy(), Agreed(), sdp(CORE, AUDIO), Direction.OFFER_FROM_CORE, origin=SEEN)
    access, core = both(procedures.reserve(plan, REALMS))
    assert (signals(access), signals(core)) == ([], [])
    media = reserved(plan)
    settled = settle(plan, sdp("10.0.0.3", AUDIO))
    access, core = both(procedures.configure(media, settled))
    assert (signals(access), signals(core)) == ([("ipnapt/latch", "1", "LATCH")], [])
    assert configured(media, settled).latched == {0: (("10.0.0.3", 4000), ("203.0.113.99", "10.0.0.3"))}


@pytest.mark.parametrize(
    ("again", "host", "origin", "told"),
    [
        (AUDIO, UE, SEEN, []), (AUDIO.replace("4000", "4004"), UE, SEEN, [("ipnapt/latch", "1", "RELATCH")]),
        (AUDIO, "10.0.0.8", SEEN, [("ipnapt/latch", "1", "RELATCH")]),
        (AUDIO, UE, Origin("203.0.113.55", behind_nat=True), [("ipnapt/latch", "1", "RELATCH")]),
        (AUDIO, "0.0.0.0", SEEN, []),
    ],
)  # fmt: skip
def test_it_is_latched_onto_anew_where_it_says_that_it_moved(
    again: str, host: str, origin: Origin, told: list[tuple[str, ...]]
) -> None:
    first = answered(plan := offered(AUDIO), AUDIO)
    media = configured(reserved(plan), first)
    commands = procedures.configure(media, offered(again, host=host, origin=origin, previous=first))
    assert [each for action in commands for command in action.commands for each in signals(command)] == told


def test_everybody_may_send_where_policy_says_so() -> None:
    access, _ = both(procedures.reserve(offered(AUDIO, latch_from="any"), REALMS))
    assert control(streams(access)[0])[1] == {"ipdc/realm": ("gm",), "gm/saf": ("OFF",)}
    assert signals(access) == [("ipnapt/latch", "1", "LATCH")]


def test_dtls_towards_a_ue_behind_a_nat() -> None:
    offer = sdp(UE, "m=image 4002 UDP/TLS/UDPTL t38\na=setup:passive\na=3ge2ae:requested\na=fingerprint:sha-256 "
                + ":".join(["AB"] * 32) + "\n")  # fmt: skip
    fax = frozenset({"udptl-dtls"})
    plan = decide(MediaPolicy(), Agreed(fax, fax), offer, Direction.OFFER_FROM_UE, origin=SEEN)
    access, _ = both(procedures.reserve(plan, REALMS))
    assert signals(access) == [("dtlsbsc/EstBNC", "1"), ("ipnapt/latch", "1", "LATCH")]


class TestALineThatBecomesSomethingElse:
    """Audio that turns into fax in its slot: each has ports of its own, and audio keeps its ones for when it comes back."""

    def test_its_ports_wait_until_the_answer_is_in(self) -> None:
        voice = answered(plan := offered(AUDIO), AUDIO)
        media = configured(reserved(plan), voice)
        fax = offered(FAX, previous=voice)
        access, core = both(procedures.configure(media, fax))
        for command in (access, core):
            (stream,) = streams(command)
            assert line_of(stream.id) == 0
            assert (stream.id, stream.local is not None and " $ udptl" not in stream.local) == (1 + 2 * MAX_MEDIA, True)
        grown = configured(media, fax)
        assert set(grown.access) == {0, 2 * MAX_MEDIA}
        settled = answered(fax, FAX)
        for command in both(procedures.configure(grown, settled)):
            modes = {stream.id: control(stream)[0] for stream in streams(command)}
            assert modes == {1 + 2 * MAX_MEDIA: Mode.SEND_RECEIVE, 1: Mode.INACTIVE}
        for command in both(procedures.configure(grown, voice)):   # or else it is refused, and the voice goes on
            modes = {stream.id: control(stream)[0] for stream in streams(command)}
            assert modes == {1: Mode.SEND_RECEIVE, 1 + 2 * MAX_MEDIA: Mode.INACTIVE}

    def test_it_comes_back_to_the_ports_it_had(self) -> None:
        voice = answered(plan := offered(AUDIO), AUDIO)
        media = configured(reserved(plan), voice)
        for _ in range(2):
            fax = offered(FAX, previous=voice)
            media = configured(configured(media, fax), answered(fax, FAX))
            again = offered(AUDIO, previous=answered(fax, FAX))
            media = configured(configured(media, again), answered(again, AUDIO))
        assert {place: stream.port for place, stream in media.access.items()} == {0: 40002, 2 * MAX_MEDIA: 40258}

    @pytest.mark.parametrize("kinds", [("TCP", "UDP", "RTP"), ("UDP", "RTP", "TCP"), ("RTP", "TCP", "UDP")])
    def test_every_kind_has_a_place(self, kinds: tuple[str, ...]) -> None:
        lines = {"TCP": "m=image 4000 TCP t38\n", "UDP": FAX, "RTP": AUDIO}
        settled = answered(plan := offered(lines[kinds[0]]), lines[kinds[0]])
        media = configured(reserved(plan), settled)
        for kind in kinds[1:]:
            plan = offered(lines[kind], previous=settled)
            settled = answered(plan, lines[kind])
            media = configured(configured(media, plan), settled)
        assert len(media.access) == len(media.core) == 3
        assert set(media.kinds.values()) == {"TCP", "UDP", "RTP"}
        assert {line_of(place + 1) for place in media.access} == {0}


@pytest.mark.parametrize(("extra", "rtcp"), [("", 0), ("a=rtcp:40009\r\n", 40009), ("a=rtcp:40009 IN IP4 192.0.2.1\r\n", 40009)])
def test_where_the_gateway_has_its_rtcp(extra: str, rtcp: int) -> None:
    plan = offered(AUDIO)
    media = replies.read_reserved_untrusted("agw", plan, reply(None, procedures.reserve(plan, REALMS), extra=extra))
    assert {stream.rtcp for side in (media.access, media.core) for stream in side.values()} == {rtcp}


@pytest.mark.parametrize("extra", ["a=rtcp:0\r\n", "a=rtcp:$\r\n", "a=rtcp:\r\n", "a=rtcp:65536\r\n"])
def test_a_port_that_is_none(extra: str) -> None:
    plan = offered(AUDIO)
    with pytest.raises(InternalFailure, match="no usable port"):
        replies.read_reserved_untrusted("agw", plan, reply(None, procedures.reserve(plan, REALMS), extra=extra))


def test_it_can_be_read_back() -> None:
    """Two addresses in a filter, an IPv6 one, and a signal: as text and back."""
    six = Origin("2001:db8::1", behind_nat=True)
    plan = offered(AUDIO + "a=rtcp:4009 IN IP6 2001:db8::8\n" + MUX, host="2001:db8::9", origin=six)
    actions = procedures.reserve(plan, REALMS)
    text = encode_compact(Message("[192.0.2.1]:2944", (TransactionRequest(1, actions),), version=2))
    (transaction,) = decode_untrusted(text).transactions
    assert isinstance(transaction, TransactionRequest)
    access, core = transaction.actions[0].commands
    assert control(streams(access)[0])[1]["gm/sam"] == ("[2001:db8::1]", "[2001:db8::9]", "[2001:db8::8]")
    assert "a=rtcp:4009 IN IP6 2001:db8::8" in (streams(access)[0].remote or "")
    assert signals(access) == [("ipnapt/latch", "1", "LATCH")]
    assert (access.name, core.name) == (CommandName.ADD, CommandName.ADD)


def test_protected_messages_are_told_nothing_of_it() -> None:
    offer = sdp(UE, "m=message 7654 TCP/TLS/MSRP *\na=path:msrps://203.0.113.9:7654/u1;tcp\na=msrp-cema\na=setup:active\n"
                "a=3ge2ae:requested\na=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\n")  # fmt: skip
    plan = decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_UE, origin=SEEN)
    access, _ = both(procedures.reserve(plan, REALMS))
    assert signals(access) == []
    assert control(streams(access)[0])[1] == {"ipdc/realm": ("gm",)}
