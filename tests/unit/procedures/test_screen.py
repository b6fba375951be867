from __future__ import annotations

import pytest

from pcscf.errors import SecurityAgreementRequired, UnsupportedExtension
from pcscf.mediasec.model import Agreed
from pcscf.procedures.screen import (
    asserted_identity,
    check_extensions,
    check_security_verify,
    strip_agreement_tags,
    strip_from_ue,
    strip_to_ue,
)
from pcscf.sip.message import response_to
from tests.unit.procedures.desk import binding, request

FROM_UE = [
    "P-Asserted-Identity: <sip:boss@ims.example>", "P-Preferred-Identity: <sip:alice@ims.example>",
    "P-Charging-Vector: icid-value=1", "P-Charging-Function-Addresses: ccf=192.0.2.1", "P-Visited-Network-ID: other",
    "P-Served-User: <sip:boss@ims.example>", "P-Profile-Key: <sip:x@y>", "P-Early-Media: sendrecv", 'Feature-Caps: *;+g.3gpp.x',
    "Response-Source: <urn:x>", "Restoration-Info: noresponse", "Attestation-Info: A", "Origination-Id: 1",
    "Security-Client: msrp-tls;mediasec", "Security-Verify: msrp-tls;mediasec", "Security-Server: msrp-tls;mediasec",
]
TO_UE = [
    "P-Charging-Vector: icid-value=1", "P-Charging-Function-Addresses: ccf=192.0.2.1", "P-Visited-Network-ID: home",
    "P-Access-Network-Info: 3GPP-E-UTRAN-FDD", "Security-Server: tls", "Security-Client: tls", "Security-Verify: tls",
]
ASSERTED = "P-Asserted-Identity: <sip:bob@ims.example>"


def name_of(line: str) -> str:
    return line.partition(":")[0]


@pytest.mark.parametrize("line", FROM_UE, ids=name_of)
def test_what_a_ue_cannot_say(line: str) -> None:
    message = request("Subject: one", line, line.replace(name_of(line), name_of(line).lower()), "Subject: two")
    strip_from_ue(message)
    assert name_of(line) not in message
    assert message.get_all("Subject") == ["one", "two"]


@pytest.mark.parametrize("line", TO_UE, ids=name_of)
def test_what_a_ue_does_not_get(line: str) -> None:
    message = request(line, "Subject: one", line.replace(name_of(line), name_of(line).upper()), "Subject: two")
    response = response_to(message, 200)
    response.copy_lines(message, name_of(line), "Subject")
    for each in (message, response):
        strip_to_ue(each)
        assert name_of(line) not in each
        assert each.get_all("Subject") == ["one", "two"]


def test_what_says_nothing_of_trust_stays_byte_for_byte() -> None:
    lines = ["P-Access-Network-Info: IEEE-802.11", "Privacy:  none", "X-Odd:\t a ,b", "P-Asserted-Service: urn:x"]
    message = request(*lines)
    before = message.to_bytes()
    strip_from_ue(message)
    assert message.to_bytes() == before


@pytest.mark.parametrize(("privacy", "stays"), [
    (["none"], True), (["header"], True), (["id"], False), (["user;id"], False), (["header; ID ;user"], False),
    (["header", "id"], False), (["identity"], True),
])
def test_the_asserted_identity_goes_no_further_where_privacy_says_so(privacy: list[str], stays: bool) -> None:
    message = request(ASSERTED, *(f"Privacy: {each}" for each in privacy))
    strip_to_ue(message)
    assert ("P-Asserted-Identity" in message) is stays


