"""Whatever is offered and answered: protection is not lost, nothing leaks, and both ends get lines that fit."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.mechanisms import is_protected
from pcscf.mediasec.plan import Agreed, Capabilities, Direction, MediaPlan, Mode, decide, settle
from pcscf.mediasec.rewrite import LegSdp, StreamMedia, next_body, rewrite_answer, rewrite_offer
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted
from pcscf.sdp.offer import SETUP_ANSWERS
from pcscf.sdp.views import effective_values, setup

PEER_HASH = ":".join(["A5"] * 32)
OUR_HASH = ":".join(["5A"] * 32)
LIVE = {Mode.TERMINATE, Mode.PROTECT, Mode.PASS, Mode.PLAIN}
ACCESS = {i: StreamMedia("203.0.113.9", 20_000 + i, (("sha-256", OUR_HASH),)) for i in range(6)}
CORE = {i: StreamMedia("2001:db8::9", 40_000 + i, (("sha-256", OUR_HASH),)) for i in range(6)}
OUR_TLS_ID = "t" * 24

MECHANISMS = st.frozensets(st.sampled_from(["msrp-tls", "bfcp-tls", "udptl-dtls"]))
AGREED = st.builds(Agreed, MECHANISMS, MECHANISMS)
CAPABILITIES = st.builds(
    Capabilities, st.frozensets(st.sampled_from(["msrp", "bfcp", "fax"])), st.frozensets(st.sampled_from(["TCP", "UDP", "RTP"]))
)
KNOBS = st.builds(
    MediumPolicy,
    min_hash=st.sampled_from(["sha-1", "sha-256"]),
    honour_request_without_registration=st.booleans(),
    downgrade=st.sampled_from(["count", "refuse"]),
    require=st.booleans(),
    terminate_unrequested=st.booleans(),
    offer_tls_to_unindicated=st.booleans(),
    sessmatch=st.booleans(),
    aware=st.booleans(),
    core=st.sampled_from(["plain", "tls"]),
)
POLICIES = st.builds(MediaPolicy, KNOBS, KNOBS, KNOBS, st.booleans(), st.booleans())
DIRECTIONS = st.sampled_from(Direction)

PROTOS = [
    ("message", "TCP/MSRP", "*"), ("message", "TCP/TLS/MSRP", "*"),
    ("application", "TCP/BFCP", "*"), ("application", "TCP/TLS/BFCP", "*"), ("application", "UDP/TLS/BFCP", "*"),
    ("image", "udptl", "t38"), ("image", "UDP/TLS/UDPTL", "t38"), ("image", "TCP", "t38"),
    ("audio", "RTP/AVP", "0"), ("audio", "UDP/TLS/RTP/SAVPF", "0"),
]  # fmt: skip
ATTRIBUTES = st.lists(
    st.sampled_from(
        [
            "a=setup:active", "a=setup:passive", "a=setup:actpass", "a=setup:holdconn", "a=connection:existing",
            f"a=fingerprint:sha-256 {PEER_HASH}", "a=fingerprint:sha-1 00", "a=3ge2ae:requested", "a=3ge2ae:applied",
            "a=msrp-cema", "a=path:msrps://192.0.2.1:9/a;tcp", "a=key-mgmt:mikey AQ==", "c=IN IP4 192.0.2.3",
            "c=IN IP4 0.0.0.0", "a=tls-id:" + "p" * 22, "a=tcap:1 TCP/MSRP", "a=ice-ufrag:q", "a=x", "i=title",
        ]
    ),
    max_size=6,
    unique=True,
)  # fmt: skip
SECTIONS = st.builds(
    lambda proto, port, attributes: [f"m={proto[0]} {port} {proto[1]} {proto[2]}", *attributes],
    st.sampled_from(PROTOS), st.sampled_from([0, 9, 5000]), ATTRIBUTES,
)  # fmt: skip


@st.composite
def descriptions(draw: st.DrawFn) -> Sdp:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-"]
    lines += draw(st.sampled_from([["c=IN IP4 192.0.2.1"], []]))
    lines += [line for line in draw(ATTRIBUTES) if line[0] == "a"]
    for section in draw(st.lists(SECTIONS, max_size=4)):
        lines += section
    return parse_sdp_untrusted("\r\n".join((*lines, "")).encode())


def sides(direction: Direction) -> tuple[dict[int, StreamMedia], dict[int, StreamMedia]]:
    """The gateway's side towards the answerer, and towards the offerer."""
    return (CORE, ACCESS) if direction is Direction.OFFER_FROM_UE else (ACCESS, CORE)


