"""TLS or not: the decision about each m-line of an offer (`decide`), and about its answer (`settle`). Pure.

Where policy has TLS inside the core too (TS 33.328 §7.2.1 NOTE 4), what the gateway ends towards the UE it protects anew
towards the core: the rules are the same, and C8 takes the core's offers, AA8 its answers without a certificate to check.
Whether a line that passes or stays plain goes through the gateway is for policy to say, and for `datagrams.unfit`.

Rules, by the direction of the SDP (TS 33.328 §7.2 and §7.3, TS 24.229 §6.7):

    offer of the UE                                                 offer of the core
    A1   requested, agreed           TERMINATE                      C1  plain, agreed              PROTECT
    A2   requested, not agreed       TERMINATE if honoured or PASS  C2  the same, stray fingerprint  PROTECT
    A3   requested, no fingerprint   DISABLED                       C3  plain, not agreed          PLAIN
    A4   protected, not requested    PASS                           C4  protected                  PASS
    A5   protected, key management   PASS                           C5  protected, by name         PASS
    A6   the same, and requested     PASS                           C6  plain, capability lines    PROTECT
    A7   plain                       PLAIN                          C7  port 0                     UNUSED
    A8   plain, yet requested        PLAIN                          C9  plain, policy offers TLS   PROTECT
    A9   port 0                      UNUSED
    A11  SRTP, requested             PASS
    A12  any other medium            PASS or PLAIN
    A13  A1 with capability lines    TERMINATE                      C8  protected inside the core  PROTECT

    answer of the core                                              answer of the UE
    AA1  open                        TERMINATE                      CA1  protected, fingerprint    PROTECT
    AA2  port 0                      RELEASED                       CA2  port 0                    RELEASED
    AA3  not what was offered        RELEASED                       CA3  no usable fingerprint     FAILED
    AA4  AA1, stray fingerprint      TERMINATE                      CA4  plain                     FAILED
    AA5  to PASS                     PASS                           CA5  illegal setup or path     FAILED
    AA6  to PLAIN                    PLAIN                          CA6  to PASS or PLAIN          PASS or PLAIN
    AA7  line missing                RELEASED
    AA8  no usable fingerprint       RELEASED
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec import datagrams, legs
from pcscf.mediasec.mechanisms import MEDIA, MSRP, is_protected, medium_of
from pcscf.mediasec.model import (
    LIVE,
    NOWHERE,
    Agreed,
    Capabilities,
    Direction,
    Leg,
    LinePlan,
    MediaPlan,
    Mode,
    OfferedMedia,
    Origin,
    SideMedia,
    StreamMedia,
)
from pcscf.mediasec.offered import OVER_RELAY, OfferedLine, Situation
from pcscf.mediasec.settle import settle
from pcscf.sdp.lines import Sdp
from pcscf.sdp.views import effective_values

__all__ = [
    "Agreed",
    "Capabilities",
    "Direction",
    "Leg",
    "LinePlan",
    "MediaPlan",
    "Mode",
    "Origin",
    "SideMedia",
    "StreamMedia",
    "decide",
    "settle",
]

_TODAY = Capabilities()

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_FROM_UE: Final = Direction.OFFER_FROM_UE
_TERMINATE: Final = Mode.TERMINATE
_PROTECT: Final = Mode.PROTECT

_ENDS = {m.name: f"{'TLS' if m.transport == 'TCP' else 'DTLS'} ends at the gateway" for m in MEDIA}
_RUNS = {m.name: f"{'TLS' if m.transport == 'TCP' else 'DTLS'} runs between gateway and UE" for m in MEDIA}
_A1 = {
    m.name: f"the UE asked for protection to the edge and both sides agreed {m.mechanism}: {_ENDS[m.name]}"
    for m in MEDIA
}
_A2 = {
    m.name: f"the UE asked for protection to the edge without {m.mechanism} at registration, which policy honours: "
    f"{_ENDS[m.name]}"
    for m in MEDIA
}
_C1 = {m.name: f"the core offered {m.plain} and both sides agreed {m.mechanism}: {_RUNS[m.name]}" for m in MEDIA}
_C8 = {
    m.name: f"the core offered {m.secure} of its own, which ends at the gateway as policy has it, and both sides agreed "
    f"{m.mechanism}: {_RUNS[m.name]} as well"
    for m in MEDIA
}


def decide(
    policy: MediaPolicy,
    agreed: Agreed,
    offer: Sdp,
    direction: Direction,
    capabilities: Capabilities = _TODAY,
    *,
    previous: MediaPlan | None = None,
    origin: Origin = NOWHERE,
    new_tls_id: Callable[[], str] = str,
) -> MediaPlan:
    """Decide about every m-line of an offer. `origin`: where the signalling of the UE comes from.

    `previous` is the settled plan of the exchange before, of either direction: a line protected there stays protected
    when the core offers it plain again, or when the UE repeats it with the same certificate but without asking.
    `new_tls_id` gives the name of a new DTLS association, another one each time: 20 to 255 characters with at least 120 bits of
    chance in them (RFC 8842 §4); "": associations have no names.
    """
    from_ue = direction is _FROM_UE
    situation = Situation(policy, agreed, offer, from_ue, capabilities, previous, new_tls_id)
    lines: list[LinePlan] = []
    downgraded: list[int] = []
    refusals: list[str] = []
    for index, section in enumerate(offer.media):
        known = medium_of(section.media, section.proto)
        if known is None:
            lines.append(_other(situation, index))
            continue
        medium, secure = known
        one = OfferedLine(situation, index, medium, secure=secure)
        if section.port == 0:
            lines.append(_unused(one))
            continue
        if from_ue:
            line = _from_ue_protected(one) if secure else _from_ue_plain(one)
        else:
            line = _from_core_protected(one) if secure else _from_core_plain(one)
        lines.append(line)
        if secure or line.mode is _PROTECT:
            continue
        if from_ue and one.agreed:
            downgraded.append(index)
            if one.knobs.downgrade == "refuse":
                refusals.append(f"the UE agreed {medium.mechanism} at registration and offered plain {section.proto}")
        if one.knobs.require:
            refusals.append(f"{medium.name} must be protected to the edge, but the offer is plain {section.proto}")
    if not refusals and not _live(lines):
        refusals = [line.reason for line in lines if line.mode is Mode.DISABLED]
    offered = tuple([OfferedMedia(each.media, each.proto, each.formats, each.has("tls-id")) for each in offer.media])
    if refusals:
        return MediaPlan(direction, tuple(lines), "reject", 488, refusals[0], tuple(downgraded), offered)
    sources = datagrams.latch_sources(policy, origin)
    placed = tuple([datagrams.with_sources(line, sources) for line in lines])
    return MediaPlan(direction, placed, downgraded=tuple(downgraded), offered=offered, sources=sources)


def _live(lines: list[LinePlan]) -> bool:
    for line in lines:  # noqa: SIM110 - a generator costs more than the loop
        if line.mode in LIVE:
            return True
    return False


def _other(situation: Situation, index: int) -> LinePlan:
    """A line of none of our media: it passes, in the gateway's path where policy and gateway allow."""
    offer, from_ue = situation.offer, situation.from_ue
    section = offer.media[index]
    before = _other_before(situation, index)
    number = before.connection if before is not None else 1
    if section.port == 0:
        return LinePlan(index, Mode.UNUSED, "A9" if from_ue else "C7", "the line is not in use", connection=number)
    proto = section.proto.upper()
    if not is_protected(proto):
        mode, wanted = Mode.PLAIN, situation.policy.anchor_plain
        rule = "A12" if from_ue else "C3"
        reason = f"{section.media} over {section.proto} has no protection to the edge"
    else:
        mode, wanted = Mode.PASS, situation.policy.anchor_pass
        reason = f"{section.media} over {section.proto} is protected by the ends themselves"
        if from_ue:
            rule = "A11" if "SAVP" in proto and effective_values(offer, section, "3ge2ae") else "A12"
        else:
            keys = ("fingerprint", "key-mgmt", "crypto")
            rule = "C4" if any(effective_values(offer, section, name) for name in keys) else "C5"
    kind = "RTP" if proto in datagrams.RTP else _carrier(proto)
    # MSRP over anything that is not its own would need its path rewritten.
    fits = kind in situation.capabilities.anchor and section.media.lower() != MSRP.media
    if not (wanted and fits) or (kind == "RTP" and not situation.policy.anchor_rtp):
        return LinePlan(index, mode, rule, reason, connection=number)
    if kind != "TCP" and (unfit := datagrams.unfit(offer, index)):
        return LinePlan(index, mode, rule, f"{reason}; {unfit}: past the gateway", connection=number)
    if kind == "RTP":
        near, far = datagrams.rtp_legs(proto, offer, section, _leg_before(situation, index))
    else:
        near, far = legs.transparent_legs(kind, offer, section, "")
    access, core = (near, far) if from_ue else (far, near)
    if before is not None and before.access is None:
        number += 1   # it was closed, or went past the gateway
    return LinePlan(
        index, mode, rule, reason, None, True, access, core, connection=number, kind=datagrams.kind_of(section))


