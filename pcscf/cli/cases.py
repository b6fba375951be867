"""What a person writes down to have a decision explained or tested: a UE's binding, its policy, an offer and its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from pcscf.config.load import read_model
from pcscf.config.model import AccessRealm, Config
from pcscf.config.policy import MediaPolicy
from pcscf.config.resolve import media_policy, resolve
from pcscf.config.rules import MediaRules, PolicyRule
from pcscf.config.tree import Node, Place
from pcscf.config.values import Address, Block, File, Listed, Name, OneOrMore, Transport, fault, own_default
from pcscf.errors import ConfigError, MalformedSdp
from pcscf.mediasec.explain import Explanation, explain
from pcscf.mediasec.model import NOWHERE, Agreed, Direction, MediaPlan, Origin
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted

Mechanism = Literal["msrp-tls", "bfcp-tls", "udptl-dtls"]
CaseDirection = Literal["offer-from-ue", "answer-to-ue", "offer-from-core", "answer-to-core"]
ModeName = Literal["terminate", "protect", "pass", "plain", "disabled", "unused", "released", "failed"]

_OFFER_OF = {"answer-to-ue": Direction.OFFER_FROM_UE, "answer-to-core": Direction.OFFER_FROM_CORE}


class CaseError(ConfigError):
    """What stands at `key` of a case cannot be used."""

    def __init__(self, key: str, what: str, hint: str) -> None:
        super().__init__(f"{key}: {what}", hint=hint)
        self.key = key


class Binding(Block):
    """What is known of a UE: what a policy matches, and what was agreed at its registration."""

    realm: Name | None = None
    """Its access realm; may be left out where the configuration has one."""
    access: Transport = "tls"
    """How it signals: udp, tcp or tls."""
    identity: OneOrMore[str] = ()
    """Its public identities."""
    user_agent: str = ""
    """Its User-Agent."""
    seen_at: Address | None = None
    """Where it is behind a NAT: the address that its signalling comes from."""
    ue: Listed[Mechanism] = ()
    """Mechanisms that it listed in Security-Client."""
    net: Listed[Mechanism] | None = None
    """Mechanisms that we announced in Security-Server; with a configuration, what that announces to such a UE."""

    def policy_in(self, config: Config) -> MediaPolicy:
        """The policy that decides for this UE. Raises CaseError when `realm` names none of the file's."""
        realm = self._realm_in(config)
        return resolve(
            config.policies, realm=realm, access=self.access, identities=self.identity, user_agent=self.user_agent
        )

    @property
    def origin(self) -> Origin:
        """Where its signalling comes from."""
        return NOWHERE if self.seen_at is None else Origin(self.seen_at, behind_nat=True)

    def agreed(self, config: Config | None = None) -> Agreed:
        """What was agreed: `net` as written, else what `config` announces to a UE that listed something."""
        if self.net is not None or config is None or not self.ue:
            return Agreed(frozenset(self.ue), frozenset(self.net or ()))
        realm = self._realm_in(config)
        sockets = [each for each in config.listeners_of(realm).values() if each.transport == self.access]
        told = config.access_realms[realm].mechanisms if any(each.announces for each in sockets) else ()
        return Agreed(frozenset(self.ue), frozenset(told))

    def _realm_in(self, config: Config) -> str:
        realms: dict[str, AccessRealm] = config.access_realms
        if self.realm in realms:
            return self.realm
        if self.realm is None and len(realms) == 1:
            return next(iter(realms))
        what = "is missing, and there are several" if self.realm is None else f"{self.realm!r} is not an access realm"
        raise CaseError("realm", what, f"write one of: {', '.join(realms)}")


class PreviousOffer(Block):
    """The offer that is answered, as it was received."""

    direction: Literal["offer-from-ue", "offer-from-core"]
    """offer-from-ue or offer-from-core."""
    sdp: str
    """Its SDP."""


class Said(Block):
    """An offer or answer that came before, as it was received."""

    direction: CaseDirection
    """offer-from-ue, answer-to-ue, offer-from-core or answer-to-core."""
    sdp: str
    """Its SDP."""


