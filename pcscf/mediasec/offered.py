"""One m-line of an offer: what it says, and the plans that can be made for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec import associations, legs, paths
from pcscf.mediasec.mechanisms import MSRP, Medium
from pcscf.mediasec.model import (
    PROTECTED,
    Agreed,
    Capabilities,
    Fingerprint,
    Leg,
    LinePlan,
    MediaPlan,
    Mode,
    PathMode,
)
from pcscf.sdp.lines import MediaSection, Sdp
from pcscf.sdp.views import connection, effective_values, path_uris, tls_id, usable_fingerprints

_CAPABILITY_ATTRIBUTES = frozenset({"tcap", "acap", "pcfg", "csup", "creq"})  # RFC 5939 §3; acfg answers them

NO_CEMA = (
    "the MSRP line has no a=msrp-cema: its path would name one address and our c= and m= another, which its peer must "
    "refuse (RFC 6714 §4.3)"
)
NO_PATH = "the MSRP line has neither a=msrp-cema nor an a=path that could be mapped (RFC 4975 §8.2)"
OVER_RELAY = "the path runs over an MSRP relay, where the TLS connection of the UE ends"


@dataclass(slots=True)
class Situation:
    """All that decides about an offer, the same for each of its lines."""

    policy: MediaPolicy
    agreed: Agreed
    offer: Sdp
    from_ue: bool
    capabilities: Capabilities
    previous: MediaPlan | None
    new_tls_id: Callable[[], str]


class OfferedLine:
    """The m-line at `index`, which is of one of our media; `secure`: its proto is the protected one."""

    __slots__ = ("before", "index", "knobs", "mappable", "medium", "section", "secure", "situation")

    def __init__(self, situation: Situation, index: int, medium: Medium, *, secure: bool) -> None:
        self.situation = situation
        self.index = index
        self.section: MediaSection = situation.offer.media[index]
        self.medium = medium
        self.secure = secure
        self.knobs: MediumPolicy = getattr(situation.policy, medium.name)
        self.mappable = medium is MSRP and self.knobs.aware and paths.is_mappable(self.section)
        """The gateway could map the path of MSRP, if it reads the frames."""
        self.before: LinePlan | None = None
        if situation.previous is not None and index < len(situation.previous.lines):
            before = situation.previous.lines[index]
            self.before = before if before.medium == medium.name else None

    @property
    def agreed(self) -> bool:
        """Both sides agreed the mechanism of the medium at registration."""
        return self.situation.agreed.on(self.medium.mechanism)

    @property
    def requested(self) -> bool:
        """a=3ge2ae:requested; other tokens are ignored (TS 24.229 §7.5)."""
        for value in self.effective("3ge2ae"):  # noqa: SIM110 - a generator costs more than the loop
            if value.lower() == "requested":
                return True
        return False

    @property
    def was_protected(self) -> bool:
        """The line was protected to the edge by the exchange before."""
        return self.before is not None and self.before.mode in PROTECTED

    @property
    def core_protected(self) -> bool:
        """What the gateway ends towards the UE, it protects anew inside the core (TS 33.328 §7.2.1 NOTE 4).

        A session goes on as it began: a far end that called in the clear is not offered TLS by a refresh of the UE.
        """
        if self.before is not None and self.was_protected:
            return self.before.core_protected
        return self.knobs.core == "tls"

    @property
    def over_relay(self) -> bool:
        """The MSRP path has more than one hop (RFC 4976)."""
        return self.medium is MSRP and len(path_uris(self.section)) > 1

    @property
    def terminable(self) -> bool:
        """The gateway can end the protection of the medium."""
        return self.medium.name in self.situation.capabilities.terminate

    @property
    def offers_capabilities(self) -> bool:
        """The line has capability lines besides its actual configuration (RFC 5939)."""
        return not _CAPABILITY_ATTRIBUTES.isdisjoint(self.section.places)

    def effective(self, name: str) -> tuple[str, ...]:
        """The values of an attribute that hold for the line."""
        return effective_values(self.situation.offer, self.section, name)

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Those that policy lets count."""
        return usable_fingerprints(self.effective("fingerprint"), self.knobs.min_hash)

    def path_mode(self, *, in_clear: bool) -> PathMode | None:
        """None: no way of standing in the path of MSRP applies. in_clear: the gateway can read the frames."""
        if self.medium is not MSRP:
            return ""
        mappable = in_clear and self.mappable
        if mappable and self.before is not None and self.before.path_mode == "aware":
            return "aware"   # an end that offers CEMA again does not change what its peer can do
        if self.section.has("msrp-cema"):
            return "agnostic"
        if self.knobs.sessmatch and not self.over_relay:
            return "sessmatch"
        return "aware" if mappable else None

    @property
    def _no_way(self) -> str:
        """Why there is no path mode."""
        return NO_CEMA if not self.knobs.aware or paths.is_mappable(self.section) else NO_PATH

    def without_gateway(self, mode: Mode, rule: str, reason: str) -> LinePlan:
        """A line that the gateway has no part in."""
        before = self.before
        connection = before.connection if before is not None else 1
        standing = before if before is not None and before.gateway else None
        return LinePlan(self.index, mode, rule, reason, self.medium.name, connection=connection, standing=standing)

    def ended_at_gateway(
        self, mode: Mode, rule: str, reason: str, fingerprints: tuple[Fingerprint, ...] = ()
    ) -> LinePlan:
        """A TERMINATE or PROTECT line; DISABLED, with the reason, where the gateway or the path cannot do it."""
        if not self.terminable:
            cannot = f"{reason}, but no gateway can end {self.medium.secure_transport} of {self.medium.name}"
            return self.without_gateway(Mode.DISABLED, rule, cannot)
        path_mode = self.path_mode(in_clear=True)
        if path_mode is None:
            return self.without_gateway(Mode.DISABLED, rule, f"{reason}, but {self._no_way}")
        setup = self._offered_setup()
        if not setup:
            forbidden = "a=setup:holdconn is forbidden with DTLS (RFC 8842 §5.1)"
            return self.without_gateway(Mode.DISABLED, rule, f"{reason}, but {forbidden}")
        core_protected = self.secure
        if self.situation.from_ue and (core_protected := self.core_protected):
            reason = f"{reason}; towards the core it starts {self.medium.secure_transport} anew, as policy wants"
        access, core = self._negotiated_legs(
            setup, fingerprints, path_mode, access_protected=True, core_protected=core_protected)
        return self._beside_standing(LinePlan(
            self.index, mode, rule, reason, self.medium.name, True, access, core, path_mode, True, self.knobs.min_hash,
            core_protected=core_protected,
        ))  # fmt: skip

    def passed(self, rule: str, reason: str) -> LinePlan:
        """A protected line that is not ours to end."""
        return self._anchored(Mode.PASS, rule, reason, wanted=self.situation.policy.anchor_pass)

    def plain(self, rule: str, reason: str) -> LinePlan:
        """An unprotected line that stays so."""
        return self._anchored(Mode.PLAIN, rule, reason, wanted=self.situation.policy.anchor_plain)

    def _anchored(self, mode: Mode, rule: str, reason: str, *, wanted: bool) -> LinePlan:
        medium, situation = self.medium, self.situation
        if not wanted or medium.transport not in situation.capabilities.anchor:
            return self.without_gateway(mode, rule, reason)
        path_mode = self.path_mode(in_clear=mode is Mode.PLAIN)
        if path_mode is None:
            if self.over_relay and (self.knobs.sessmatch or self.knobs.aware):   # only its owner could rewrite its path
                return self.without_gateway(mode, rule, f"{reason}; {OVER_RELAY}, so the line is left as it is")
            return self.without_gateway(Mode.DISABLED, rule, f"{reason} and policy anchors it, but {self._no_way}")
        if mode is Mode.PLAIN:
            setup = self._offered_setup()
            access, core = self._negotiated_legs(setup, (), path_mode, access_protected=False, core_protected=False)
        else:
            near, far = legs.transparent_legs(medium.transport, situation.offer, self.section, path_mode)
            access, core = (near, far) if situation.from_ue else (far, near)
        return self._beside_standing(
            LinePlan(self.index, mode, rule, reason, medium.name, True, access, core, path_mode))

    def _beside_standing(self, line: LinePlan) -> LinePlan:
        """The line beside what it is now, until the answer decides; where a=connection has a say (RFC 4145 §5), with that."""
        before = self.before
        if before is None:
            return line
        as_before = (before.mapped, before.core_protected) == (line.mapped, line.core_protected)
        if before.access is None or before.core is None or not as_before:
            return replace(line, connection=before.connection + 1)   # it was closed, or protected otherwise
        renewal = connection(self.situation.offer, self.section) if self.medium.connection else None
        return replace(line, connection=before.connection, renewal=renewal, standing=before)

    def _offered_setup(self) -> str:
        if not self.secure and self.medium.transport == "UDP":
            return self.medium.setup  # plain UDP has no roles, whatever stands there
        return legs.offered_setup(self.medium, self.situation.offer, self.section)

    def _negotiated_legs(
        self, setup: str, fingerprints: tuple[Fingerprint, ...], path_mode: PathMode,
        *, access_protected: bool, core_protected: bool,
    ) -> tuple[Leg, Leg]:  # fmt: skip
        """(access, core)"""
        medium, from_ue = self.medium, self.situation.from_ue
        peer = legs.peer_address(self.situation.offer, self.section, path_mode), fingerprints
        protects_near, protects_far = access_protected, core_protected
        if not from_ue:
            protects_near, protects_far = core_protected, access_protected
        offering = legs.far_offer(medium, setup, protected=protects_far, to_core=from_ue, path_mode=path_mode)
        far = legs.far_leg(medium, offering, protected=protects_far)
        if from_ue:
            near = legs.near_leg(medium, setup, peer, protected=protects_near)
        else:
            near = legs.undecided_near_leg(medium, setup, peer, protected=protects_near)
        # With CEMA the answer may still ask for it.
        if path_mode == "aware" or (path_mode == "agnostic" and self.mappable and not self.knobs.sessmatch):
            near, far = paths.with_offer(near, far, self.section, mapped=access_protected, moved=path_mode == "aware")
        if medium.transport == "UDP" and (protects_near or protects_far):
            before = (self.before.access, self.before.core) if self.before is not None else (None, None)
            stood = before if from_ue else (before[1], before[0])
            theirs = setup, tls_id(self.situation.offer, self.section)
            near, far = associations.with_offer(near, far, stood, theirs, self.situation.new_tls_id)
        return (near, far) if from_ue else (far, near)