@given(POLICIES, AGREED, descriptions(), descriptions(), DIRECTIONS, CAPABILITIES)
def test_offer_and_answer(
    policy: MediaPolicy, agreed: Agreed, offer: Sdp, answer: Sdp, direction: Direction, capabilities: Capabilities
) -> None:
    received = offer.to_bytes(), answer.to_bytes()
    plan = decide(policy, agreed, offer, direction, capabilities, new_tls_id=lambda: OUR_TLS_ID)
    assert [line.index for line in plan.lines] == list(range(len(offer.media)))
    if plan.action == "reject":
        assert (plan.status, bool(plan.warning)) == (488, True)
        return
    to_answerer, to_offerer = sides(direction)
    out = rewrite_offer(plan, offer, to_answerer)
    _check_sent(plan, out, to_ue=direction is Direction.OFFER_FROM_CORE, is_answer=False)
    assert [section.media for section in out.media] == [section.media for section in offer.media]

    settled = settle(plan, answer)
    assert [line.index for line in settled.lines] == list(range(len(offer.media)))
    _check_roles(settled)
    back = rewrite_answer(settled, answer, to_offerer)
    _check_sent(settled, back, to_ue=direction is Direction.OFFER_FROM_UE, is_answer=True)
    assert len(back.media) == len(offer.media)
    for line in settled.lines:
        if line.mapped:
            assert back.media[line.index].proto == offer.media[line.index].proto
        if line.mode not in LIVE and line.medium is not None:
            assert back.media[line.index].port == 0
    assert (offer.to_bytes(), answer.to_bytes()) == received


def _check_sent(plan: MediaPlan, out: Sdp, *, to_ue: bool, is_answer: bool) -> None:
    assert not out.session.has("3ge2ae")
    for line in plan.lines:
        section = out.media[line.index]
        values = section.values("3ge2ae")
        applied = to_ue and not is_answer and line.mode is Mode.PROTECT
        assert values == (("applied",) if applied else ())
        if not line.mapped or line.mode not in LIVE:
            continue
        fingerprints = effective_values(out, section, "fingerprint")
        protected = to_ue or line.core_protected
        assert is_protected(section.proto) == protected
        assert fingerprints == ((f"sha-256 {OUR_HASH}",) if protected else ())
        if not is_answer:
            assert section.values("tls-id") == ((OUR_TLS_ID,) if protected and line.medium == "fax" else ())
        elif section.has("tls-id"):
            assert (section.value("tls-id"), line.medium, protected) == (OUR_TLS_ID, "fax", True)
        assert section.port != 0


def _check_roles(plan: MediaPlan) -> None:
    for line in plan.lines:
        access, core = line.access, line.core
        assert line.gateway == (access is not None) == (core is not None)
        if access is None or core is None:
            continue
        if line.mode in {Mode.TERMINATE, Mode.PROTECT}:
            held = access.setup == "holdconn" or access.peer_setup == "holdconn"
            assert (access.tls is None) == held
            assert bool(access.peer_fingerprints)
            assert access.transport in {"TCP/TLS", "UDP/DTLS"}
        else:
            assert access.tls is None
        if not line.core_protected:
            assert core.tls is None
            assert core.transport in {"TCP", "UDP", "RTP/AVP", "UDP/TLS/RTP/SAVPF"}
        assert not (line.medium == "msrp" and access.tcp == core.tcp == "connect")


@given(POLICIES, AGREED, descriptions(), DIRECTIONS)
def test_setup_answers_are_legal(policy: MediaPolicy, agreed: Agreed, offer: Sdp, direction: Direction) -> None:
    """What we answer on the offerer's side is a legal answer to what it offered, whatever the other side answers."""
    plan = decide(policy, agreed, offer, direction)
    if plan.action == "reject":
        return
    for answered in ("active", "passive"):
        lines = [
            f"m={s.media} {s.port} {_answering(plan, i, s.proto)} {s.formats}" for i, s in enumerate(offer.media)
        ]
        session = ("v=0", f"a=setup:{answered}", f"a=fingerprint:sha-256 {PEER_HASH}")
        answer = parse_sdp_untrusted("\r\n".join((*session, *lines, "")).encode())
        settled = settle(plan, answer)
        back = rewrite_answer(settled, answer, sides(direction)[1])
        for line in settled.lines:
            if line.mode in {Mode.TERMINATE, Mode.PROTECT} and line.medium != "fax":
                offered = setup(offer, offer.media[line.index]) or "active"
                if line.medium == "msrp" and offered == "holdconn":
                    offered = "active"
                assert setup(back, back.media[line.index]) in SETUP_ANSWERS[offered]


def _answering(plan: MediaPlan, index: int, proto: str) -> str:
    if not plan.lines[index].mapped:
        return proto
    plain = {"TCP/TLS/MSRP": "TCP/MSRP", "TCP/TLS/BFCP": "TCP/BFCP", "UDP/TLS/UDPTL": "udptl"}
    return plain.get(proto) or {plain[secure]: secure for secure in plain}[proto]


@given(AGREED, descriptions(), DIRECTIONS)
def test_a_repeated_offer_is_sent_in_the_same_octets(agreed: Agreed, offer: Sdp, direction: Direction) -> None:
    policy = replace(MediaPolicy(), msrp=MediumPolicy(sessmatch=True))
    plan = decide(policy, agreed, offer, direction)
    if plan.action == "reject":
        return
    media = sides(direction)[0]
    leg, first = next_body(LegSdp(), rewrite_offer(plan, offer, media))
    for _ in range(2):
        again = parse_sdp_untrusted(offer.to_bytes())
        leg, body = next_body(leg, rewrite_offer(decide(policy, agreed, again, direction), again, media))
        assert body == first