class Case(Binding):
    """One offer or answer to explain. Other keys are for the reader."""

    model_config = ConfigDict(extra="ignore")

    direction: CaseDirection
    """Write offer-from-ue, answer-to-ue, offer-from-core or answer-to-core."""
    sdp: str = Field(alias="in")
    """Write the SDP as it was received, with \\r\\n between its lines."""
    policy: MediaRules = own_default(MediaRules)
    """The resolved policy: {default, msrp, bfcp, fax}."""
    previous_offer: PreviousOffer | None = None
    """With an answer: the offer that it answers."""
    history: Listed[Said] = ()
    """Offers and answers of the session before that, in order. An offer without an answer after it was refused."""

    @model_validator(mode="after")
    def _history_alternates(self) -> Case:
        for number, said in enumerate(self.history):
            offered = _OFFER_OF.get(said.direction)
            before = self.history[number - 1].direction if number else "nothing"
            if offered is not None and before != offered.value:
                raise fault(f"history.{number}.direction: {said.direction} after {before}", f"write {offered.value} before it")
        return self

    @model_validator(mode="after")
    def _answers(self) -> Case:
        offered = _OFFER_OF.get(self.direction)
        if offered is None and self.previous_offer is not None:
            raise fault("previous_offer: an offer answers nothing", "remove previous_offer, or write direction: answer-…")
        if offered is not None and self.previous_offer is None:
            wanted = f'write previous_offer: {{"direction": "{offered.value}", "sdp": "v=0…"}}'
            raise fault("previous_offer: is missing, and an answer is decided by its offer", wanted)
        if offered is not None and self.previous_offer is not None and self.previous_offer.direction != offered.value:
            raise fault(
                f"previous_offer.direction: {self.direction} does not answer an {self.previous_offer.direction}",
                f"write {offered.value}",
            )
        return self

    def explained(self, config: Config | None = None) -> Explanation:
        """The decision by the case's own policy, or by that of `config`. Raises CaseError."""
        policy = media_policy(PolicyRule(media=self.policy)) if config is None else self.policy_in(config)
        agreed, received = self.agreed(config), read_sdp("in", self.sdp)
        standing = self._standing(policy, agreed)
        if self.previous_offer is None:
            return explain(policy, agreed, Direction(self.direction), received, previous=standing, origin=self.origin)
        offer = read_sdp("previous_offer.sdp", self.previous_offer.sdp)
        direction = Direction(self.previous_offer.direction)
        return explain(policy, agreed, direction, offer, received, previous=standing, origin=self.origin)

    def _standing(self, policy: MediaPolicy, agreed: Agreed) -> MediaPlan | None:
        """What the history settled: its last answer that did not end the session. Raises CaseError."""
        standing: MediaPlan | None = None
        for number, said in enumerate(self.history):
            offered = _OFFER_OF.get(said.direction)
            if offered is None:
                continue
            offer = read_sdp(f"history.{number - 1}.sdp", self.history[number - 1].sdp)
            answer = read_sdp(f"history.{number}.sdp", said.sdp)
            settled = explain(policy, agreed, offered, offer, answer, previous=standing, origin=self.origin).plan
            if settled.action == "reject":
                raise CaseError(f"history.{number - 1}", f"this offer is refused: {settled.warning}", "take its answer out")
            if settled.action == "release-session":
                what = f"this answer ends the session: {settled.warning}"
                raise CaseError(f"history.{number}", what, "end the history before it")
            standing = settled
        return standing


class Offer(Block):
    """The offer of a test."""

    sender: Literal["ue", "core"] = Field(alias="from")
    """Write ue or core: who made the offer."""
    sdp: str
    """Write its SDP as a block: `sdp: |`, and the lines below."""


class ExpectedLine(Block):
    """What must hold for one m-line; what is left out is not looked at."""

    mode: ModeName | None = None
    """terminate, protect, pass, plain, disabled, unused, released or failed."""
    rule: str | None = None
    """The rule that decides, e.g. A1."""
    gateway: bool | None = None
    """Whether the line uses the gateway."""
    latched: bool | None = None
    """Whether the gateway takes the UE to be where its datagrams come from."""
    reason: str | None = None
    """A text that the reason contains."""


class Expected(Block):
    """What must hold; what is left out is not looked at."""

    action: Literal["forward", "reject", "release-session"] | None = None
    """forward, reject or release-session."""
    status: int | None = None
    """The status of a reject."""
    lines: Listed[ExpectedLine] | None = None
    """One entry per m-line of the offer."""
    contains: OneOrMore[str] = ()
    """Lines of the SDP that leaves; * stands for any text, ? for one character."""
    lacks: OneOrMore[str] = ()
    """Lines that the SDP that leaves must not have; * and ? as above."""

    @model_validator(mode="after")
    def _something(self) -> Expected:
        if not (self.action or self.status or self.lines or self.contains or self.lacks):
            raise fault("expects nothing", "write at least one of action, status, lines, contains, lacks")
        return self


class PolicyTest(Block):
    """One decision and what it must be."""

    name: str
    """Write in a few words what is tested."""
    binding: Binding = own_default(Binding)
    """The UE."""
    offer: Offer
    """Write the offer: {from, sdp}."""
    answer: str | None = None
    """SDP of the other side's answer; then it is the answer that is decided about and sent on."""
    expect: Expected
    """Write what must hold: action, status, lines, contains, lacks."""

    def explained(self, config: Config) -> Explanation:
        """The decision by the policies of `config`. Raises CaseError."""
        direction = Direction.OFFER_FROM_UE if self.offer.sender == "ue" else Direction.OFFER_FROM_CORE
        answer = None if self.answer is None else read_sdp("answer", self.answer)
        policy, agreed = self.binding.policy_in(config), self.binding.agreed(config)
        return explain(policy, agreed, direction, read_sdp("offer", self.offer.sdp), answer, origin=self.binding.origin)


class PolicyTests(Block):
    """A file of tests."""

    policy: File | None = None
    """The configuration that is tested; by default X.yaml beside X.test.yaml."""
    tests: Listed[PolicyTest] = Field(min_length=1)
    """Write one entry per decision: name, binding, offer, answer, expect."""


def read_case(data: object, file: str) -> Case:
    """The case in parsed JSON. Raises ConfigErrors."""
    if not isinstance(data, dict):
        raise ConfigError("must hold one JSON object", file=file, hint='write {"direction": "offer-from-ue", "in": "v=0…", …}')
    return read_model(data, Case, Node(Place(file, 0), None), Path())


def read_sdp(key: str, text: str) -> Sdp:
    """The description that stands at `key`. Raises CaseError."""
    try:
        return parse_sdp_untrusted(text.encode())
    except UnicodeEncodeError:
        raise CaseError(key, "holds half of a surrogate pair", "write the character itself") from None
    except MalformedSdp as error:
        hint = error.hint or "an SDP begins with v=0, and every line is <letter>=<value>"
        raise CaseError(key, error.what, hint) from None
