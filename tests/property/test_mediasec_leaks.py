"""Whatever is offered and answered: what belongs to one side stays there, unless the plan passes the line.

Every fingerprint, key, address and association that a side sends bears the mark of that side, so a leak is a mark in the
wrong text.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.datagrams import is_rtp
from pcscf.mediasec.explain import ACCESS_ADDRESS, CORE_ADDRESS, FINGERPRINT, Explanation, explain
from pcscf.mediasec.model import Agreed, Direction, LinePlan, Mode
from pcscf.sdp.lines import MediaSection, Sdp, parse_sdp_untrusted
from pcscf.sdp.views import connection_host, effective_values


@dataclass(frozen=True)
class Side:
    """What one side may write into its SDP, marked as its own."""

    octet: str
    address: str

    @property
    def fingerprint(self) -> str:
        return ":".join([self.octet] * 32)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen on the other side."""
        return self.fingerprint, f"key{self.octet}", f"association-of-the-{self.octet}-side"


UE, CORE = Side("A5", "192.0.2.61"), Side("C3", "198.51.100.88")

PROTOS = [
    ("message", "TCP/MSRP", "*"), ("message", "TCP/TLS/MSRP", "*"),
    ("application", "TCP/BFCP", "*"), ("application", "TCP/TLS/BFCP", "*"),
    ("image", "udptl", "t38"), ("image", "UDP/TLS/UDPTL", "t38"),
    ("audio", "RTP/AVP", "0"), ("audio", "RTP/SAVP", "0"), ("audio", "UDP/TLS/RTP/SAVPF", "0"),
]  # fmt: skip
MECHANISMS = st.frozensets(st.sampled_from(["msrp-tls", "bfcp-tls", "udptl-dtls"]))
KNOBS = st.builds(
    MediumPolicy,
    honour_request_without_registration=st.booleans(),
    terminate_unrequested=st.booleans(),
    offer_tls_to_unindicated=st.booleans(),
    sessmatch=st.booleans(),
    aware=st.booleans(),
    core=st.sampled_from(["plain", "tls"]),
)
POLICIES = st.builds(MediaPolicy, KNOBS, KNOBS, KNOBS, st.booleans(), st.booleans(), st.booleans())
AGREED = st.builds(Agreed, MECHANISMS, MECHANISMS)
SETUPS = ["active", "passive", "actpass"]


def attributes(side: Side) -> st.SearchStrategy[list[str]]:
    certificate, key, association = side.secrets
    written = [
        *(f"a=setup:{each}" for each in SETUPS),
        f"a=fingerprint:sha-256 {certificate}", f"a=Fingerprint:SHA-256  {certificate.lower()}", "a=3ge2ae:requested",
        "a=3GE2AE:applied", "a=msrp-cema", f"a=tls-id:{association}", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}",
        f"c=IN IP4 {side.address}", f"a=candidate:1 1 UDP 1 {side.address} 9 typ host", f"a=ice-pwd:{key}",
        f"a=acap:1 fingerprint:sha-256 {certificate}", "a=acap:2 3ge2ae:requested", "a=x-other:1",
        f"a=rtcp:7 IN IP4 {side.address}", "a=rtcp-mux", f"a=altc:1 IP4 {side.address} 9", "a=rtcp:9",
        f"a=source-filter: incl IN IP4 * {side.address}",
    ]  # fmt: skip
    return st.lists(st.sampled_from(written), max_size=8, unique_by=lambda line: line[:8].lower())


@st.composite
def sections(draw: st.DrawFn, side: Side) -> list[str]:
    media, proto, formats = draw(st.sampled_from(PROTOS))
    port = draw(st.sampled_from([0, 9, 5000, 5000]))
    path = [f"a=path:msrps://{side.address}:9/s;tcp"] if media == "message" else []
    return [f"m={media} {port} {proto} {formats}", *path, *draw(attributes(side))]


