"""RTP and other UDP media through the gateway: what goes, what is left alone, RTCP, and UEs behind a NAT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.model import Leg, LinePlan, MediaPlan, Mode, Origin
from pcscf.mediasec.plan import Direction, decide, settle
from pcscf.mediasec.rewrite import SideMedia, StreamMedia, rewrite_answer, rewrite_offer
from pcscf.sdp.lines import Sdp
from tests.unit.mediasec.descriptions import (
    ACCESS_SIDE,
    ALL_AGREED,
    CORE_ADDRESS,
    CORE_SIDE,
    NOTHING_AGREED,
    REQUESTED,
    UE_ADDRESS,
    UE_FINGERPRINT,
    description,
    fax,
    msrp,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
RTP_SIDE = {index: StreamMedia("198.51.100.5", 40_000 + 10 * index) for index in range(4)}
PROTOS = ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "rtp/avp"]
MUX = "a=rtcp-mux"


def audio(*attributes: str, port: int | str = 5004, proto: str = "RTP/AVP", media: str = "audio") -> tuple[str, ...]:
    return (f"m={media} {port} {proto} 0", *attributes)


def planned(*lines: str, direction: Direction = FROM_UE, address: str = UE_ADDRESS, **more: Any) -> MediaPlan:
    knobs = {key: more.pop(key) for key in list(more) if hasattr(MediaPolicy(), key)}
    offer = description(*lines, address=address)
    return decide(replace(MediaPolicy(), **knobs), NOTHING_AGREED, offer, direction, **more)


def sides(line: LinePlan) -> tuple[Leg, Leg]:
    assert line.access is not None
    assert line.core is not None
    return line.access, line.core


def answered(plan: MediaPlan, *lines: str, address: str = CORE_ADDRESS) -> MediaPlan:
    return settle(plan, description(*lines, address=address))


def lines_of(sdp: Sdp) -> list[str]:
    return [line for section in sdp.media for line in section.lines]


class TestWhatGoesThroughTheGateway:
    @pytest.mark.parametrize("proto", PROTOS)
    @pytest.mark.parametrize("direction", list(Direction))
    def test_rtp_of_every_profile(self, proto: str, direction: Direction) -> None:
        (line,) = planned(*audio(proto=proto), direction=direction).lines
        assert line.gateway
        assert line.mode is (Mode.PASS if "SAVP" in proto else Mode.PLAIN)
        near, far = sides(line) if direction is FROM_UE else reversed(sides(line))
        assert (near.transport, far.transport) == (proto.upper(), proto.upper())
        assert (near.peer_address, far.peer_address) == ((UE_ADDRESS, 5004), None)
        assert not line.mapped

    @pytest.mark.parametrize(
        ("lines", "why"),
        [
            (audio("a=ice-ufrag:F7gI", "a=ice-pwd:x"), "ICE"),
            (("a=ice-ufrag:F7gI", *audio()), "ICE"),
            (audio("a=candidate:1 1 UDP 1 192.0.2.61 5004 typ host"), "ICE"),
            (("a=group:BUNDLE 1 2", *audio("a=mid:1")), "bundled"),
            (("a=group:bundle 1 2", *audio("a=mid:1")), "bundled"),
            (audio(port="5004/2"), "several pairs of ports"),
            (audio("c=IN IP4 233.252.0.1/127"), "address is that of a group"),
            (audio("c=IN IP6 ff15::101"), "address is that of a group"),
            (audio("c=IN IP4 phone.example"), "address is a name"),
            (audio("c=IN IP6 fe80::1%}"), "address is a name"),
            (audio("c=IN"), "names no address"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("direction", list(Direction))
    def test_what_it_cannot_carry_passes_as_it_is_and_says_why(
        self, lines: tuple[str, ...], why: str, direction: Direction
    ) -> None:
        offer = description(*lines)
        plan = decide(MediaPolicy(), NOTHING_AGREED, offer, direction)
        (line,) = plan.lines
        assert (line.gateway, line.rule) == (False, "A12" if direction is FROM_UE else "C3")
        assert why in line.reason
        assert line.reason.endswith("past the gateway")
        assert rewrite_offer(plan, offer, {}) is offer

    def test_lines_that_share_a_port_stay_together(self) -> None:
        plan = planned(*audio(), *audio(media="video"), *audio(port=5008))
        assert [line.gateway for line in plan.lines] == [False, False, True]
        assert "another line shares its port" in plan.lines[0].reason

    @pytest.mark.parametrize("other", [msrp(secure=False, port=5004), audio("c=IN IP4 192.0.2.62", media="video")])
    def test_the_same_number_elsewhere_is_not_shared(self, other: tuple[str, ...]) -> None:
        assert planned(*audio(), *other).lines[0].gateway

    def test_a_group_of_another_kind_is_no_bundle(self) -> None:
        plan = planned("a=group:LS 1 2", "a=group:BUNDLE 1", *audio("a=mid:1"), *audio("a=mid:2", port=5006, media="video"))
        assert [line.gateway for line in plan.lines] == [True, True]

    @pytest.mark.parametrize("knob", ["anchor_rtp", "anchor_plain"])
    def test_policy_may_leave_it_out(self, knob: str) -> None:
        assert not planned(*audio(), **{knob: False}).lines[0].gateway

    @pytest.mark.parametrize(("knob", "gateway"), [("anchor_rtp", False), ("anchor_pass", False), ("anchor_plain", True)])
    def test_policy_may_leave_srtp_out(self, knob: str, gateway: bool) -> None:
        assert planned(*audio(proto="RTP/SAVP"), **{knob: False}).lines[0].gateway is gateway

    @pytest.mark.parametrize("proto", ["TCP/RTP/AVP", "RTP/AVPX", "DCCP/RTP/AVP", "TCP/TLS/RTP/SAVP"])
    def test_rtp_over_something_else_is_left_alone(self, proto: str) -> None:
        assert not planned(*audio(proto=proto)).lines[0].gateway

    def test_the_kind_of_medium_goes_to_the_gateway_if_it_is_a_usual_one(self) -> None:
        plan = planned(*audio(), *audio(media="VIDEO", port=5006), *audio(media="x}", port=5008))
        assert [line.kind for line in plan.lines] == ["audio", "video", "application"]

    def test_an_answer_without_usable_address_ends_the_line_and_is_closed_to_the_offerer(self) -> None:
        offer = description(*audio(), *audio(port=5006, media="video"))
        answer = description(*audio("c=IN IP4 far.example"), *audio(port=6006, media="video"), address=CORE_ADDRESS)
        plan = settle(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), answer)
        assert [line.mode for line in plan.lines] == [Mode.RELEASED, Mode.PLAIN]
        out = rewrite_answer(plan, answer, ACCESS_SIDE)
        assert [section.port for section in out.media] == [0, 20_010]

    def test_and_the_session_when_it_was_the_only_one(self) -> None:
        plan = answered(planned(*audio()), *audio("c=IN IP4 far.example"))
        assert plan.action == "release-session"
        assert "its address is a name" in plan.warning

    def test_a_declined_line_leaves_as_it_came(self) -> None:
        offer, answer = description(*audio()), description(*audio(port=0), address=CORE_ADDRESS)
        plan = settle(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), answer)
        assert (plan.action, plan.lines[0].gateway) == ("forward", False)
        assert rewrite_answer(plan, answer, {}) is answer


class TestAddresses:
    def rewritten(self, *lines: str, media: SideMedia = RTP_SIDE, address: str = UE_ADDRESS) -> list[str]:
        offer = description(*lines, address=address)
        out = rewrite_offer(decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE), offer, media)
        return [line for line in out.lines() if line[0] in "cm"]

    def test_all_lines_anchored_change_the_session_address(self) -> None:
        assert self.rewritten(*audio(), *audio(port=5006, media="video")) == [
            "c=IN IP4 198.51.100.5", "m=audio 40000 RTP/AVP 0", "m=video 40010 RTP/AVP 0"]

    def test_a_line_that_is_left_alone_keeps_it_and_the_others_get_their_own(self) -> None:
        assert self.rewritten(*audio("i=voice"), *audio("a=ice-ufrag:q", port=5006, media="video")) == [
            f"c=IN IP4 {UE_ADDRESS}", "m=audio 40000 RTP/AVP 0", "c=IN IP4 198.51.100.5", "m=video 5006 RTP/AVP 0"]

    def test_an_address_per_line_is_replaced_in_its_place(self) -> None:
        assert self.rewritten(*audio("c=IN IP4 192.0.2.62"), *audio("c=IN IP4 192.0.2.63", port=5006)) == [
            "c=IN IP4 198.51.100.5", "m=audio 40000 RTP/AVP 0", "c=IN IP4 198.51.100.5",
            "m=audio 40010 RTP/AVP 0", "c=IN IP4 198.51.100.5"]

    def test_a_closed_line_does_not_hold_the_session_address(self) -> None:
        assert self.rewritten(*audio(), *audio(port=0, media="video"))[0] == "c=IN IP4 198.51.100.5"

    def test_from_ipv6_to_ipv4(self) -> None:
        assert self.rewritten(*audio(), address="2001:db8::61")[0] == "c=IN IP4 198.51.100.5"

    def test_hold_in_the_other_family(self) -> None:
        assert self.rewritten(*audio("c=IN IP6 ::"), *audio(port=5006)) == [
            f"c=IN IP4 {UE_ADDRESS}", "m=audio 40000 RTP/AVP 0", "c=IN IP4 0.0.0.0",
            "m=audio 40010 RTP/AVP 0", "c=IN IP4 198.51.100.5"]

    def test_other_addresses_of_the_line_go(self) -> None:
        lines = audio(
            "a=altc:1 IP4 192.0.2.61 5004", "a=ccap:1 IN IP4 192.0.2.61", f"a=source-filter: incl IN IP4 * {UE_ADDRESS}",
            "a=remote-candidates:1 192.0.2.9 9", "a=ptime:20")
        offer = description(*lines)
        out = rewrite_offer(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), offer, RTP_SIDE)
        assert lines_of(out) == ["m=audio 40000 RTP/AVP 0", "a=ptime:20"]

    def test_what_the_ends_protect_themselves_keeps_its_certificate_and_roles(self) -> None:
        lines = audio("a=setup:actpass", UE_FINGERPRINT, "a=tls-id:abcdefghijklmnopqrstuv", proto="UDP/TLS/RTP/SAVPF")
        offer = description(*lines)
        out = rewrite_offer(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), offer, RTP_SIDE)
        assert lines_of(out) == ["m=audio 40000 UDP/TLS/RTP/SAVPF 0", *lines[1:]]


class TestRtcp:
    def legs(self, offered: tuple[str, ...], replied: tuple[str, ...] | None = None) -> tuple[Leg, Leg]:
        plan = planned(*audio(*offered))
        return sides((plan if replied is None else answered(plan, *audio(*replied, port=6004))).lines[0])

    @pytest.mark.parametrize(
        ("stated", "rtcp"),
        [
            ("5011", (UE_ADDRESS, 5011)), ("5011 IN IP4 192.0.2.99", ("192.0.2.99", 5011)), ("5005", None),
            ("5005 IN IP4 192.0.2.99", ("192.0.2.99", 5005)), ("9 IN IP4 0.0.0.0", None), ("5011 IN IP4 far.example", None),
            ("5011 IN IP6 2001:db8::9", None), ("0", None), ("65536", None), ("x", None), ("", None),
            ("5011 IN IP4", None), ("5011 IN IP4 233.252.0.1", None), ("5011 IN IP6 fe80::1%eth0", None),
        ],
    )  # fmt: skip
    def test_where_the_peer_wants_it(self, stated: str, rtcp: tuple[str, int] | None) -> None:
        access, _ = self.legs((f"a=rtcp:{stated}",))
        assert access.rtcp == rtcp

    @pytest.mark.parametrize(
        ("offered", "replied", "near", "far"),
        [
            ((MUX,), None, "offered", "offered"), ((MUX,), (MUX,), "agreed", "agreed"), ((MUX,), (), "", ""),
            ((), None, "", ""), ((), (MUX,), "", ""),
        ],
    )  # fmt: skip
    def test_one_port_for_both_needs_offer_and_answer(
        self, offered: tuple[str, ...], replied: tuple[str, ...] | None, near: str, far: str
    ) -> None:
        assert tuple(leg.rtcp_mux for leg in self.legs(offered, replied)) == (near, far)

    @pytest.mark.parametrize("direction", list(Direction))
    def test_a_further_offer_changes_nothing_before_its_answer(self, direction: Direction) -> None:
        standing = answered(planned(*audio(MUX)), *audio(MUX))
        again = decide(MediaPolicy(), NOTHING_AGREED, description(*audio()), direction, previous=standing)
        near, far = sides(again.lines[0]) if direction is FROM_UE else reversed(sides(again.lines[0]))
        assert (near.rtcp_mux, far.rtcp_mux) == ("agreed", "")
        assert {leg.rtcp_mux for leg in sides(answered(again, *audio()).lines[0])} == {""}
        later = decide(
            MediaPolicy(), NOTHING_AGREED, description(*audio(MUX)), direction, previous=answered(again, *audio()))
        near, far = sides(later.lines[0]) if direction is FROM_UE else reversed(sides(later.lines[0]))
        assert (near.rtcp_mux, far.rtcp_mux) == ("", "offered")

    @pytest.mark.parametrize(
        ("stated", "port", "written"),
        [
            ((), 0, []), (("a=rtcp:5011",), 0, ["a=rtcp:40001"]), (("a=RTCP: 5011 IN IP4 192.0.2.9",), 0,
             ["a=RTCP:40001 IN IP4 198.51.100.5"]), ((), 40_009, ["a=rtcp:40009"]),
            (("a=rtcp:5011",), 40_009, ["a=rtcp:40009"]), (("a=rtcp:5011", MUX), 0, ["a=rtcp:40001", MUX]),
            ((MUX,), 40_009, [MUX, "a=rtcp:40009"]), (("a=rtcp:1", "a=rtcp:2"), 0, ["a=rtcp:40001"]),
        ],
    )  # fmt: skip
    def test_an_offer_says_where_ours_is(self, stated: tuple[str, ...], port: int, written: list[str]) -> None:
        offer = description(*audio(*stated))
        side = {0: StreamMedia("198.51.100.5", 40_000, rtcp=port)}
        out = rewrite_offer(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), offer, side)
        assert lines_of(out)[1:] == written

    @pytest.mark.parametrize(
        ("offered", "replied", "port", "written"),
        [
            ((), (), 0, []), ((MUX,), (MUX,), 0, [MUX]), ((), (MUX,), 0, []), ((), (), 40_009, ["a=rtcp:40009"]),
            ((MUX,), (MUX,), 40_009, [MUX]), ((MUX,), ("a=rtcp:6004", MUX), 40_009, ["a=rtcp:40000", MUX]),
            ((MUX,), ("a=rtcp:6010",), 0, ["a=rtcp:40001"]),
        ],
    )  # fmt: skip
    def test_an_answer_says_where_ours_is(
        self, offered: tuple[str, ...], replied: tuple[str, ...], port: int, written: list[str]
    ) -> None:
        offer, answer = description(*audio(*offered)), description(*audio(*replied, port=6004), address=CORE_ADDRESS)
        plan = settle(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), answer)
        out = rewrite_answer(plan, answer, {0: StreamMedia("203.0.113.5", 40_000, rtcp=port)})
        assert lines_of(out)[1:] == written

    def test_what_is_no_rtp_gets_no_rtcp(self) -> None:
        offer = description("m=image 6100 udptl t38", "a=rtcp:6101")
        out = rewrite_offer(decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE), offer, CORE_SIDE)
        assert lines_of(out) == ["m=image 40000 udptl t38"]


SEEN = Origin("203.0.113.99", behind_nat=True)
OPEN = Origin("192.0.2.61")


class TestBehindANat:
    @pytest.mark.parametrize(
        ("origin", "knobs", "latched", "sources"),
        [
            (SEEN, {}, True, ("203.0.113.99", UE_ADDRESS)), (OPEN, {}, False, (UE_ADDRESS,)),
            (SEEN, {"latch": "never"}, False, (UE_ADDRESS,)), (OPEN, {"latch": "always"}, True, (UE_ADDRESS,)),
            (SEEN, {"latch_from": "any"}, True, ()), (OPEN, {"latch_from": "any"}, False, (UE_ADDRESS,)),
            (Origin(), {"latch": "always"}, True, ()),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("lines", [audio(), audio(proto="UDP/TLS/RTP/SAVPF"), fax(secure=False), ("m=x 7 UDP 0",)])
    def test_who_may_send(
        self, lines: tuple[str, ...], origin: Origin, knobs: dict[str, str], latched: bool, sources: tuple[str, ...]
    ) -> None:
        plan = planned(*lines, origin=origin, **knobs)
        access, core = sides(plan.lines[0])
        assert (access.latched, access.sources) == (latched, sources)
        assert (core.latched, core.sources) == (False, ())
        access, core = sides(answered(plan, *lines).lines[0])
        assert (access.latched, access.sources) == (latched, sources)
        assert (core.latched, core.sources) == (False, ())

    def test_a_ue_that_answers(self) -> None:
        plan = planned(*audio(), direction=FROM_CORE, address=CORE_ADDRESS, origin=SEEN)
        access, _ = sides(plan.lines[0])
        assert (access.latched, access.sources, access.peer_address) == (True, ("203.0.113.99",), None)
        access, core = sides(answered(plan, *audio("a=rtcp:7 IN IP4 10.9.9.9"), address="10.0.0.3").lines[0])
        assert (access.latched, access.sources) == (True, ("203.0.113.99", "10.0.0.3", "10.9.9.9"))
        assert not core.latched

    def test_rtcp_may_come_from_where_it_is_wanted(self) -> None:
        access, _ = sides(planned(*audio("a=rtcp:5011 IN IP4 192.0.2.99")).lines[0])
        assert access.sources == (UE_ADDRESS, "192.0.2.99")

    @pytest.mark.parametrize(("origin", "sources"), [(SEEN, ("203.0.113.99", UE_ADDRESS)), (OPEN, ())])
    def test_a_certificate_says_more_than_an_address(self, origin: Origin, sources: tuple[str, ...]) -> None:
        """DTLS that ends here: without a NAT in sight nobody is kept from beginning a handshake."""
        offer = description(*fax("a=setup:actpass", UE_FINGERPRINT, REQUESTED))
        access, _ = sides(decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE, origin=origin).lines[0])
        assert (access.transport, access.latched, access.sources) == ("UDP/DTLS", bool(sources), sources)

    def test_a_zone_is_not_for_the_gateway(self) -> None:
        access, _ = sides(planned(*audio(), origin=Origin("fe80::9%eth0", behind_nat=True)).lines[0])
        assert access.sources == ("fe80::9", UE_ADDRESS)

    def test_tcp_needs_no_latching(self) -> None:
        access, _ = sides(planned(*msrp(secure=False), origin=SEEN).lines[0])
        assert (access.latched, access.sources) == (False, ())

    def test_a_name_is_no_source(self) -> None:
        access, _ = sides(planned(*fax("c=IN IP4 phone.example", secure=False)).lines[0])
        assert access.sources == ()

    def test_an_address_on_hold_is_no_source(self) -> None:
        access, _ = sides(planned(*audio("c=IN IP4 0.0.0.0"), origin=SEEN).lines[0])
        assert access.sources == ("203.0.113.99",)
