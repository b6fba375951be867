"""`scenario.yaml`: what is played, and what must have been seen. Counts are per call, so that a load test reads like one call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pcscf.config.values import Block, Count, File, Listed, Name, OneOrMore, Seconds, fault

Role = Literal["ue", "ue2", "core"]
Number = Annotated[int, Field(ge=0, le=1000)]

_SELECTOR = re.compile(r"any|[A-Z]{3,12}|[1-6][0-9]{2}(?: [A-Z]{3,12})?")
_SETTING = re.compile(r"[^=\s]+=.*", re.DOTALL)


def _selector(text: str) -> str:
    if not _SELECTOR.fullmatch(text):
        raise fault(f"{text!r} names no message", "write a method (INVITE), a status (487), both (200 REGISTER), or any")
    return text


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise fault(f"there is no file {file}", "write the name of a SIPp file beside this one")
    return file


def _setting(text: str) -> str:
    if not _SETTING.fullmatch(text):
        raise fault(f"{text!r} is not KEY.PATH=VALUE", "write as after --set, e.g. realms.core.timers.t1=0.05")
    return text


Selector = Annotated[str, AfterValidator(_selector)]


class Moment(Block):
    """A message as one of the far ends saw it."""

    at: Role
    """Write ue, ue2 or core: who saw it."""
    receives: Selector | None = None
    """A method, a status, both (`200 REGISTER`), or any."""
    sends: Selector | None = None
    """As `receives`, for what it sent itself."""

    @model_validator(mode="after")
    def _one_way(self) -> Moment:
        if (self.receives is None) == (self.sends is None):
            raise fault("names no direction, or both", "write either receives or sends")
        return self

    @property
    def selector(self) -> str:
        return self.receives or self.sends or ""


class Messages(Moment):
    """Messages that one of the far ends saw, and what must be true of each."""

    having: Annotated[str, Field(min_length=1)] | None = None
    """Only those messages that have a line like this one; * stands for any text, ? for one character."""
    times: Number | None = None
    """How many of them per call; a retransmission is the same message."""
    contains: OneOrMore[str] = ()
    """Lines that each of them has; * stands for any text, ? for one character."""
    lacks: OneOrMore[str] = ()
    """Lines that none of them has; * and ? as above."""

    @model_validator(mode="after")
    def _something(self) -> Messages:
        if self.times is None and not self.contains and not self.lacks:
            raise fault("claims nothing", "write at least one of times, contains, lacks")
        if self.times == 0 and (self.contains or self.lacks):
            raise fault("claims something about lines of messages that are not there", "leave contains and lacks out")
        return self


class Gateway(Block):
    """What the gateway confirmed on Iq, per call."""

    contexts: Number | None = None
    """Contexts that it made."""
    add: Number | None = None
    """Terminations that it added."""
    modify: Number | None = None
    """Terminations that it modified."""
    subtract: Number | None = None
    """Subtract commands that it confirmed; one may stand for a whole context."""
    heard: Number | None = None
    """Streams, counted on each side, on which the gateway heard something before they ended."""
    left: Literal[0] | None = None
    """0: nothing is left of them at the end."""

    @model_validator(mode="after")
    def _something(self) -> Gateway:
        if not self.model_fields_set:
            raise fault("claims nothing", "write at least one of contexts, add, modify, subtract, heard, left")
        return self


class Claim(Block):
    """One sentence, and how it is checked: by `message`, `gateway` or `leaks`."""

    says: Annotated[str, Field(min_length=1)]
    """Write what is claimed, as a sentence."""
    message: Messages | None = None
    """SIP as the far ends saw it: {at, receives or sends, having, times, contains, lacks}."""
    gateway: Gateway | None = None
    """The gateway's part: {contexts, add, modify, subtract, heard, left}."""
    leaks: Literal["none"] | None = None
    """none: no Security-* field, sec-agree, mediasec, fingerprint or 3ge2ae came to the core, in any message."""

    @model_validator(mode="after")
    def _one_proof(self) -> Claim:
        if sum(each is not None for each in (self.message, self.gateway, self.leaks)) != 1:
            raise fault("is checked by nothing, or in several ways", "write one of message, gateway, leaks")
        return self