@st.composite
def descriptions(draw: st.DrawFn, side: Side) -> Sdp:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", f"c=IN IP4 {side.address}"]
    lines += [line for line in draw(attributes(side)) if line[:7].lower() in {"a=setup", "a=finge", "a=3ge2a", "a=tls-i"}]
    for section in draw(st.lists(sections(side), min_size=1, max_size=3)):
        lines += section
    return parse_sdp_untrusted("\r\n".join((*lines, "")).encode())


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[Direction, Sdp, Sdp]:
    direction = draw(st.sampled_from(Direction))
    offerer, answerer = (UE, CORE) if direction is Direction.OFFER_FROM_UE else (CORE, UE)
    offer = draw(descriptions(offerer))
    if draw(st.booleans()):
        return direction, offer, draw(descriptions(answerer))
    # An answer in the protos that a mapped line wants, so that protected sessions come about and not only refused ones.
    answer = draw(descriptions(answerer)).copy()
    swapped = {"TCP/TLS/MSRP": "TCP/MSRP", "TCP/TLS/BFCP": "TCP/BFCP", "UDP/TLS/UDPTL": "udptl"}
    swapped |= {plain: secure for secure, plain in swapped.items()}
    answer.media[:] = [
        MediaSection(
            [f"m={each.media} 5002 {swapped.get(each.proto, each.proto)} {each.formats}", *draw(attributes(answerer))]
        )
        for each in offer.media
    ]
    return direction, offer, parse_sdp_untrusted(answer.to_bytes())


@given(POLICIES, AGREED, exchanges())
def test_what_belongs_to_one_side_stays_there(
    policy: MediaPolicy, agreed: Agreed, exchange: tuple[Direction, Sdp, Sdp]
) -> None:
    direction, offer, answer = exchange
    for explanation in (
        explain(policy, agreed, direction, offer),
        explain(policy, agreed, direction, offer, answer),
    ):
        if explanation.sent is not None:
            _check(explanation, explanation.sent)


def _check(explanation: Explanation, sent: Sdp) -> None:
    sender, gateway = (UE, CORE_ADDRESS) if explanation.from_ue else (CORE, ACCESS_ADDRESS)
    assert not sent.session.has("3ge2ae")
    assert {line.strip() for line in sent.lines() if "3ge2ae" in line.lower()} <= {"a=3ge2ae:applied"}
    in_use = [line.gateway for line in explanation.plan.lines if sent.media[line.index].port]
    if in_use and all(in_use):
        assert sender.address not in (sent.session.field("c") or "")
    for line in explanation.plan.lines:
        section = sent.media[line.index]
        applied = not explanation.from_ue and not explanation.is_answer and line.mode is Mode.PROTECT
        assert section.values("3ge2ae") == (("applied",) if applied else ())
        if _ends_here(line):
            written = "\n".join((*sent.session.lines, *section.lines)).upper()
            assert [secret for secret in sender.secrets if secret.upper() in written] == []
            ours = not explanation.from_ue or line.core_protected
            expected = (" ".join(FINGERPRINT),) if ours else ()
            assert effective_values(sent, section, "fingerprint") == expected
        elif line.medium is not None and line.mode is not Mode.PASS:
            assert not section.has("fingerprint")
            assert not section.has("tls-id")
            # What the session says for a line that was never in use may be for the others.
            assert line.mode is Mode.UNUSED or effective_values(sent, section, "fingerprint") == ()
        if line.gateway:
            assert connection_host(sent, section) == gateway
            assert section.port != 0
            rtp = line.core is not None and is_rtp(line.core)
            assert rtp or not section.has("rtcp")
            if explanation.is_answer and rtp:
                assert line.core is not None
                assert section.has("rtcp-mux") == (line.core.rtcp_mux == "agreed")
            kept = {"a=path"} if line.path_mode == "agnostic" else set()
            leaked = [text for text in section.lines if sender.address in text and text.partition(":")[0] not in kept]
            assert leaked == []


def _ends_here(line: LinePlan) -> bool:
    return line.gateway and line.mode in {Mode.TERMINATE, Mode.PROTECT}