@pytest.mark.parametrize("name", ["Require", "Proxy-Require"])
@pytest.mark.parametrize(("lines", "left"), [
    (["sec-agree"], []),
    (["sec-agree, mediasec"], []),
    (["mediasec", "sec-agree"], []),
    (["timer, sec-agree, 100rel, mediasec, path"], ["timer", "100rel", "path"]),
    (["100rel", "sec-agree", "timer"], ["100rel", "timer"]),
    (["Sec-Agree, MEDIASEC"], []),
])
def test_our_option_tags_go_and_others_keep_their_order(name: str, lines: list[str], left: list[str]) -> None:
    message = request(*(f"{name}: {line}" for line in lines))
    strip_agreement_tags(message)
    assert message.values(name) == left
    assert (name in message) is bool(left)


def test_a_field_without_our_tags_stays_as_it_came() -> None:
    message = request("Require:  timer ,100rel", "Require: path", "Supported: sec-agree")
    before = message.to_bytes()
    strip_agreement_tags(message)
    assert message.to_bytes() == before


def test_extensions_that_we_know_pass() -> None:
    check_extensions(request("Proxy-Require: Sec-Agree, mediasec", "Proxy-Require: path", "Require: who-knows"))


def test_extensions_that_we_do_not_know_are_named() -> None:
    with pytest.raises(UnsupportedExtension) as refused:
        check_extensions(request("Proxy-Require: sec-agree, foo", "Proxy-Require: bar"))
    assert refused.value.headers() == [("Unsupported", "foo, bar")]


ALICE, TEL = "<sip:alice@ims.example>", "<tel:+15550100>"


@pytest.mark.parametrize(("lines", "identity"), [
    ([], ALICE),
    ([f"P-Preferred-Identity: {TEL}"], TEL),
    (['P-Preferred-Identity: "Al" <sip:alice@IMS.EXAMPLE>'], ALICE),
    (["P-Preferred-Identity: <sip:boss@ims.example>"], ALICE),
    ([f"P-Preferred-Identity: <sip:boss@ims.example>, {TEL}"], TEL),
    ([f"P-Asserted-Identity: {TEL}"], TEL),
    (["P-Asserted-Identity: <sip:boss@ims.example>"], ALICE),
])
def test_we_vouch_for_a_registered_identity_only(lines: list[str], identity: str) -> None:
    assert asserted_identity(request(*lines), binding(ALICE, TEL)) == identity


def test_from_decides_where_nothing_is_preferred() -> None:
    message = request()
    message.set("From", f'"A" {TEL};tag=a')
    assert asserted_identity(message, binding(ALICE, TEL)) == TEL


def test_the_default_identity_is_the_first() -> None:
    message = request()
    message.set("From", "<sip:anonymous@anonymous.invalid>;tag=a")
    assert asserted_identity(message, binding(TEL, ALICE)) == TEL


def test_without_identities_we_vouch_for_none() -> None:
    assert asserted_identity(request(f"P-Preferred-Identity: {ALICE}"), binding()) == ""


TOLD = ("msrp-tls;mediasec",)


def test_a_security_verify_that_matches_passes() -> None:
    check_security_verify(request("Security-Verify: msrp-tls;mediasec"), binding(ALICE, sent=TOLD))
    check_security_verify(request(), binding(ALICE, sent=TOLD))
    check_security_verify(request(), binding(ALICE))


@pytest.mark.parametrize("said", ["msrp-tls", "bfcp-tls;mediasec", "tls;q=0.1"])
def test_a_security_verify_that_differs_is_answered_with_what_was_sent(said: str) -> None:
    with pytest.raises(SecurityAgreementRequired) as refused:
        check_security_verify(request(f"Security-Verify: {said}"), binding(ALICE, sent=TOLD))
    assert ("Security-Server", "msrp-tls;mediasec") in refused.value.headers()


def test_a_security_verify_of_what_was_never_sent_is_refused() -> None:
    agreed = Agreed(frozenset({"msrp-tls"}), frozenset({"msrp-tls"}))
    with pytest.raises(SecurityAgreementRequired):
        check_security_verify(request("Security-Verify: msrp-tls;mediasec"), binding(ALICE, agreed=agreed))