class Player(Block):
    """A far end: SIPp with a file, or the core of the lab."""

    role: Role = Field(alias="as")
    """Write ue, ue2 or core."""
    sipp: Annotated[File, AfterValidator(_existing)] | None = None
    """The SIPp file that it plays."""
    lab: Literal["core"] | None = None
    """core: a registrar with digest, and a proxy."""
    users: Listed[Name] = ()
    """With lab: who may register."""
    idle: bool = False
    """With sipp: nothing may come; it is ended with the scenario."""
    rtp_echo: bool = False
    """With sipp: what comes to its [media_port] is sent back."""
    after: Moment | None = None
    """Started when this was seen; else as soon as the one before is there."""

    @model_validator(mode="after")
    def _one_kind(self) -> Player:
        if (self.sipp is None) == (self.lab is None):
            raise fault("plays nothing, or two things", "write either sipp: FILE or lab: core")
        if self.lab is not None and (self.role != "core" or not self.users or self.idle or self.rtp_echo):
            raise fault("the lab's core is the core, and has users", "write {lab: core, as: core, users: […]}")
        if self.sipp is not None and self.users:
            raise fault("SIPp takes its users from its file", "leave users out")
        return self


class Fault(Block):
    """What is done to the system in the middle of it."""

    kill: Literal["gateway"]
    """Write gateway: the embedded gateway gets SIGKILL."""
    after: Moment
    """Write when: {at, receives or sends}."""


class Load(Block):
    """How many calls, and how fast."""

    calls: Annotated[Count, Field(le=100_000)]
    """Write the number of calls."""
    rate: Annotated[Count, Field(le=10_000)]
    """Write how many are begun per second."""
    ceiling: Annotated[Count, Field(le=100_000)]
    """Write how many may be under way at the same time."""


ONE_CALL = Load(calls=1, rate=1, ceiling=1)


class Scenario(Block):
    """One scenario: far ends, what happens, and what must come of it."""

    title: str
    """Write in a few words what it is about."""
    about: str
    """Write in words what happens and what is checked."""
    settings: Listed[Annotated[str, AfterValidator(_setting)]] = Field(default=(), alias="set")
    """Overrides of policies/lab.yaml, each as after --set."""
    start: Annotated[Listed[Player], Field(min_length=1)]
    """Write the far ends, in the order in which they are started."""
    fault: Fault | None = None
    """Something that is done to the system in the middle of it."""
    load: Load | None = None
    """Many calls; one where this is left out."""
    patience: Seconds = 20.0
    """How long one call may take."""
    checks: Annotated[Listed[Claim], Field(min_length=1)]
    """Write what must hold."""

    @model_validator(mode="after")
    def _cast_is_complete(self) -> Scenario:
        cast = [player.role for player in self.start]
        if len(set(cast)) != len(cast) or "core" not in cast or all(player.sipp is None for player in self.start):
            raise fault("the cast is not complete", "start the core, at least one SIPp, and everybody once")
        for role, where in self._roles():
            if role not in cast:
                raise fault(f"{where}: nobody plays {role}", f"write one of {', '.join(cast)}, or start it")
        return self

    def _roles(self) -> Iterator[tuple[Role, str]]:
        for index, claim in enumerate(self.checks):
            if claim.message is not None:
                yield claim.message.at, f"checks.{index}"
        for index, player in enumerate(self.start):
            if player.after is not None:
                yield player.after.at, f"start.{index}"
        if self.fault is not None:
            yield self.fault.after.at, "fault"

    @property
    def amount(self) -> Load:
        return self.load or ONE_CALL
