"""Every rule about offers, one row each; then what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.plan import Agreed, Capabilities, Direction, Mode, decide, settle
from pcscf.sdp.lines import Sdp
from tests.unit.mediasec.descriptions import (
    ALL_AGREED,
    AUDIO,
    CORE_ADDRESS,
    CORE_FINGERPRINT,
    EVERYTHING,
    NOTHING_AGREED,
    REQUESTED,
    UE_ADDRESS,
    UE_FINGERPRINT,
    UE_HASH,
    WEAK_HASH,
    bfcp,
    description,
    fax,
    msrp,
    only,
    rules,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
ACTIVE, ACTPASS, PASSIVE = "a=setup:active", "a=setup:actpass", "a=setup:passive"
MIKEY = "a=key-mgmt:mikey AQAAbcd="
E2AE = (UE_FINGERPRINT, REQUESTED)


def policy(medium: str = "msrp", **knobs: Any) -> MediaPolicy:
    """The default policy with knobs of one medium, or of the block when `medium` is ""."""
    default = MediaPolicy()
    return replace(default, **({medium: replace(getattr(default, medium), **knobs)} if medium else knobs))


@dataclass(frozen=True)
class Row:
    rule: str
    mode: Mode
    offer: tuple[str, ...]
    agreed: Agreed = ALL_AGREED
    policy: MediaPolicy = MediaPolicy()  # noqa: RUF009 - immutable
    status: int = 0


OFFERS_OF_THE_UE = [
    Row("A1", Mode.TERMINATE, msrp(ACTIVE, *E2AE)),
    Row("A1", Mode.TERMINATE, (*E2AE, *msrp(ACTIVE))),
    Row("A1", Mode.TERMINATE, msrp(ACTIVE, UE_FINGERPRINT, "a=3GE2AE: Requested")),
    Row("A1", Mode.TERMINATE, msrp(UE_FINGERPRINT.lower(), REQUESTED)),
    Row("A1", Mode.TERMINATE, msrp("a=fingerprint:md5 00:11", *E2AE)),
    Row("A1", Mode.TERMINATE, bfcp(ACTPASS, *E2AE)),
    Row("A1", Mode.TERMINATE, fax(ACTPASS, *E2AE)),
    Row("A1", Mode.TERMINATE, msrp(f"a=fingerprint:SHA-1 {WEAK_HASH}", REQUESTED), policy=policy(min_hash="sha-1")),
    Row("A1", Mode.TERMINATE, msrp(ACTIVE, *E2AE), policy=policy(core="tls")),
    Row("A4", Mode.PASS, msrp(ACTIVE, UE_FINGERPRINT), policy=policy(core="tls")),
    Row("A1", Mode.DISABLED, fax("a=setup:holdconn", *E2AE), status=488),
    Row("A2", Mode.TERMINATE, msrp(ACTIVE, *E2AE), NOTHING_AGREED),
    Row("A2", Mode.TERMINATE, msrp(ACTIVE, *E2AE), Agreed(frozenset(), frozenset({"msrp-tls"}))),
    Row("A2", Mode.PASS, msrp(ACTIVE, *E2AE), NOTHING_AGREED, policy(honour_request_without_registration=False)),
    Row("A2", Mode.PASS, bfcp(ACTPASS, *E2AE), NOTHING_AGREED),
    Row("A2", Mode.TERMINATE, bfcp(*E2AE), NOTHING_AGREED, policy("bfcp", honour_request_without_registration=True)),
    Row("A2", Mode.PASS, fax(ACTPASS, *E2AE), NOTHING_AGREED),
    Row("A3", Mode.DISABLED, msrp(ACTIVE, REQUESTED), status=488),
    Row("A3", Mode.DISABLED, msrp(f"a=fingerprint:sha-1 {WEAK_HASH}", REQUESTED), status=488),
    Row("A3", Mode.DISABLED, msrp(*E2AE), policy=policy(min_hash="sha-512"), status=488),
    Row("A4", Mode.PASS, msrp(ACTIVE, UE_FINGERPRINT)),
    Row("A4", Mode.PASS, msrp(ACTIVE, UE_FINGERPRINT, "a=3ge2ae:applied")),
    Row("A4", Mode.PASS, msrp(ACTIVE)),
    Row("A4", Mode.TERMINATE, msrp(ACTIVE, UE_FINGERPRINT), policy=policy(terminate_unrequested=True)),
    Row("A4", Mode.PASS, msrp(ACTIVE), policy=policy(terminate_unrequested=True)),
    Row("A4", Mode.PASS, msrp(*E2AE, path="msrps://relay.example:9/a;tcp msrps://192.0.2.61:9/b;tcp")),
    Row("A4", Mode.PASS, msrp(UE_FINGERPRINT, path="msrps://relay.example:9/a;tcp msrps://192.0.2.61:9/b;tcp"),
        policy=policy(terminate_unrequested=True)),
    Row("A5", Mode.PASS, msrp(ACTIVE, MIKEY)),
    Row("A5", Mode.PASS, (MIKEY, *msrp(ACTIVE, UE_FINGERPRINT))),
    Row("A5", Mode.PASS, msrp(ACTIVE, UE_FINGERPRINT, MIKEY), policy=policy(terminate_unrequested=True)),
    Row("A6", Mode.PASS, msrp(ACTIVE, MIKEY, *E2AE)),
    Row("A7", Mode.PLAIN, msrp(secure=False)),
    Row("A7", Mode.PLAIN, bfcp(secure=False)),
    Row("A7", Mode.PLAIN, fax(secure=False)),
    Row("A7", Mode.PLAIN, msrp(secure=False), policy=policy(downgrade="refuse"), status=488),
    Row("A7", Mode.PLAIN, msrp(secure=False), NOTHING_AGREED, policy(downgrade="refuse")),
    Row("A7", Mode.PLAIN, msrp(secure=False), NOTHING_AGREED, policy(require=True), status=488),
    Row("A8", Mode.PLAIN, msrp(REQUESTED, secure=False)),
    Row("A9", Mode.UNUSED, msrp(*E2AE, port=0)),
    Row("A9", Mode.UNUSED, ("m=audio 0 RTP/AVP 0",)),
    Row("A11", Mode.PASS, ("m=audio 5004 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", REQUESTED)),
    Row("A12", Mode.PASS, ("m=audio 5004 UDP/TLS/RTP/SAVPF 0", UE_FINGERPRINT)),
    Row("A12", Mode.PASS, ("m=application 5070 UDP/TLS/BFCP *", *E2AE)),
    Row("A12", Mode.PLAIN, AUDIO),
    Row("A12", Mode.PLAIN, ("m=image 5071 TCP t38",)),
    Row("A12", Mode.PLAIN, ("m=message 5071 TCP/WS/MSRP *",)),
    Row("A13", Mode.TERMINATE, msrp(*E2AE, "a=tcap:1 TCP/MSRP", "a=pcfg:1 t=1")),
]

OFFERS_OF_THE_CORE = [
    Row("C1", Mode.PROTECT, msrp(ACTPASS, secure=False)),
    Row("C1", Mode.PROTECT, bfcp(ACTPASS, secure=False)),
    Row("C1", Mode.PROTECT, fax(secure=False)),
    Row("C1", Mode.PROTECT, fax("a=setup:holdconn", secure=False)),
    Row("C1", Mode.PROTECT, msrp(secure=False), policy=policy(require=True)),
    Row("C2", Mode.PROTECT, msrp(ACTPASS, CORE_FINGERPRINT, secure=False)),
    Row("C3", Mode.PLAIN, msrp(secure=False), NOTHING_AGREED),
    Row("C3", Mode.PLAIN, msrp(secure=False), Agreed(frozenset({"bfcp-tls"}), frozenset({"msrp-tls"}))),
    Row("C3", Mode.PLAIN, msrp("a=3ge2ae:requested", secure=False), NOTHING_AGREED),
    Row("C3", Mode.PLAIN, msrp(secure=False), NOTHING_AGREED, policy(require=True), status=488),
    Row("C3", Mode.PLAIN, AUDIO),
    Row("C4", Mode.PASS, msrp(ACTPASS, CORE_FINGERPRINT)),
    Row("C4", Mode.PASS, msrp(ACTPASS, MIKEY)),
    Row("C4", Mode.PASS, msrp(ACTPASS, CORE_FINGERPRINT, REQUESTED)),
    Row("C4", Mode.PASS, ("m=audio 5004 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x")),
    Row("C5", Mode.PASS, msrp(ACTPASS)),
    Row("C5", Mode.PASS, ("m=audio 5004 UDP/TLS/RTP/SAVPF 0",)),
    Row("C6", Mode.PROTECT, msrp("a=tcap:1 TCP/TLS/MSRP", "a=pcfg:1 t=1", secure=False)),
    Row("C7", Mode.UNUSED, fax(secure=False, port=0)),
    Row("C9", Mode.PROTECT, msrp(secure=False), NOTHING_AGREED, policy(offer_tls_to_unindicated=True)),
]


def test_every_rule_about_offers_has_a_row() -> None:
    tested = {row.rule for row in (*OFFERS_OF_THE_UE, *OFFERS_OF_THE_CORE)}
    assert {rule for rule in rules() if rule[1] != "A"} - tested == {"C8"}   # of TLS in the core


@pytest.mark.parametrize("row", OFFERS_OF_THE_UE, ids=lambda row: f"{row.rule}-{row.mode}")
def test_offer_of_the_ue(row: Row) -> None:
    _check(row, FROM_UE)


@pytest.mark.parametrize("row", OFFERS_OF_THE_CORE, ids=lambda row: f"{row.rule}-{row.mode}")
def test_offer_of_the_core(row: Row) -> None:
    _check(row, FROM_CORE)


def _check(row: Row, direction: Direction) -> None:
    plan = decide(row.policy, row.agreed, description(*row.offer), direction, EVERYTHING)
    (line,) = plan.lines
    assert (line.rule, line.mode) == (row.rule, row.mode)
    assert (plan.action, plan.status) == (("reject", 488) if row.status else ("forward", 0))
    assert bool(plan.warning) == bool(row.status)
    assert len(line.reason) > 15
    assert line.gateway == (line.access is not None) == (line.core is not None)
    assert line.mapped == (line.mode in {Mode.TERMINATE, Mode.PROTECT})


def test_reasons_are_sentences() -> None:
    plan = decide(MediaPolicy(), ALL_AGREED, description(*msrp(ACTIVE, *E2AE)), FROM_UE)
    assert plan.lines[0].reason == (
        "the UE asked for protection to the edge and both sides agreed msrp-tls: TLS ends at the gateway"
    )


class TestLegsOfTheOffer:
    def test_ue_offers_msrp(self) -> None:
        (line,) = decide(MediaPolicy(), ALL_AGREED, description(*msrp(ACTIVE, *E2AE)), FROM_UE).lines
        assert line.access is not None
        assert line.core is not None
        assert (line.access.tcp, line.access.tls, line.access.setup) == ("accept", "server", "passive")
        assert line.access.peer_setup == "active"
        assert line.access.peer_address == (UE_ADDRESS, 9)
        assert line.access.peer_fingerprints == (("sha-256", UE_HASH),)
        assert line.access.transport == "TCP/TLS"
        assert (line.core.tcp, line.core.tls, line.core.setup) == (None, None, "active")
        assert (line.core.peer_setup, line.core.peer_address, line.core.transport) == ("", None, "TCP")
        assert line.path_mode == "agnostic"

    def test_core_offers_bfcp(self) -> None:
        offer = description(*bfcp(ACTPASS, secure=False), address=CORE_ADDRESS)
        (line,) = decide(MediaPolicy(), ALL_AGREED, offer, FROM_CORE).lines
        assert line.access is not None
        assert line.core is not None
        assert (line.access.tcp, line.access.tls, line.access.setup) == (None, "client", "actpass")
        assert (line.core.peer_setup, line.core.peer_address) == ("actpass", (CORE_ADDRESS, 50_000))
        assert (line.core.transport, line.access.transport) == ("TCP", "TCP/TLS")
        assert line.path_mode == ""

    def test_datagrams_have_no_tcp_role(self) -> None:
        (line,) = decide(MediaPolicy(), ALL_AGREED, description(*fax(*E2AE)), FROM_UE, EVERYTHING).lines
        assert line.access is not None
        assert line.core is not None
        assert (line.access.tcp, line.access.tls, line.access.setup) == (None, "server", "passive")
        assert (line.access.transport, line.core.transport, line.core.setup) == ("UDP/DTLS", "UDP", "")

    def test_an_address_on_hold_is_no_address(self) -> None:
        offer = description(*msrp(ACTIVE, *E2AE), address="0.0.0.0")
        (line,) = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE).lines
        assert line.access is not None
        assert line.access.peer_address is None


LITTLE = Capabilities(frozenset({"msrp"}), frozenset({"TCP"}))


class TestGatewayCannot:
    def test_a_line_that_must_end_there_is_refused_by_name(self) -> None:
        plan = decide(MediaPolicy(), ALL_AGREED, description(*fax(ACTPASS, *E2AE)), FROM_UE, LITTLE)
        assert (plan.action, plan.status, only(plan)) == ("reject", 488, "A1")
        assert "no gateway can end UDP/DTLS of fax" in plan.warning

    def test_beside_other_streams_it_is_disabled(self) -> None:
        plan = decide(MediaPolicy(), ALL_AGREED, description(*AUDIO, *fax(secure=False)), FROM_CORE, LITTLE)
        assert (plan.action, [line.mode for line in plan.lines]) == ("forward", [Mode.PLAIN, Mode.DISABLED])

    @pytest.mark.parametrize("knob", ["terminate_unrequested", "offer_tls_to_unindicated"])
    def test_what_only_policy_wants_is_left_alone(self, knob: str) -> None:
        direction = FROM_UE if knob == "terminate_unrequested" else FROM_CORE
        offer = description(*fax(UE_FINGERPRINT, secure=direction is FROM_UE))
        plan = decide(policy("fax", **{knob: True}), NOTHING_AGREED, offer, direction, LITTLE)
        assert (plan.action, plan.lines[0].gateway) == ("forward", False)

    @pytest.mark.parametrize(
        "lines",
        [AUDIO, fax(secure=False), fax(UE_FINGERPRINT), ("m=application 5000 UDP/BFCP *",), ("m=video 0 RTP/AVP 31",)],
    )
    def test_what_cannot_be_anchored_is_left_alone(self, lines: tuple[str, ...]) -> None:
        plan = decide(MediaPolicy(), NOTHING_AGREED, description(*lines), FROM_UE, LITTLE)
        assert (plan.action, plan.lines[0].gateway) == ("forward", False)

    def test_nothing_is_anchored_without_a_gateway(self) -> None:
        plan = decide(
            MediaPolicy(), NOTHING_AGREED, description(*msrp(secure=False)), FROM_UE, Capabilities(frozenset(), frozenset())
        )  # fmt: skip
        assert (plan.action, plan.lines[0].gateway) == ("forward", False)

    def test_what_brings_ice_is_left_alone(self) -> None:
        """The gateway does no ICE, and a data channel would not come about without its candidates."""
        ice = ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=ice-ufrag:F7gI")
        assert not decide(MediaPolicy(), NOTHING_AGREED, description(*ice), FROM_UE).lines[0].gateway
        assert decide(MediaPolicy(), NOTHING_AGREED, description(*ice[:1]), FROM_UE).lines[0].gateway


class TestAnchoring:
    @pytest.mark.parametrize(("lines", "knob"), [(msrp(secure=False), "anchor_plain"), (msrp(ACTIVE), "anchor_pass")])
    def test_is_a_matter_of_policy(self, lines: tuple[str, ...], knob: str) -> None:
        offer = description(*lines)
        assert decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE).lines[0].gateway
        assert not decide(policy("", **{knob: False}), NOTHING_AGREED, offer, FROM_UE).lines[0].gateway

    def test_other_tcp_lines_are_anchored_with_their_setup(self) -> None:
        (line,) = decide(MediaPolicy(), NOTHING_AGREED, description("m=image 5071 TCP t38", ACTIVE), FROM_UE).lines
        assert line.access is not None
        assert line.core is not None
        assert (line.access.tcp, line.core.tcp, line.core.setup) == ("accept", "connect", "active")


class TestMsrpPath:
    @pytest.mark.parametrize(
        ("lines", "direction", "rule"),
        [
            (msrp(ACTIVE, *E2AE, cema=False), FROM_UE, "A1"),
            (msrp(ACTIVE, UE_FINGERPRINT, cema=False), FROM_UE, "A4"),
            (msrp(secure=False, cema=False), FROM_UE, "A7"),
            (msrp(secure=False, cema=False), FROM_CORE, "C1"),
            (msrp(CORE_FINGERPRINT, cema=False), FROM_CORE, "C4"),
        ],
    )
    def test_without_cema_is_refused_with_the_reason(
        self, lines: tuple[str, ...], direction: Direction, rule: str
    ) -> None:
        plan = decide(policy(aware=False), ALL_AGREED, description(*lines), direction)
        assert (plan.action, plan.status, only(plan)) == ("reject", 488, rule)
        assert plan.lines[0].mode is Mode.DISABLED
        assert "no a=msrp-cema" in plan.warning

    @pytest.mark.parametrize(
        ("lines", "direction", "rule", "ours"),
        [
            (msrp(ACTIVE, *E2AE, cema=False), FROM_UE, "A1", "msrp://$:$/s4Lt;tcp"),
            (msrp(secure=False, cema=False), FROM_UE, "A7", "msrp://$:$/s4Lt;tcp"),
            (msrp(secure=False, cema=False), FROM_CORE, "C1", "msrps://$:$/s4Lt;tcp"),
        ],
    )
    def test_without_cema_the_gateway_maps_the_paths(
        self, lines: tuple[str, ...], direction: Direction, rule: str, ours: str
    ) -> None:
        plan = decide(MediaPolicy(), ALL_AGREED, description(*lines), direction)
        assert (plan.action, only(plan), plan.lines[0].path_mode) == ("forward", rule, "aware")
        near, far = plan.lines[0].access, plan.lines[0].core
        if direction is FROM_CORE:
            near, far = far, near
        assert near is not None
        assert far is not None
        assert near.peer_path.endswith(f"{UE_ADDRESS}:9/s4Lt;tcp")
        assert (far.path, far.setup) == (ours, "actpass")

    @pytest.mark.parametrize("offered", ["active", "passive", "actpass", ""])
    def test_where_the_path_is_ours_the_far_side_may_choose_who_opens(self, offered: str) -> None:
        written = (f"a=setup:{offered}",) if offered else ()
        plan = decide(MediaPolicy(), ALL_AGREED, description(*msrp(*written, *E2AE, cema=False)), FROM_UE)
        assert plan.lines[0].core is not None
        assert plan.lines[0].core.setup == "actpass"

    @pytest.mark.parametrize("lines", [msrp(ACTIVE, UE_FINGERPRINT, cema=False), msrp(CORE_FINGERPRINT, cema=False)])
    def test_what_the_gateway_cannot_read_it_cannot_map(self, lines: tuple[str, ...]) -> None:
        plan = decide(MediaPolicy(), ALL_AGREED, description(*lines), FROM_UE)
        assert (plan.action, plan.status) == ("reject", 488)
        assert "no a=msrp-cema" in plan.warning

    @pytest.mark.parametrize("path", ["msrps://192.0.2.1/}x;tcp", "msrps://$:$/x;tcp", "sip:a@b", "msrps://192.0.2.1:0/x;tcp"])
    def test_a_path_that_is_none_is_refused(self, path: str) -> None:
        plan = decide(MediaPolicy(), ALL_AGREED, description(*msrp(*E2AE, cema=False, path=path)), FROM_UE)
        assert (plan.action, plan.status) == ("reject", 488)
        assert "a=path that could be mapped" in plan.warning

    def test_a_dialog_whose_paths_are_mapped_stays_so(self) -> None:
        first = decide(MediaPolicy(), ALL_AGREED, description(*msrp(*E2AE, cema=False)), FROM_UE)
        again = decide(MediaPolicy(), ALL_AGREED, description(*msrp(*E2AE)), FROM_UE, previous=first)
        assert again.lines[0].path_mode == "aware"

    def test_without_cema_beside_audio_is_disabled(self) -> None:
        plan = decide(policy(aware=False), ALL_AGREED, description(*AUDIO, *msrp(*E2AE, cema=False)), FROM_UE)
        assert (plan.action, plan.lines[1].mode) == ("forward", Mode.DISABLED)

    def test_without_cema_and_without_anchoring_goes_by(self) -> None:
        offer = description(*msrp(secure=False, cema=False))
        plan = decide(policy("", anchor_plain=False), NOTHING_AGREED, offer, FROM_UE)
        assert (plan.action, plan.lines[0].mode, plan.lines[0].gateway) == ("forward", Mode.PLAIN, False)

    def test_sessmatch_serves_peers_without_cema(self) -> None:
        offer = description(*msrp(ACTPASS, *E2AE, cema=False, path="msrps://phone.example:7007/x;tcp"))
        (line,) = decide(policy(sessmatch=True), ALL_AGREED, offer, FROM_UE).lines
        assert (line.mode, line.path_mode) == (Mode.TERMINATE, "sessmatch")
        assert line.access is not None
        assert line.access.peer_address == ("phone.example", 7007)

    def test_cema_goes_before_sessmatch(self) -> None:
        (line,) = decide(policy(sessmatch=True), ALL_AGREED, description(*msrp(*E2AE)), FROM_UE).lines
        assert line.path_mode == "agnostic"

    def test_a_path_over_a_relay_is_not_ours_to_rewrite(self) -> None:
        offer = description(*msrp(secure=False, cema=False, path="msrp://r.example:9/a;tcp msrp://192.0.2.61:9/b;tcp"))
        (line,) = decide(policy(sessmatch=True, aware=False), NOTHING_AGREED, offer, FROM_UE).lines
        assert (line.mode, line.gateway) == (Mode.PLAIN, False)

    @pytest.mark.parametrize(("scheme", "mode"), [("msrp", "aware"), ("msrps", "")])
    def test_only_a_relay_in_the_clear_can_be_mapped(self, scheme: str, mode: str) -> None:
        path = f"{scheme}://192.0.2.9:9/a;tcp msrp://192.0.2.61:9/b;tcp"
        offer = description(*msrp(secure=False, cema=False, path=path))
        (line,) = decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_UE).lines
        assert (line.mode, line.gateway, line.path_mode) == (Mode.PLAIN, bool(mode), mode)
        if line.core is not None:
            assert line.core.path == "msrp://$:$/a;tcp msrp://192.0.2.61:9/b;tcp"


class TestDowngrade:
    def test_is_counted(self) -> None:
        offer = description(*AUDIO, *msrp(secure=False), *bfcp(*E2AE), *msrp(secure=False))
        assert decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE).downgraded == (1, 3)

    @pytest.mark.parametrize("agreed", [NOTHING_AGREED, Agreed(frozenset({"msrp-tls"}), frozenset({"bfcp-tls"}))])
    def test_needs_an_agreement(self, agreed: Agreed) -> None:
        assert decide(MediaPolicy(), agreed, description(*msrp(secure=False)), FROM_UE).downgraded == ()

    def test_of_one_line_refuses_the_offer(self) -> None:
        plan = decide(policy(downgrade="refuse"), ALL_AGREED, description(*AUDIO, *msrp(secure=False)), FROM_UE)
        assert (plan.action, plan.status, plan.downgraded) == ("reject", 488, (1,))
        assert "agreed msrp-tls at registration" in plan.warning

    def test_a_line_in_disuse_is_none(self) -> None:
        offer = description(*AUDIO, *msrp(secure=False, port=0))
        plan = decide(policy(downgrade="refuse", require=True), ALL_AGREED, offer, FROM_UE)
        assert (plan.action, plan.downgraded) == ("forward", ())

    def test_the_core_downgrades_nothing(self) -> None:
        plan = decide(policy(downgrade="refuse"), ALL_AGREED, description(*msrp(secure=False)), FROM_CORE)
        assert (plan.action, plan.downgraded) == ("forward", ())


def test_each_line_has_a_rule_of_its_own() -> None:
    offer = description(*AUDIO, *msrp(ACTIVE, *E2AE), *bfcp(UE_FINGERPRINT), *msrp(REQUESTED), *fax(port=0))
    plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE)
    assert [line.rule for line in plan.lines] == ["A12", "A1", "A4", "A3", "A9"]
    assert [line.index for line in plan.lines] == [0, 1, 2, 3, 4]
    assert plan.action == "forward"


def test_an_offer_without_any_line_in_use_goes_on() -> None:
    assert decide(MediaPolicy(), ALL_AGREED, description(), FROM_UE).action == "forward"
    assert decide(MediaPolicy(), ALL_AGREED, description(*msrp(port=0)), FROM_UE).action == "forward"


def test_knobs_of_one_medium_do_not_touch_another() -> None:
    strict = replace(MediaPolicy(), msrp=MediumPolicy(require=True))
    assert decide(strict, NOTHING_AGREED, description(*bfcp(secure=False)), FROM_UE).action == "forward"


class TestLaterOffers:
    """A line that an earlier exchange protected stays protected (`previous`)."""

    answer = description(*msrp("a=setup:passive", secure=False, host=CORE_ADDRESS), address=CORE_ADDRESS)

    def previous(self, agreed: Agreed = NOTHING_AGREED) -> Any:
        plan = decide(MediaPolicy(), agreed, description(*msrp(ACTIVE, *E2AE)), FROM_UE)
        return settle(plan, self.answer)

    def again(self, offer: Sdp, direction: Direction, **knobs: Any) -> tuple[str, Mode, bool]:
        plan = decide(policy(**knobs), NOTHING_AGREED, offer, direction, previous=self.previous())
        (line,) = plan.lines
        return line.rule, line.mode, line.mapped

    def test_plain_from_the_core(self) -> None:
        offer = description(*msrp(ACTPASS, secure=False))
        assert self.again(offer, FROM_CORE) == ("C1", Mode.PROTECT, True)

    def test_not_requested_again_with_the_same_certificate(self) -> None:
        assert self.again(description(*msrp(ACTIVE, UE_FINGERPRINT)), FROM_UE) == ("A1", Mode.TERMINATE, True)

    def test_not_requested_again_with_another_certificate(self) -> None:
        assert self.again(description(*msrp(ACTIVE, CORE_FINGERPRINT)), FROM_UE) == ("A4", Mode.PASS, False)

    def test_requested_again_is_honoured_whatever_policy_says_now(self) -> None:
        offer = description(*msrp(ACTIVE, *E2AE))
        assert self.again(offer, FROM_UE, honour_request_without_registration=False) == ("A1", Mode.TERMINATE, True)

    def test_plain_from_the_ue_is_its_own_choice(self) -> None:
        assert self.again(description(*msrp(secure=False)), FROM_UE) == ("A7", Mode.PLAIN, False)

    @pytest.mark.parametrize(("direction", "secure"), [(FROM_UE, True), (FROM_CORE, False)])
    def test_put_out_of_use_keeps_its_transports(self, direction: Direction, *, secure: bool) -> None:
        offer = description(*msrp(secure=secure, port=0))
        assert self.again(offer, direction) == ("A9" if direction is FROM_UE else "C7", Mode.UNUSED, True)

    def test_the_slot_of_another_medium_is_decided_afresh(self) -> None:
        assert self.again(description(*bfcp(secure=False)), FROM_CORE) == ("C3", Mode.PLAIN, False)

    def test_a_new_line_is_decided_afresh(self) -> None:
        offer = description(*msrp(secure=False), *msrp(secure=False))
        plan = decide(MediaPolicy(), NOTHING_AGREED, offer, FROM_CORE, previous=self.previous())
        assert [line.mode for line in plan.lines] == [Mode.PROTECT, Mode.PLAIN]
