"""What leaves: offers and answers after the plan, and o= per leg."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import sdp_transform

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.plan import Agreed, Direction, decide, settle
from pcscf.mediasec.rewrite import LegSdp, StreamMedia, next_body, rewrite_answer, rewrite_offer
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted
from pcscf.sdp.views import connection_host
from tests.unit.mediasec.descriptions import (
    ACCESS_SIDE,
    ALL_AGREED,
    AUDIO,
    CORE_ADDRESS,
    CORE_FINGERPRINT,
    CORE_SIDE,
    EVERYTHING,
    GATEWAY_FINGERPRINT,
    NOTHING_AGREED,
    REQUESTED,
    TLS_ID,
    UE_ADDRESS,
    UE_FINGERPRINT,
    attribute_lines,
    bfcp,
    description,
    effective_setup,
    fax,
    msrp,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
ACTIVE, ACTPASS, PASSIVE = "a=setup:active", "a=setup:actpass", "a=setup:passive"
E2AE = (UE_FINGERPRINT, REQUESTED)
DEFAULT = MediaPolicy()
SESSMATCH = replace(DEFAULT, msrp=MediumPolicy(sessmatch=True))


def offered(
    offer: Sdp, direction: Direction, agreed: Agreed = ALL_AGREED, policy: MediaPolicy = DEFAULT
) -> Sdp:
    """The offer as it goes on."""
    plan = decide(policy, agreed, offer, direction, EVERYTHING, new_tls_id=lambda: TLS_ID)
    assert plan.action == "forward"
    return rewrite_offer(plan, offer, CORE_SIDE if direction is FROM_UE else ACCESS_SIDE)


def answered(
    offer: Sdp, answer: Sdp, direction: Direction, agreed: Agreed = ALL_AGREED, policy: MediaPolicy = DEFAULT
) -> Sdp:
    """The answer as it goes back."""
    plan = settle(decide(policy, agreed, offer, direction, EVERYTHING, new_tls_id=lambda: TLS_ID), answer)
    return rewrite_answer(plan, answer, ACCESS_SIDE if direction is FROM_UE else CORE_SIDE)


def text(sdp: Sdp) -> list[str]:
    return sdp.to_bytes().decode().removesuffix("\r\n").split("\r\n")


class TestWholeDescriptions:
    def test_offer_of_the_ue(self) -> None:
        out = offered(description(*msrp(ACTIVE, *E2AE)), FROM_UE)
        assert text(out) == [
            "v=0",
            "o=- 700 1 IN IP4 192.0.2.61",
            "s=-",
            "c=IN IP4 198.51.100.5",
            "t=0 0",
            "m=message 9 TCP/MSRP *",
            "a=accept-types:message/cpim text/plain",
            "a=path:msrps://192.0.2.61:9/s4Lt;tcp",
            "a=msrp-cema",
            "a=setup:active",
            "a=max-size:9000",
        ]

    def test_answer_to_the_ue(self) -> None:
        answer = description(*msrp(PASSIVE, secure=False, port=4100, host=CORE_ADDRESS), address=CORE_ADDRESS)
        out = answered(description(*msrp(ACTIVE, *E2AE)), answer, FROM_UE)
        assert text(out) == [
            "v=0",
            "o=- 700 1 IN IP4 198.51.100.88",
            "s=-",
            "c=IN IP4 203.0.113.5",
            "t=0 0",
            "m=message 20000 TCP/TLS/MSRP *",
            "a=accept-types:message/cpim text/plain",
            "a=path:msrp://198.51.100.88:4100/s4Lt;tcp",
            "a=msrp-cema",
            "a=setup:passive",
            "a=max-size:9000",
            GATEWAY_FINGERPRINT,
        ]

    def test_offer_of_the_core(self) -> None:
        out = offered(description(*bfcp(ACTIVE, secure=False)), FROM_CORE)
        assert text(out)[5:] == [
            "m=application 20000 TCP/TLS/BFCP *",
            "a=floorctrl:c-only",
            "a=confid:7",
            "a=setup:actpass",
            "a=connection:new",
            GATEWAY_FINGERPRINT,
            "a=3ge2ae:applied",
        ]

    def test_answer_to_the_core(self) -> None:
        out = answered(
            description(*bfcp(ACTIVE, secure=False)), description(*bfcp(ACTIVE, UE_FINGERPRINT, port=9)), FROM_CORE
        )
        assert text(out)[5:] == [
            "m=application 40000 TCP/BFCP *",
            "a=floorctrl:c-only",
            "a=confid:7",
            "a=setup:passive",
            "a=connection:new",
        ]


class TestUntouched:
    @pytest.mark.parametrize(
        "lines",
        [
            AUDIO,
            (*AUDIO, "m=video 5006 RTP/AVP 96", "a=rtpmap:96 H264/90000", "c=IN IP6 2001:db8::4"),
            ("a=fingerprint:sha-256 00", "a=setup:actpass", "m=audio 5004 UDP/TLS/RTP/SAVP 0"),
            ("m=audio 0 UDP/TLS/RTP/SAVPF 0", UE_FINGERPRINT, "a=bundle-only"),
            (),
        ],
    )
    @pytest.mark.parametrize("direction", list(Direction))
    def test_a_description_without_change_is_returned_itself(
        self, lines: tuple[str, ...], direction: Direction
    ) -> None:
        sdp = description(*lines)
        assert offered(sdp, direction) is sdp
        assert answered(sdp, sdp, direction) is sdp

    def test_lines_that_nothing_anchors(self) -> None:
        loose = replace(DEFAULT, anchor_plain=False, anchor_pass=False)
        sdp = description(*AUDIO, *msrp(ACTIVE, UE_FINGERPRINT), *fax(secure=False), *bfcp(PASSIVE, secure=False))
        assert offered(sdp, FROM_UE, NOTHING_AGREED, loose) is sdp

    def test_unknown_attributes_and_their_order(self) -> None:
        noise = ("a=X-vendor:  9", "b=AS:64", "a=mid:007", "a=sendrecv", "a=file-selector:name:\"a b.txt\" size:4", "a=x")
        out = offered(description(*msrp(*noise, *E2AE)), FROM_UE)
        wanted = description(*msrp(*noise)).media[0]
        assert attribute_lines(out.media[0], "setup") == attribute_lines(wanted)
        assert "b=AS:64" in out.media[0].lines

    def test_the_independent_parser_sees_no_other_change(self) -> None:
        offer = description(*AUDIO, *msrp(ACTIVE, *E2AE), *bfcp(ACTPASS, *E2AE), "a=label:3", "m=text 5008 RTP/AVP 98")
        before = sdp_transform.parse(offer.to_bytes().decode())
        after = sdp_transform.parse(offered(offer, FROM_UE).to_bytes().decode())
        ours = {"port", "protocol", "connection", "setup", "fingerprint", "invalid"}
        for one, other in zip(before.pop("media"), after.pop("media"), strict=True):
            assert {k: v for k, v in one.items() if k not in ours} == {k: v for k, v in other.items() if k not in ours}
            kept = [line for line in one.get("invalid", []) if "3ge2ae" not in line["value"]]
            assert other.get("invalid", []) == kept
        assert after == before

    def test_line_endings(self) -> None:
        offer = parse_sdp_untrusted(description(*msrp(ACTIVE, *E2AE)).to_bytes().replace(b"\r\n", b"\n"))
        out = offered(offer, FROM_UE).to_bytes()
        assert b"\r" not in out
        assert out.endswith(b"a=max-size:9000\n")


class TestIndicator:
    """a=3ge2ae never reaches the core, and never comes from it."""

    @pytest.mark.parametrize("value", ["requested", "applied", "something"])
    @pytest.mark.parametrize(
        "lines",
        [msrp(ACTIVE, UE_FINGERPRINT), msrp(secure=False), AUDIO, fax(port=0), ("m=audio 0 RTP/AVP 0",)],
    )
    @pytest.mark.parametrize("direction", list(Direction))
    def test_is_stripped(self, value: str, lines: tuple[str, ...], direction: Direction) -> None:
        line = f"a=3ge2ae:{value}"
        for sdp in (description(line, *lines), description(*lines, line)):
            for out in (offered(sdp, direction, NOTHING_AGREED), answered(sdp, sdp, direction, NOTHING_AGREED)):
                assert b"3ge2ae" not in out.to_bytes()

    def test_is_applied_once_in_our_own_offers(self) -> None:
        offer = description("a=3ge2ae:applied", *msrp("a=3ge2ae:requested", "a=3ge2ae:applied", secure=False))
        out = offered(offer, FROM_CORE)
        assert out.media[0].values("3ge2ae") == ("applied",)
        assert not out.session.has("3ge2ae")

    def test_is_in_no_answer(self) -> None:
        offer = description(*msrp(ACTIVE, *E2AE))
        for value in ("applied", "requested"):
            answer = description(*msrp(PASSIVE, f"a=3ge2ae:{value}", secure=False))
            assert b"3ge2ae" not in answered(offer, answer, FROM_UE).to_bytes()


class TestFingerprints:
    def test_all_of_the_core_are_replaced_by_ours(self) -> None:
        offer = description(CORE_FINGERPRINT, *msrp(CORE_FINGERPRINT, "a=fingerprint:sha-1 00", secure=False))
        out = offered(offer, FROM_CORE)
        assert [f"a=fingerprint:{value}" for value in out.media[0].values("fingerprint")] == [GATEWAY_FINGERPRINT]
        assert not out.session.has("fingerprint")

    def test_several_of_ours(self) -> None:
        media = {0: StreamMedia("203.0.113.5", 20_000, (("sha-256", "AA"), ("sha-512", "BB")))}
        offer = description(*msrp(CORE_FINGERPRINT, secure=False))
        out = rewrite_offer(decide(DEFAULT, ALL_AGREED, offer, FROM_CORE), offer, media)
        assert out.media[0].values("fingerprint") == ("sha-256 AA", "sha-512 BB")

    def test_a_plain_line_has_none(self) -> None:
        for offer in (description(*msrp(UE_FINGERPRINT, secure=False)), description(UE_FINGERPRINT, *msrp(secure=False))):
            assert b"fingerprint" not in offered(offer, FROM_UE, NOTHING_AGREED).to_bytes()

    def test_session_level_goes_to_the_lines_that_need_it(self) -> None:
        offer = description(
            UE_FINGERPRINT, ACTPASS,
            "m=audio 5004 UDP/TLS/RTP/SAVP 0",
            *msrp(REQUESTED),
            *msrp(ACTIVE, CORE_FINGERPRINT),
            *bfcp(secure=False),
        )  # fmt: skip
        out = offered(offer, FROM_UE)
        audio, ended, passed, plain = out.media
        assert not out.session.has("fingerprint")
        assert not out.session.has("setup")
        assert audio.lines[-2:] == [UE_FINGERPRINT, ACTPASS]
        assert not ended.has("fingerprint")
        assert ended.value("setup") == "actpass"
        assert [f"a=fingerprint:{value}" for value in passed.values("fingerprint")] == [CORE_FINGERPRINT]
        assert passed.values("setup") == ("active",)
        assert not plain.has("fingerprint")
        assert plain.value("setup") == "actpass"

    def test_session_level_of_a_disabled_line_does_not_go_on(self) -> None:
        out = offered(description(UE_FINGERPRINT, *msrp(REQUESTED, cema=False), *AUDIO), FROM_UE)
        disabled, audio = out.media
        assert (out.session.has("fingerprint"), disabled.has("fingerprint")) == (False, False)
        assert audio.lines == [*AUDIO, UE_FINGERPRINT]

    def test_keys_of_another_protection_end_with_the_line(self) -> None:
        key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJD"
        assert key not in text(offered(description(*msrp(ACTIVE, key, *E2AE)), FROM_UE))
        assert key in text(offered(description(*msrp(ACTIVE, key, UE_FINGERPRINT)), FROM_UE))

    def test_session_level_stays_when_no_line_is_ours(self) -> None:
        offer = description(UE_FINGERPRINT, ACTIVE, *msrp())
        out = offered(offer, FROM_UE)
        assert out.session.lines[-2:] == [UE_FINGERPRINT, ACTIVE]


class TestSetupAndPort:
    @pytest.mark.parametrize(
        ("written", "port"), [(ACTIVE, 9), (ACTPASS, 40_000), (PASSIVE, 40_000)], ids=["active", "actpass", "passive"]
    )
    def test_a_side_that_opens_has_the_discard_port(self, written: str, port: int) -> None:
        out = offered(description(*msrp(written, *E2AE)), FROM_UE)
        assert out.media[0].port == port
        assert f"a=setup:{effective_setup(out)}" == written

    def test_a_passing_line_too(self) -> None:
        assert offered(description(*msrp(ACTIVE)), FROM_UE).media[0].port == 9
        assert offered(description(*msrp(ACTPASS)), FROM_UE).media[0].port == 40_000

    def test_datagrams_have_a_port_always(self) -> None:
        answer = description(*fax(secure=False))
        out = answered(description(*fax(PASSIVE, *E2AE)), answer, FROM_UE)
        assert (out.media[0].port, effective_setup(out)) == (20_000, "active")

    def test_plain_fax_has_no_roles(self) -> None:
        offer = description(*fax(ACTPASS, "a=connection:new", "a=tls-id:abcdefghijklmnopqrstu", *E2AE))
        section = offered(offer, FROM_UE).media[0]
        assert section.lines == ["m=image 40000 udptl t38", "a=T38FaxVersion:0", "a=T38FaxTranscodingMMR"]


class TestTlsId:
    def test_our_offer_names_the_association(self) -> None:
        assert offered(description(*fax(secure=False)), FROM_CORE).media[0].value("tls-id") == TLS_ID

    def test_our_answer_names_it_when_the_offer_did(self) -> None:
        answer = description(*fax(secure=False))
        assert not answered(description(*fax(*E2AE)), answer, FROM_UE).media[0].has("tls-id")
        out = answered(description(*fax(*E2AE, "a=tls-id:abcdefghijklmnopqrstu")), answer, FROM_UE)
        assert out.media[0].value("tls-id") == TLS_ID


class TestProto:
    @pytest.mark.parametrize("spelling", ["udptl", "UDPTL"])
    def test_an_answer_is_spelled_like_its_offer(self, spelling: str) -> None:
        lines = tuple(line.replace("udptl", spelling) for line in fax(secure=False))
        out = answered(description(*lines), description(*fax(UE_FINGERPRINT)), FROM_CORE)
        assert out.media[0].proto == spelling

    def test_a_mapped_offer_has_the_registered_spelling(self) -> None:
        lines = tuple(line.replace("TCP/TLS/MSRP", "tcp/tls/msrp") for line in msrp(*E2AE))
        assert offered(description(*lines), FROM_UE).media[0].proto == "TCP/MSRP"


class TestCapabilityAndIceLines:
    def test_go_from_lines_that_end_at_the_gateway(self) -> None:
        offer = description(
            *msrp(*E2AE, "a=tcap:1 TCP/MSRP", "a=pcfg:1 t=1", "a=ice-ufrag:x", "a=candidate:1 1 TCP 1 192.0.2.61 9 typ host")
        )
        assert attribute_lines(offered(offer, FROM_UE).media[0], "setup") == attribute_lines(description(*msrp()).media[0])

    def test_stay_where_the_gateway_is_not(self) -> None:
        offer = description("m=audio 5004 RTP/AVP 0", "a=tcap:1 RTP/SAVP", "a=ice-ufrag:x")
        assert offered(offer, FROM_UE) is offer


class TestConnection:
    def test_the_session_line_speaks_for_all_anchored_lines(self) -> None:
        out = offered(description(*msrp(*E2AE), *bfcp(*E2AE)), FROM_UE)
        assert out.session.field("c") == "IN IP4 198.51.100.5"
        assert [section.field("c") for section in out.media] == [None, None]

    def test_a_line_that_is_not_anchored_keeps_it(self) -> None:
        out = offered(description(*AUDIO, *msrp(*E2AE)), FROM_UE)
        assert out.session.field("c") == f"IN IP4 {UE_ADDRESS}"
        assert out.media[1].lines[1] == "c=IN IP4 198.51.100.5"
        assert out.media[0].lines == list(AUDIO)

    def test_a_line_in_disuse_does_not_count(self) -> None:
        out = offered(description("m=audio 0 RTP/AVP 0", *msrp(*E2AE)), FROM_UE)
        assert out.session.field("c") == "IN IP4 198.51.100.5"

    def test_own_lines_are_replaced_in_place(self) -> None:
        out = offered(description(*msrp(*E2AE, "c=IN IP4 192.0.2.62")), FROM_UE)
        assert connection_host(out, out.media[0]) == "198.51.100.5"
        assert sum(line.startswith("c=") for line in out.media[0].lines) == 1

    def test_two_gateway_addresses(self) -> None:
        offer = description(*msrp(*E2AE), *bfcp(*E2AE))
        media = {0: StreamMedia("198.51.100.5", 40_000), 1: StreamMedia("2001:db8::5", 40_010)}
        out = rewrite_offer(decide(DEFAULT, ALL_AGREED, offer, FROM_UE), offer, media)
        assert [section.field("c") for section in out.media] == ["IN IP4 198.51.100.5", "IN IP6 2001:db8::5"]
        assert out.session.field("c") == f"IN IP4 {UE_ADDRESS}"

    def test_an_offer_without_any_gets_one_per_line(self) -> None:
        offer = parse_sdp_untrusted("\r\n".join(("v=0", *msrp(*E2AE), "")).encode())
        assert offered(offer, FROM_UE).media[0].lines[1] == "c=IN IP4 198.51.100.5"

    @pytest.mark.parametrize("address", ["0.0.0.0", "::"])
    def test_hold_stays_hold(self, address: str) -> None:
        """In the family of the side that hears of it."""
        line = f"c=IN {'IP6' if ':' in address else 'IP4'} {address}"
        out = offered(description(*msrp(*E2AE, line), *bfcp(*E2AE)), FROM_UE)
        assert [connection_host(out, section) for section in out.media] == ["0.0.0.0", "198.51.100.5"]


class TestClosedLines:
    def test_disabled_goes_with_port_0(self) -> None:
        out = offered(description(*AUDIO, *msrp(ACTIVE, REQUESTED)), FROM_UE)
        assert out.media[1].lines[0] == "m=message 0 TCP/TLS/MSRP *"
        assert not out.media[1].has("3ge2ae")

    def test_disabled_is_answered_with_port_0(self) -> None:
        offer = description(*AUDIO, *msrp(ACTIVE, REQUESTED))
        out = answered(offer, description(*AUDIO, *msrp(PASSIVE, CORE_FINGERPRINT)), FROM_UE)
        assert out.media[1].lines[0] == "m=message 0 TCP/TLS/MSRP *"

    def test_declined_speaks_the_proto_of_the_offer(self) -> None:
        out = answered(description(*msrp(*E2AE)), description(*msrp(secure=False, port=0)), FROM_UE)
        assert out.media[0].lines[0] == "m=message 0 TCP/TLS/MSRP *"
        out = answered(description(*msrp(secure=False)), description(*msrp(UE_FINGERPRINT, port=0)), FROM_CORE)
        assert out.media[0].lines[0] == "m=message 0 TCP/MSRP *"
        assert not out.media[0].has("fingerprint")

    def test_failed_beside_audio(self) -> None:
        offer = description(*AUDIO, *msrp(secure=False))
        out = answered(offer, description(*AUDIO, *msrp(ACTIVE, REQUESTED)), FROM_CORE)
        assert out.media[1].lines[0] == "m=message 0 TCP/MSRP *"
        assert b"3ge2ae" not in out.to_bytes()

    def test_a_line_of_another_medium_is_replaced(self) -> None:
        out = answered(description(*AUDIO, *msrp(*E2AE)), description(*AUDIO, *AUDIO), FROM_UE)
        assert out.media[1].lines == ["m=message 0 TCP/TLS/MSRP *"]

    def test_missing_lines_are_added_and_surplus_ones_dropped(self) -> None:
        offer = description(*AUDIO, *msrp(*E2AE))
        assert answered(offer, description(*AUDIO), FROM_UE).media[1].lines == ["m=message 0 TCP/TLS/MSRP *"]
        surplus = description(*AUDIO, *msrp(PASSIVE, secure=False), *AUDIO)
        assert [section.media for section in answered(offer, surplus, FROM_UE).media] == ["audio", "message"]

    def test_a_protected_line_put_out_of_use_keeps_its_transports(self) -> None:
        offer = description(*msrp(ACTIVE, *E2AE))
        previous = settle(decide(DEFAULT, ALL_AGREED, offer, FROM_UE), description(*msrp(PASSIVE, secure=False)))
        again = description(*msrp(ACTIVE, *E2AE, port=0))
        out = rewrite_offer(decide(DEFAULT, ALL_AGREED, again, FROM_UE, previous=previous), again, {})
        assert out.media[0].lines[0] == "m=message 0 TCP/MSRP *"
        assert not out.media[0].has("fingerprint")


class TestSessmatch:
    offer = description(*msrp(ACTPASS, *E2AE, cema=False))
    answer = description(*msrp(PASSIVE, secure=False, cema=False, port=4100, host=CORE_ADDRESS), address=CORE_ADDRESS)

    def test_offer(self) -> None:
        out = offered(self.offer, FROM_UE, policy=SESSMATCH)
        assert out.media[0].value("path") == "msrp://198.51.100.5:40000/s4Lt;tcp"

    def test_answer(self) -> None:
        out = answered(self.offer, self.answer, FROM_UE, policy=SESSMATCH)
        assert out.media[0].value("path") == "msrps://203.0.113.5:20000/s4Lt;tcp"

    def test_a_passing_line_keeps_its_scheme(self) -> None:
        out = offered(description(*msrp(ACTPASS, UE_FINGERPRINT, cema=False)), FROM_UE, policy=SESSMATCH)
        assert out.media[0].value("path") == "msrps://198.51.100.5:40000/s4Lt;tcp"

    def test_a_gateway_with_ipv6(self) -> None:
        media = {0: StreamMedia("2001:db8::5", 40_000)}
        plan = decide(SESSMATCH, ALL_AGREED, self.offer, FROM_UE)
        out = rewrite_offer(plan, self.offer, media)
        assert out.media[0].value("path") == "msrp://[2001:db8::5]:40000/s4Lt;tcp"
        assert out.session.field("c") == "IN IP6 2001:db8::5"


class TestNextBody:
    def test_first_body_keeps_its_origin(self) -> None:
        sdp = description(*AUDIO)
        leg, body = next_body(LegSdp(), sdp)
        assert body == sdp.to_bytes()
        assert (leg.before, leg.version, leg.after) == ("- 700", 1, "IN IP4 192.0.2.61")

    def test_identical_body_is_identical_in_octets(self) -> None:
        leg, first = next_body(LegSdp(), description(*AUDIO))
        same = parse_sdp_untrusted(first.replace(b"o=- 700 1 ", b"o=- 700 9 "))
        assert next_body(leg, same) == (leg, first)

    def test_changed_body_steps_the_version_by_one(self) -> None:
        leg, first = next_body(LegSdp(), description(*AUDIO))
        leg, second = next_body(leg, description(*AUDIO, "a=sendonly"))
        leg, third = next_body(leg, description(*AUDIO, address="192.0.2.99"))
        origins = [parse_sdp_untrusted(body).session.field("o") for body in (first, second, third)]
        assert origins == [f"- 700 {version} IN IP4 192.0.2.61" for version in (1, 2, 3)]

    def test_a_change_of_the_gateway_is_a_change(self) -> None:
        offer = description(*msrp(*E2AE))
        plan = decide(DEFAULT, ALL_AGREED, offer, FROM_UE)
        leg, first = next_body(LegSdp(), rewrite_offer(plan, offer, CORE_SIDE))
        moved = {0: StreamMedia("198.51.100.6", 40_000)}
        _, second = next_body(leg, rewrite_offer(plan, offer, moved))
        assert b"o=- 700 1 " in first
        assert b"o=- 700 2 " in second

    def test_the_given_description_is_not_edited(self) -> None:
        leg, _ = next_body(LegSdp(), description(*AUDIO))
        changed = description(*AUDIO, "a=sendonly")
        before = changed.to_bytes()
        next_body(leg, changed)
        assert changed.to_bytes() == before

    @pytest.mark.parametrize("origin", [b"o=- 700 x IN IP4 192.0.2.61", b"o=-", b"i=none", b"o=- 7 " + b"9" * 30 + b" IN IP4 h"])
    def test_an_unreadable_origin_is_left_alone(self, origin: bytes) -> None:
        sdp = parse_sdp_untrusted(description(*AUDIO).to_bytes().replace(b"o=- 700 1 IN IP4 192.0.2.61", origin))
        assert next_body(LegSdp(), sdp) == (LegSdp(), sdp.to_bytes())

    def test_the_record_can_be_stored(self) -> None:
        leg, _ = next_body(LegSdp(), description(*AUDIO))
        assert LegSdp(**asdict(leg)) == leg


def test_a_missing_side_is_the_callers_error() -> None:
    offer = description(*msrp(*E2AE))
    with pytest.raises(KeyError):
        rewrite_offer(decide(DEFAULT, ALL_AGREED, offer, FROM_UE), offer, {})
