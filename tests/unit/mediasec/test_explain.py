"""The explanation: the very plan and rewriting of a call, with a gateway that nobody has to run."""

from __future__ import annotations

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.explain import (
    ACCESS_ADDRESS,
    ACCESS_PORTS,
    CAPABILITIES,
    CORE_ADDRESS,
    CORE_PORTS,
    FINGERPRINT,
    as_object,
    explain,
    sdp_text,
)
from pcscf.mediasec.model import Direction, Origin
from pcscf.mediasec.plan import decide, settle
from pcscf.sdp.lines import MAX_MEDIA, Sdp
from pcscf.sdp.views import connection_host, parse_fingerprint
from tests.unit.mediasec.descriptions import (
    ALL_AGREED,
    AUDIO,
    CORE_FINGERPRINT,
    NOTHING_AGREED,
    REQUESTED,
    UE_FINGERPRINT,
    bfcp,
    description,
    fax,
    msrp,
)
from tests.unit.mediasec.descriptions import CORE_ADDRESS as PEER

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
PROTECTED = description(*msrp("a=setup:actpass", UE_FINGERPRINT, REQUESTED, port=2855))
PLAIN = description(*msrp("a=setup:actpass", secure=False, port=7000, host=PEER), address=PEER)
CORE_ANSWER = description(*msrp("a=setup:passive", secure=False, port=7000, host=PEER), address=PEER)
UE_ANSWER = description(*msrp("a=setup:active", UE_FINGERPRINT))
POLICY = MediaPolicy()


def test_an_offer_of_the_ue_leaves_from_the_core_side() -> None:
    explanation = explain(POLICY, ALL_AGREED, FROM_UE, PROTECTED)
    assert explanation.plan == decide(POLICY, ALL_AGREED, PROTECTED, FROM_UE, CAPABILITIES)
    assert explanation.from_ue
    assert explanation.sent is not None
    section = explanation.sent.media[0]
    assert (section.port, section.proto, section.has("fingerprint")) == (CORE_PORTS[0], "TCP/MSRP", False)
    assert connection_host(explanation.sent, section) == CORE_ADDRESS


def test_an_answer_of_the_core_leaves_from_the_access_side() -> None:
    explanation = explain(POLICY, ALL_AGREED, FROM_UE, PROTECTED, CORE_ANSWER)
    plan = decide(POLICY, ALL_AGREED, PROTECTED, FROM_UE, CAPABILITIES)
    assert explanation.plan == settle(plan, CORE_ANSWER)
    assert (explanation.from_ue, explanation.is_answer, explanation.received) == (False, True, CORE_ANSWER)
    assert explanation.sent is not None
    section = explanation.sent.media[0]
    assert (section.port, section.proto) == (ACCESS_PORTS[0], "TCP/TLS/MSRP")
    assert section.values("fingerprint") == (" ".join(FINGERPRINT),)
    assert connection_host(explanation.sent, section) == ACCESS_ADDRESS


@pytest.mark.parametrize(("answer", "address"), [(None, ACCESS_ADDRESS), (UE_ANSWER, CORE_ADDRESS)])
def test_an_offer_of_the_core(answer: Sdp | None, address: str) -> None:
    explanation = explain(POLICY, ALL_AGREED, FROM_CORE, PLAIN, answer)
    assert explanation.from_ue is (answer is not None)
    assert explanation.sent is not None
    assert connection_host(explanation.sent, explanation.sent.media[0]) == address


def test_the_stand_in_can_do_every_medium_and_shares_no_port() -> None:
    lines = [*msrp(UE_FINGERPRINT, REQUESTED), *bfcp(UE_FINGERPRINT, REQUESTED, "a=setup:actpass"), *AUDIO]
    offer = description(*lines, *fax(UE_FINGERPRINT, REQUESTED, "a=setup:actpass"))
    explanation = explain(POLICY, ALL_AGREED, FROM_UE, offer)
    assert [line.rule for line in explanation.plan.lines] == ["A1", "A1", "A12", "A1"]
    assert explanation.sent is not None
    assert [section.port for section in explanation.sent.media] == [9, *CORE_PORTS[1:4]]
    assert len(ACCESS_PORTS) >= MAX_MEDIA
    assert len(CORE_PORTS) >= MAX_MEDIA


def test_the_stand_in_names_its_associations_and_certificate_legally() -> None:
    plain = description(*fax(secure=False), *fax(secure=False), address=PEER)
    explanation = explain(POLICY, ALL_AGREED, FROM_CORE, plain)
    assert explanation.sent is not None
    names = [section.value("tls-id") or "" for section in explanation.sent.media]
    assert len(set(names)) == 2
    assert all(20 <= len(name) <= 255 for name in names)
    assert parse_fingerprint(" ".join(FINGERPRINT)) == FINGERPRINT


def test_what_is_refused_or_released_sends_nothing() -> None:
    refuse = MediaPolicy(msrp=MediumPolicy(require=True))
    refused = as_object(explain(refuse, NOTHING_AGREED, FROM_CORE, PLAIN))
    assert (refused["action"], refused["status"], refused["sdp"]) == ("reject", 488, None)
    assert "must be protected" in refused["warning"]
    released = as_object(explain(POLICY, ALL_AGREED, FROM_CORE, PLAIN, CORE_ANSWER))
    assert (released["action"], released["sdp"]) == ("release-session", None)
    assert "status" not in released
    [line] = released["lines"]
    assert (line["mode"], line["rule"], line["gateway"]) == ("failed", "CA4", None)


def test_an_answer_to_a_refused_offer_changes_nothing() -> None:
    explanation = explain(MediaPolicy(msrp=MediumPolicy(require=True)), NOTHING_AGREED, FROM_CORE, PLAIN, UE_ANSWER)
    assert (explanation.plan.action, explanation.sent) == ("reject", None)


def test_lines_as_values_of_json() -> None:
    answer = description(*msrp("a=setup:passive", CORE_FINGERPRINT, secure=False, port=7000, host=PEER), *AUDIO, address=PEER)
    offer = description(*msrp("a=setup:active", UE_FINGERPRINT, REQUESTED), *AUDIO)
    explanation = explain(POLICY, ALL_AGREED, FROM_UE, offer, answer)
    told = as_object(explanation)
    assert explanation.sent is not None
    assert told["sdp"] == sdp_text(explanation.sent)
    first, second = told["lines"]
    assert first == {
        "index": 0,
        "mode": "terminate",
        "rule": "AA4",
        "reason": explanation.plan.lines[0].reason,
        "gateway": {"access": {"tcp": "accept", "tls": "server"}, "core": {"tcp": "connect"}},
    }
    assert (second["mode"], second["gateway"]) == ("plain", {"access": {"tcp": None, "tls": None}, "core": {"tcp": None}})


def test_the_source_of_datagrams_as_values_of_json() -> None:
    offer, origin = description(*AUDIO), Origin("203.0.113.9", behind_nat=True)
    (line,) = as_object(explain(POLICY, ALL_AGREED, FROM_UE, offer, origin=origin))["lines"]
    assert line["gateway"]["access"] == {"tcp": None, "tls": None, "latched": True, "from": ["203.0.113.9", "192.0.2.61"]}


def test_octets_that_are_no_text_can_still_be_shown() -> None:
    offer = description("a=x:caf\xe9")
    assert "a=x:caf\xe9\r\n" in sdp_text(offer)
    offer.session.lines.append("a=y:\xff")
    assert "a=y:\ufffd\r\n" in sdp_text(offer)
