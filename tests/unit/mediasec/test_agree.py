"""Security-Client, Security-Server, Security-Verify."""

from __future__ import annotations

import pytest

from pcscf.errors import MalformedMessage
from pcscf.mediasec import agree
from pcscf.mediasec.agree import (
    Agreed,
    Verdict,
    client_media_mechanisms,
    parse_mechanisms_untrusted,
    server_list,
    verify,
)

IPSEC = "ipsec-3gpp; alg=hmac-sha-1-96; ealg=aes-cbc; spi-c=4711; spi-s=4712; port-c=5062; port-s=5063"


@pytest.mark.parametrize(
    ("values", "media"),
    [
        ([], set()),
        (["msrp-tls;mediasec"], {"msrp-tls"}),
        (["msrp-tls;mediasec, bfcp-tls;mediasec", "udptl-dtls;mediasec"], {"msrp-tls", "bfcp-tls", "udptl-dtls"}),
        ([f"{IPSEC}, msrp-tls;mediasec"], {"msrp-tls"}),
        ([f"msrp-tls;mediasec,{IPSEC}"], {"msrp-tls"}),
        (["tls;q=0.2", "MSRP-TLS ; MediaSec"], {"msrp-tls"}),
        (["msrp-tls"], set()),
        (["msrp-tls;mediasec=1"], set()),
        (["sdes-srtp;mediasec, dtls-srtp;mediasec;q=0.5"], {"sdes-srtp", "dtls-srtp"}),
        (['digest;d-qop=auth;d-ver="0a, ;mediasec", msrp-tls;mediasec'], {"msrp-tls"}),
        (['digest;d-ver="a\\"b,c";mediasec'], {"digest"}),
    ],
    ids=str,
)
def test_media_mechanisms_of_security_client(values: list[str], media: set[str]) -> None:
    assert client_media_mechanisms(parse_mechanisms_untrusted(values)) == media


def test_order_and_values_are_kept() -> None:
    first, second = parse_mechanisms_untrusted([IPSEC, "msrp-tls;mediasec;q=0.4"])
    assert first.name == "ipsec-3gpp"
    assert first.parameters[:2] == (("alg", "hmac-sha-1-96"), ("ealg", "aes-cbc"))
    assert second.parameters == (("mediasec", ""), ("q", "0.4"))
    assert (first.is_media, second.is_media) == (False, True)


@pytest.mark.parametrize(
    "value",
    [
        "", ",", "msrp-tls;mediasec,", "msrp-tls;;mediasec", ";mediasec", "msrp tls", "msrp-tls;q=", "msrp-tls;q=a b",
        'digest;d-ver="open', 'digest;d-ver="\\"', "msrp-tls;=1", "m\u00fcsrp",
        ",".join(["tls"] * (agree.MAX_MECHANISMS + 1)),
        "tls" + ";x" * (agree.MAX_PARAMETERS + 1),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_malformed(value: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_mechanisms_untrusted([value])


def test_server_list_is_one_value_per_line_without_preference() -> None:
    assert server_list(["msrp-tls", "bfcp-tls"]) == ["msrp-tls;mediasec", "bfcp-tls;mediasec"]


SENT = [IPSEC, "msrp-tls;mediasec", "bfcp-tls;mediasec"]


@pytest.mark.parametrize(
    ("verified", "sent", "verdict"),
    [
        (SENT, SENT, Verdict.MATCH),
        ([", ".join(SENT)], SENT, Verdict.MATCH),
        ([SENT[1], SENT[0], SENT[2]], SENT, Verdict.MATCH),
        ([value.upper() for value in SENT], SENT, Verdict.MATCH),
        ([SENT[0] + ";q=0.1", SENT[1] + ";q=0.9", SENT[2]], SENT, Verdict.MATCH),
        (["ipsec-3gpp;port-s=5063;port-c=5062;spi-s=4712;spi-c=4711;ealg=aes-cbc;alg=hmac-sha-1-96", *SENT[1:]],
         SENT, Verdict.MATCH),
        ([], [], Verdict.MATCH),
        ([SENT[0]], SENT, Verdict.MEDIA_PART_MISSING),
        ([], SENT[1:], Verdict.MEDIA_PART_MISSING),
        ([SENT[0], SENT[2], SENT[1]], SENT, Verdict.ALTERED),
        ([SENT[0], SENT[1]], SENT, Verdict.ALTERED),
        ([*SENT, SENT[2]], SENT, Verdict.ALTERED),
        ([*SENT, "udptl-dtls;mediasec"], SENT, Verdict.ALTERED),
        ([SENT[0], "msrp-tls;mediasec;alg=weak", SENT[2]], SENT, Verdict.ALTERED),
        ([SENT[0], "msrp-tls", "bfcp-tls"], SENT, Verdict.ALTERED),
        (SENT[1:], SENT, Verdict.ALTERED),
        ([SENT[0].replace("4711", "4713"), *SENT[1:]], SENT, Verdict.ALTERED),
        (['digest;d-ver="Aa"'], ['digest;d-ver="aA"'], Verdict.ALTERED),
        (SENT, [], Verdict.NOTHING_SENT),
    ],
)  # fmt: skip
def test_verify(verified: list[str], sent: list[str], verdict: Verdict) -> None:
    assert verify(verified, sent) is verdict


def test_a_mechanism_is_agreed_when_both_sides_listed_it() -> None:
    agreed = Agreed(frozenset({"msrp-tls", "sdes-srtp"}), frozenset({"msrp-tls", "bfcp-tls"}))
    assert agreed.on("msrp-tls")
    assert not agreed.on("bfcp-tls")
    assert not agreed.on("sdes-srtp")