def _carrier(proto: str) -> str:
    """What carries a proto of others that is not RTP over UDP: "TCP", "UDP", or what the gateway does not know."""
    tokens = proto.split("/")
    return "" if "RTP" in tokens else "UDP" if tokens[0] == "UDPTL" else tokens[0]


def _other_before(situation: Situation, index: int) -> LinePlan | None:
    """The line as the exchange before left it, where it was of none of our media then either."""
    previous = situation.previous
    if previous is None or index >= len(previous.lines) or previous.lines[index].medium is not None:
        return None
    return previous.lines[index]


def _leg_before(situation: Situation, index: int) -> Leg | None:
    """The line's access leg as the exchange before left it."""
    previous = situation.previous
    return previous.lines[index].access if previous is not None and index < len(previous.lines) else None


def _unused(one: OfferedLine) -> LinePlan:
    rule = "A9" if one.situation.from_ue else "C7"
    before = one.before
    if before is None:
        return LinePlan(one.index, Mode.UNUSED, rule, "the line is not in use", one.medium.name)
    return LinePlan(one.index, Mode.UNUSED, rule, "the line is not in use", one.medium.name, mapped=before.mapped,
                    connection=before.connection, core_protected=before.core_protected,
                    standing=before if before.gateway else None)  # fmt: skip


