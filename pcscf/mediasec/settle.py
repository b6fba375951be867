"""The answer to an offer that was decided upon: it opens, closes or gives up what the plan wanted. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pcscf.mediasec import associations, datagrams, legs, paths
from pcscf.mediasec.mechanisms import BY_NAME, Medium, medium_of
from pcscf.mediasec.model import LIVE, Direction, Leg, LinePlan, MediaPlan, Mode, OfferedMedia
from pcscf.sdp.lines import MediaSection, Sdp
from pcscf.sdp.offer import SETUP_COMPLEMENT
from pcscf.sdp.views import connection, effective_values, tls_id, usable_fingerprints

_FROM_UE: Final = Direction.OFFER_FROM_UE

_NO_PATH = "without an a=path that could be mapped (RFC 4975 §8.2)"


def settle(plan: MediaPlan, answer: Sdp) -> MediaPlan:
    """Fold the answer into the plan that `decide` made for its offer.

    Each answer (an early dialog, a fork) is settled against the decided plan, not against a settled one. An answer that
    gives up protection ends the line, and the session with it when no other line lives.
    """
    if plan.action != "forward":
        return plan
    from_ue = plan.direction is _FROM_UE
    lines: list[LinePlan] = []
    ended: list[str] = []   # why, of each line that the answer ended
    live = False
    for line in plan.lines:
        section = answer.media[line.index] if line.index < len(answer.media) else None
        if line.mode not in LIVE:
            settled = line
        elif section is None or section.port == 0:
            settled = _closed(line, from_ue=from_ue, missing=section is None)
        elif not line.mapped and (line.gateway or line.medium is not None) and not _is_of(section, plan.offered[line.index]):
            settled = _of_another_medium(line, section, from_ue=from_ue)
        elif not line.mapped:
            settled = _settle_unmapped(line, answer, section, from_ue=from_ue)
        else:
            settled = _answer_of_core(line, answer, section) if from_ue else _answer_of_ue(line, answer, section)
        if line.mode in LIVE and section is not None and section.port != 0:
            live = live or settled.mode in LIVE
            if settled.mode not in LIVE:
                ended.append(settled.reason)
        if settled.standing is not None:
            settled = _after(settled, settled.standing, answer, section)
        lines.append(datagrams.with_sources(settled, plan.sources))
    over = bool(ended) and not live
    return MediaPlan(
        plan.direction, tuple(lines), "release-session" if over else "forward", plan.status,
        "; ".join(ended) if over else plan.warning, plan.downgraded, plan.offered, plan.sources, settled=True,
    )  # fmt: skip


def _closed(line: LinePlan, *, from_ue: bool, missing: bool) -> LinePlan:
    who = "core" if from_ue else "UE"
    reason = f"the answer of the {who} has no such line" if missing else f"the {who} declined the line"
    if line.mapped:
        rule = ("AA7" if missing else "AA2") if from_ue else "CA2"
        return _ended(line, Mode.RELEASED, rule, reason)
    rule = ("AA5" if line.mode is Mode.PASS else "AA6") if from_ue else "CA6"
    return _ended(line, line.mode, rule, reason)


def _is_of(section: MediaSection, offered: OfferedMedia) -> bool:
    return section.media.lower() == offered.media.lower()


def _of_another_medium(line: LinePlan, section: MediaSection, *, from_ue: bool) -> LinePlan:
    """An answer keeps the media of its line (RFC 3264 §6): one that does not is none."""
    rule = ("AA5" if line.mode is Mode.PASS else "AA6") if from_ue else "CA6"
    return _ended(line, Mode.RELEASED, rule, f"the answer makes m={section.media} of the line")


def _ended(line: LinePlan, mode: Mode, rule: str, reason: str) -> LinePlan:
    """A line that its answer closed, and with it the connection that it had before the offer, if it had one."""
    ended = line.connection if line.standing is None else line.connection + 1
    return LinePlan(
        line.index, mode, rule, reason, line.medium, path_mode=line.path_mode, mapped=line.mapped, connection=ended,
        core_protected=line.core_protected,
    )  # fmt: skip


def _settled(
    line: LinePlan, rule: str, reason: str, near: Leg, far: Leg, answer: Sdp, section: MediaSection, *, from_ue: bool
) -> LinePlan:
    before, beyond = (line.access, line.core) if from_ue else (line.core, line.access)
    if line.path_mode == "aware":
        near, far = paths.with_answer(near, far, (before, beyond), section, mapped=line.mapped)
    if far.transport == associations.DTLS and beyond is not None:
        stood = None if line.standing is None else line.standing.core if from_ue else line.standing.access
        far = associations.with_answer(far, beyond, stood, tls_id(answer, section))
    access, core = (near, far) if from_ue else (far, near)
    return LinePlan(
        line.index, line.mode, rule, reason, line.medium, True, access, core, line.path_mode, line.mapped, line.min_hash,
        line.connection, line.renewal, line.standing, line.core_protected, line.kind,
    )  # fmt: skip


def _after(line: LinePlan, standing: LinePlan, answer: Sdp, section: MediaSection | None) -> LinePlan:
    """The line with the connection that the exchange leaves it.

    One that leaves the gateway ends the connection that it had there. Where a=connection has a say, see `_kept_or_renewed`;
    otherwise what follows from the legs stands in them.
    """
    if section is None or line.access is None or line.core is None:
        return replace(line, connection=line.connection + 1, standing=None)
    if line.renewal is None or standing.access is None or standing.core is None:
        return replace(line, standing=None)
    return _kept_or_renewed(line, (line.access, line.core), (standing.access, standing.core), connection(answer, section))


def _kept_or_renewed(line: LinePlan, fresh: tuple[Leg, Leg], standing: tuple[Leg, Leg], answered: str) -> LinePlan:
    """The line with the connection that stands, or the next one (RFC 4145 §5).

    The answer's a=connection decides. Where a side does not say, the connection is kept as long as both ends and their
    certificates are: a refresh by a UE without the attribute must not cost the connection.
    """
    access, core = standing
    says = {line.renewal, answered}
    stands = access.tcp is not None and core.tcp is not None   # not so after holdconn
    agreed = says == {"existing"} or (_same_peer(access, fresh[0]) and _same_peer(core, fresh[1]))
    if "new" in says or not stands or not agreed:
        return replace(line, connection=line.connection + 1, renewal=None, standing=None)
    # What this exchange says of addresses and roles holds for nothing; only our own a=setup goes into the answer.
    return replace(line, access=replace(access, setup=fresh[0].setup), core=replace(core, setup=fresh[1].setup),
                   renewal=None, standing=None)  # fmt: skip


def _same_peer(before: Leg, after: Leg) -> bool:
    """Whether the peer is where it was, with the certificate that it had."""
    unchanged = after.peer_address in (None, before.peer_address)
    return unchanged and after.peer_fingerprints == before.peer_fingerprints


def _settle_unmapped(line: LinePlan, answer: Sdp, section: MediaSection, *, from_ue: bool) -> LinePlan:
    rule = ("AA5" if line.mode is Mode.PASS else "AA6") if from_ue else "CA6"
    if line.access is None or line.core is None:
        return replace(line, rule=rule)
    near, far = (line.access, line.core) if from_ue else (line.core, line.access)
    if datagrams.is_rtp(far):
        if unreachable := datagrams.unreachable(answer, section):
            return _ended(line, Mode.RELEASED, rule, f"the {'core' if from_ue else 'UE'} answered, but {unreachable}")
        near, far = datagrams.answered_rtp_legs(near, far, answer, section)
        return _settled(line, rule, line.reason, near, far, answer, section, from_ue=from_ue)
    if line.mode is Mode.PASS or line.medium is None:
        near, far = legs.answered_transparent_legs(near, far, answer, section, line.path_mode)
        return _settled(line, rule, line.reason, near, far, answer, section, from_ue=from_ue)
    medium = BY_NAME[line.medium]
    answered = "active"
    if medium.transport == "TCP":
        # Nothing is protected here: an illegal value is worth no more than a missing one.
        answered = legs.answered_setup(medium, far.setup, answer, section) or SETUP_COMPLEMENT[far.setup]
    line = _without_cema(line, near, section, answered)
    if _lacks_path(line, section):
        return _ended(line, Mode.RELEASED, rule, f"the {'core' if from_ue else 'UE'} answered {_NO_PATH}")
    address = legs.peer_address(answer, section, line.path_mode)
    near = legs.answered_near_leg(medium, near, answered)
    far = legs.answered_far_leg(medium, far, answered, (address, ()))
    return _settled(line, rule, line.reason, near, far, answer, section, from_ue=from_ue)


def _without_cema(line: LinePlan, near: Leg, section: MediaSection, answered: str) -> LinePlan:
    """An offer of CEMA that is answered without: from now on the gateway maps the paths.

    That needs an answerer that waits for us: one that opens dials the offerer's path, past the gateway. Such an answer goes
    on as it is, and the offerer has to offer anew without CEMA (RFC 6714 §4.2).
    """
    if line.path_mode != "agnostic" or not near.peer_path or answered != "passive":
        return line
    if section.has("msrp-cema") or not paths.is_mappable(section):
        return line
    return replace(line, path_mode="aware")


def _lacks_path(line: LinePlan, section: MediaSection) -> bool:
    return line.path_mode == "aware" and not paths.is_mappable(section)


def _answer_of_core(line: LinePlan, answer: Sdp, section: MediaSection) -> LinePlan:
    medium, near, far = _legs_of(line, line.access, line.core)
    protected = line.core_protected
    if medium_of(section.media, section.proto) != (medium, protected):
        offered = medium.secure if protected else medium.plain
        wrong = f"the core answered {section.media} {section.proto} to {medium.media} {offered}"
        return _ended(line, Mode.RELEASED, "AA3", wrong)
    stated = effective_values(answer, section, "fingerprint")
    fingerprints = usable_fingerprints(stated, line.min_hash) if protected else ()
    if protected and not fingerprints:
        unchecked = f"the core answered without a fingerprint of {line.min_hash} or better to check its certificate by"
        return _ended(line, Mode.RELEASED, "AA8", unchecked)
    answered = "active"
    if protected or medium.transport == "TCP":
        answered = legs.answered_setup(medium, far.setup, answer, section)
    if not answered:
        return _ended(line, Mode.RELEASED, "AA3", f"the core answered an illegal a=setup to a=setup:{far.setup}")
    line = _without_cema(line, near, section, answered)
    if _lacks_path(line, section):
        return _ended(line, Mode.RELEASED, "AA3", f"the core answered {_NO_PATH}")
    stray = (stated and not protected) or effective_values(answer, section, "3ge2ae")
    far = legs.answered_far_leg(medium, far, answered, (legs.peer_address(answer, section, line.path_mode), fingerprints))
    near = legs.answered_near_leg(medium, near, answered)
    return _settled(line, "AA4" if stray else "AA1", line.reason, near, far, answer, section, from_ue=True)


def _answer_of_ue(line: LinePlan, answer: Sdp, section: MediaSection) -> LinePlan:
    medium, near, far = _legs_of(line, line.core, line.access)
    if medium_of(section.media, section.proto) != (medium, True):
        answered = f"{section.media} {section.proto}"
        gave_up = f"the UE answered {answered} to {medium.media} {medium.secure}: protection is given up"
        return _ended(line, Mode.FAILED, "CA4", gave_up)
    fingerprints = usable_fingerprints(effective_values(answer, section, "fingerprint"), line.min_hash)
    if not fingerprints:
        unchecked = f"the UE answered without a fingerprint of {line.min_hash} or better to check its certificate by"
        return _ended(line, Mode.FAILED, "CA3", unchecked)
    role = legs.answered_setup(medium, far.setup, answer, section)
    if not role:
        return _ended(line, Mode.FAILED, "CA5", f"the UE answered an illegal a=setup to a=setup:{far.setup}")
    line = _without_cema(line, near, section, role)
    if _lacks_path(line, section):
        return _ended(line, Mode.FAILED, "CA5", f"the UE answered {_NO_PATH}")
    address = legs.peer_address(answer, section, line.path_mode)
    far = legs.answered_far_leg(medium, far, role, (address, fingerprints))
    near = legs.answered_near_leg(medium, near, role)
    return _settled(line, "CA1", line.reason, near, far, answer, section, from_ue=False)


def _legs_of(line: LinePlan, near: Leg | None, far: Leg | None) -> tuple[Medium, Leg, Leg]:
    if line.medium is None or near is None or far is None:
        raise ValueError(f"m-line {line.index} is {line.mode} without legs")
    return BY_NAME[line.medium], near, far