def _from_ue_plain(one: OfferedLine) -> LinePlan:
    if one.requested:
        return one.plain("A8", "the UE asked for protection of a plain transport: there is nothing to protect")
    return one.plain("A7", f"the UE offered plain {one.section.proto}")


def _from_ue_protected(one: OfferedLine) -> LinePlan:
    medium, knobs = one.medium, one.knobs
    if one.effective("key-mgmt"):
        if one.requested:
            return one.passed("A6", "the UE asked for protection to the edge yet brought its own keys: end to end")
        return one.passed("A5", "the UE brought its own key management: protection is end to end")
    fingerprints = one.fingerprints()
    if not one.requested:
        if one.was_protected and _same_certificate(one, fingerprints):
            again = f"the line is protected to the edge already and the UE kept its certificate: {_ENDS[medium.name]}"
            return one.ended_at_gateway(_TERMINATE, "A1", again, fingerprints)
        if knobs.terminate_unrequested and fingerprints and one.terminable and not one.over_relay:
            unasked = f"policy ends the protection of {medium.name} unasked: {_ENDS[medium.name]}"
            return one.ended_at_gateway(_TERMINATE, "A4", unasked, fingerprints)
        return one.passed("A4", "the UE did not ask for protection to the edge: its protection is end to end")
    if one.over_relay:
        return one.passed("A4", f"the UE asked for protection to the edge, but {OVER_RELAY}")
    if not fingerprints:
        weak = f"without a fingerprint of {knobs.min_hash} or better to check its certificate by"
        return one.without_gateway(Mode.DISABLED, "A3", f"the UE asked for protection to the edge {weak}")
    if one.agreed or one.was_protected:
        rule = "A13" if one.offers_capabilities else "A1"
        return one.ended_at_gateway(_TERMINATE, rule, _A1[medium.name], fingerprints)
    if knobs.honour_request_without_registration:
        return one.ended_at_gateway(_TERMINATE, "A2", _A2[medium.name], fingerprints)
    not_agreed = f"{medium.mechanism} was not agreed at registration: end to end"
    return one.passed("A2", f"the UE asked for protection to the edge, but {not_agreed}")


def _same_certificate(one: OfferedLine, fingerprints: tuple[tuple[str, str], ...]) -> bool:
    before = one.before.access if one.before is not None else None
    return before is not None and bool(fingerprints) and fingerprints == before.peer_fingerprints


def _from_core_protected(one: OfferedLine) -> LinePlan:
    if _ends_of_core(one):
        fingerprints = one.fingerprints()
        if not fingerprints:
            weak = f"without a fingerprint of {one.knobs.min_hash} or better to check its certificate by"
            return one.without_gateway(Mode.DISABLED, "C8", f"the core offered protection of its own {weak}")
        return one.ended_at_gateway(_PROTECT, "C8", _C8[one.medium.name], fingerprints)
    if one.effective("fingerprint") or one.effective("key-mgmt"):
        return one.passed("C4", "the core offered a protected line: its protection is end to end")
    return one.passed("C5", "the core offered a line protected by certificate names: its protection is end to end")


def _ends_of_core(one: OfferedLine) -> bool:
    """Whether the protection of this offer is the core's own, and not that of a far end."""
    if not (one.core_protected or one.knobs.core == "tls") or not one.terminable or one.over_relay or one.effective("key-mgmt"):
        return False
    return bool(one.effective("fingerprint")) and (one.agreed or one.was_protected)


def _from_core_plain(one: OfferedLine) -> LinePlan:
    medium = one.medium
    if one.agreed:
        rule = "C6" if one.offers_capabilities else "C2" if one.effective("fingerprint") else "C1"
        return one.ended_at_gateway(_PROTECT, rule, _C1[medium.name])
    if one.was_protected:
        again = f"the line is protected to the edge already and stays so: {_RUNS[medium.name]}"
        return one.ended_at_gateway(_PROTECT, "C1", again)
    if one.knobs.offer_tls_to_unindicated and one.terminable:
        unasked = f"policy offers protection to a UE that did not list {medium.mechanism}: {_RUNS[medium.name]}"
        return one.ended_at_gateway(_PROTECT, "C9", unasked)
    return one.plain("C3", f"{medium.mechanism} was not agreed with the UE: the line stays plain {one.section.proto}")
