"""Sequences of offers and answers through the whole P-CSCF and a gateway, checked against a model that knows neither.

A session is opened, changed, refused, forked and ended in any order. The model keeps what both ends have agreed, slot by slot,
from what each wrote itself. After each step the gateway must have exactly that: one stream for each slot in use, with the
certificate of the UE that is right now, and none that is open beside them. Whatever one end writes bears marks of its own, so
that a leak is a mark in the wrong text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pcscf.h248.message import Mode
from pcscf.iq.media import line_of
from tests.support.audit import left_over
from tests.support.flowbed import Bed
from tests.support.ladder import Ladder
from tests.support.plays import PLACES
from tests.support.virtual import VirtualLoop

UE_HOST, CORE_HOST = "192.0.2.10", "198.51.100.50"
ASSOCIATION = "association-of-the-terminal-"
MECHANISMS = ("msrp-tls", "bfcp-tls", "udptl-dtls")
PROTOS = {
    "message": ("TCP/MSRP", "TCP/TLS/MSRP", "*"), "application": ("TCP/BFCP", "TCP/TLS/BFCP", "*"),
    "image": ("udptl", "UDP/TLS/UDPTL", "t38"),
}
ANSWERS = {"actpass": ("active", "passive"), "active": ("passive",), "passive": ("active",)}


@dataclass(frozen=True)
class Slot:
    """One m-line as one end writes it."""

    media: str
    secure: bool = False
    is_open: bool = True
    cema: bool = True
    certificate: str = ""


@dataclass
class Agreement:
    """What a dialog stands at: what the UE and the core said last, of each slot that both have open."""

    ue: dict[int, Slot] = field(default_factory=dict)
    core: dict[int, Slot] = field(default_factory=dict)


def certificate(number: int) -> str:
    return f"{number:02X}:" + ":".join(["A5"] * 31)


def description(side: str, slots: list[Slot], port: int, setups: list[str], *, is_offer: bool) -> str:
    """What an end writes. `port` of the first slot; a mark of its own in every line that is its own business."""
    host = UE_HOST if side == "ue" else CORE_HOST
    lines = ["v=0", f"o=- {1 if side == 'ue' else 2} 1 IN IP4 host.invalid", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    for index, (slot, setup) in enumerate(zip(slots, setups, strict=True)):
        plain, secure, formats = PROTOS[slot.media]
        at = port + 2 * index if slot.is_open else 0
        lines.append(f"m={slot.media} {at} {secure if slot.secure else plain} {formats}")
        if not slot.is_open:
            continue
        if slot.media == "message":
            lines += [f"a=path:msrp{'s' if slot.secure else ''}://{host}:{at}/{side}{index};tcp", "a=accept-types:*"]
            lines += ["a=msrp-cema"] if slot.cema else []
        if slot.media != "image" or slot.secure:
            lines.append(f"a=setup:{setup}")
        if slot.secure:
            lines.append(f"a=fingerprint:sha-256 {slot.certificate}")
            lines += ["a=3ge2ae:requested"] if is_offer else []
            lines += [f"a=tls-id:{ASSOCIATION}{slot.certificate[:2]}"] if slot.media == "image" else []
    return "\r\n".join((*lines, ""))


def lines_of(text: str) -> list[tuple[str, int, str, str]]:
    """(media, port, proto, a=setup) of every m-line."""
    found = []
    for section in re.split(r"(?m)^m=", text)[1:]:
        media, port, proto = section.split()[:3]
        setup = re.search(r"(?m)^a=setup:(\w+)", section)
        found.append((media, int(port), proto, setup[1] if setup else ""))
    return found


SLOT = st.builds(Slot, st.sampled_from(sorted(PROTOS)), secure=st.sampled_from([True, True, True, False]), cema=st.booleans())
SLOTS = st.lists(SLOT, min_size=1, max_size=3)
SETUPS = st.lists(st.sampled_from(["active", "passive", "actpass"]), min_size=4, max_size=4)
CHOICES = st.lists(st.booleans(), min_size=4, max_size=4)


class Negotiations(RuleBasedStateMachine):
    """Where the call runs, and what both ends have said."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.state = "idle"
        self.slots: list[Slot] = []          # as the last complete exchange left them: media and order are both ends'
        self.dialogs: dict[str, Agreement] = {}
        self.served = ""                     # the dialog that the gateway must serve; "" before any answer
        self.offered: dict[int, Slot] = {}   # open slots of the INVITE
        self.certificate = 1
        self.port = 50000

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def climb(self, text: str) -> None:
        self.do(self.ladder.climb(text))

    @initialize(place=st.sampled_from(["from-ue", "to-ue"]))
    def begin(self, place: str) -> None:
        async def start() -> Ladder:
            bed = Bed(mechanisms=MECHANISMS)
            await bed.start()
            return Ladder(await PLACES[place](bed))

        self.sides = {"caller": "ue", "callee": "core"} if place == "from-ue" else {"caller": "core", "callee": "ue"}
        self.ladder: Ladder = self.do(start())
        self.bed = self.ladder.play.bed

    # --- what ends write ---------------------------------------------------------------------------------------------

    def written(self, side: str, slots: list[Slot], setups: list[str], *, is_offer: bool) -> str:
        """A description of `side`, which protects what it can when it is the UE; kept as the body "said"."""
        self.port += 20
        text = description(side, slots, self.port if side == "ue" else self.port + 10000, setups, is_offer=is_offer)
        self.ladder.bodies["said"] = text
        return text

    def as_ue(self, slots: list[Slot]) -> list[Slot]:
        return [replace(slot, certificate=certificate(self.certificate)) if slot.secure else slot for slot in slots]

    def offer_of(self, side: str, slots: list[Slot], setups: list[str]) -> list[Slot]:
        offered = self.as_ue(slots) if side == "ue" else [replace(slot, secure=False) for slot in slots]
        self.written(side, offered, [self._offered_setup(*each) for each in zip(offered, setups, strict=False)], is_offer=True)
        return offered

    @staticmethod
    def _offered_setup(slot: Slot, setup: str) -> str:
        return "active" if slot.media == "message" and setup == "passive" else setup   # RFC 6135 §4.2.1

    def answer_of(self, side: str, heard: str, takes: list[bool], setups: list[str]) -> list[Slot]:
        """An answer that fits what `side` heard: same protos, legal roles, some lines declined."""
        got = lines_of(heard)
        slots, roles = [], []
        for (media, port, proto, setup), take, wish in zip(got, takes, setups, strict=False):
            secure = "TLS" in proto
            assert not (secure and side == "core"), heard
            cema = "a=msrp-cema" in heard
            slots.append(Slot(media, secure, port != 0 and take, cema, certificate(self.certificate) if secure else ""))
            legal = ANSWERS.get(setup, ("active", "passive"))
            roles.append(wish if wish in legal else legal[0])
        self.written(side, slots, roles, is_offer=False)
        return slots

    def heard(self, who: str, what: str) -> str:
        return self.ladder.description(who, what)

    # --- what was agreed ---------------------------------------------------------------------------------------------

    def agree(self, tag: str, offerer: str, offer: list[Slot], answer: list[Slot]) -> None:
        sides = {offerer: offer, "core" if offerer == "ue" else "ue": answer}
        both = [index for index, (one, other) in enumerate(zip(offer, answer, strict=True)) if one.is_open and other.is_open]
        self.dialogs[tag] = Agreement({each: sides["ue"][each] for each in both}, {each: sides["core"][each] for each in both})
        self.served = tag
        self.slots = [replace(sides["ue"][index], is_open=index in both) for index in range(len(offer))]

    # --- the call is made --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.state == "idle")
    @rule(slots=SLOTS, setups=SETUPS)
    def invite(self, slots: list[Slot], setups: list[str]) -> None:
        self.offer = self.offer_of(self.sides["caller"], slots, setups)
        self.climb("caller: INVITE (said)")
        self.state = "ringing"

    @precondition(lambda self: self.state == "ringing")
    @rule(tag=st.sampled_from(["one", "two"]), takes=CHOICES, setups=SETUPS)
    def answer_early(self, tag: str, takes: list[bool], setups: list[str]) -> None:
        if tag in self.dialogs:
            return
        answer = self.answer_of(self.sides["callee"], self.heard("callee", "INVITE"), takes, setups)
        self.ladder.tag = tag
        self.climb("callee: 183 INVITE reliable (said)\ncaller: PRACK\ncallee: 200 PRACK")
        before = self.served
        self.agree(tag, self.sides["caller"], self.offer, answer)
        if not self.dialogs[tag].ue:
            self.served = before   # who declines everything takes the gateway from nobody

    @precondition(lambda self: self.state == "ringing")
    @rule(tag=st.sampled_from(["one", "two"]), takes=CHOICES, setups=SETUPS)
    def accept(self, tag: str, takes: list[bool], setups: list[str]) -> None:
        self.ladder.tag = tag
        if tag in self.dialogs:
            self.climb("callee: 200 INVITE\ncaller: ACK")
            agreed = self.dialogs[tag]
            self.slots = [replace(slot, is_open=index in agreed.ue) for index, slot in enumerate(self.offer)]
        else:
            answer = self.answer_of(self.sides["callee"], self.heard("callee", "INVITE"), takes, setups)
            self.climb("callee: 200 INVITE (said)\ncaller: ACK")
            self.agree(tag, self.sides["caller"], self.offer, answer)
        self.dialogs = {tag: self.dialogs[tag]}
        self.served, self.state = tag, "talking"
        self.slots = [replace(slot, secure=True) for slot in self.slots] if self.sides["caller"] == "core" else self.slots

    @precondition(lambda self: self.state == "ringing" and len(self.dialogs) == 2)
    @rule()
    def a_fork_ends(self) -> None:
        gone = self.ladder.tag
        self.climb("callee: 199 INVITE")
        del self.dialogs[gone]
        (left,) = self.dialogs
        self.served = left if self.dialogs[left].ue else ""
        self.ended = gone
        self.ladder.tag = left
        self.state = "ringing alone"

    @precondition(lambda self: self.state == "ringing alone")
    @rule()
    def the_other_accepts(self) -> None:
        self.climb("callee: 200 INVITE\ncaller: ACK")
        (self.served,) = self.dialogs
        agreed = self.dialogs[self.served]
        self.slots = [replace(slot, secure=slot.secure or self.sides["caller"] == "core", is_open=index in agreed.ue)
                      for index, slot in enumerate(self.offer)]  # fmt: skip
        self.state = "talking"

    @precondition(lambda self: self.state == "ringing")
    @rule(status=st.sampled_from([302, 486, 488, 603]))
    def refuse(self, status: int) -> None:
        self.climb(f"callee: {status} INVITE")
        self.state = "over"

    # --- and changed -------------------------------------------------------------------------------------------------

    def changed(self, slots: list[Slot], data: st.DataObject) -> list[Slot]:
        """Close one, open one (as what it was, or as another medium), add one, protect or not."""
        slots = list(slots)
        index = data.draw(st.integers(0, len(slots)))
        if index == len(slots):
            return [*slots, data.draw(SLOT)] if len(slots) < 3 else slots
        slot = slots[index]
        if slot.is_open:
            closing = data.draw(st.booleans())
            slots[index] = replace(slot, is_open=not closing, secure=slot.secure or data.draw(st.booleans()))
        else:
            slots[index] = replace(data.draw(SLOT), is_open=True)
        return slots

    @precondition(lambda self: self.state == "talking")
    @rule(
        who=st.sampled_from(["caller", "callee"]), method=st.sampled_from(["INVITE", "UPDATE"]), data=st.data(), takes=CHOICES,
        setups=SETUPS, roll=st.booleans(), refusal=st.sampled_from([0, 0, 488, 491, 500]), refresh=st.booleans())
    def change(
        self, who: str, method: str, data: st.DataObject, takes: list[bool], setups: list[str], roll: bool, refusal: int,
        refresh: bool,
    ) -> None:
        side, other = self.sides[who], "callee" if who == "caller" else "caller"
        kept = self.certificate
        if roll and side == "ue":
            self.certificate += 1
        offer = self.offer_of(side, self.slots if refresh else self.changed(self.slots, data), setups)
        self.climb(f"{who}: {method} (said)")
        if refusal:
            self.climb(f"{other}: {refusal} {method}")
            self.certificate = kept
            return
        answer = self.answer_of(self.sides[other], self.heard(other, method), takes, setups)
        self.climb(f"{other}: 200 {method} (said)" + (f"\n{who}: ACK" if method == "INVITE" else ""))
        self.agree(self.ladder.tag, side, offer, answer)

    @precondition(lambda self: self.state == "talking" and any(slot.is_open for slot in self.slots))
    @rule(
        method=st.sampled_from(["INVITE", "UPDATE"]), takes=CHOICES, setups=SETUPS, which=st.integers(0, 2),
        way=st.sampled_from(["plain", "no certificate", "illegal setup"]))
    def the_ue_drops_protection(self, method: str, takes: list[bool], setups: list[str], which: int, way: str) -> None:
        """CA3 to CA5: the line is dead, and the session with it where no other lives."""
        who, other = ("caller", "callee") if self.sides["callee"] == "ue" else ("callee", "caller")
        offer = self.offer_of("core", self.slots, setups)
        self.climb(f"{who}: {method} (said)")
        at = [index for index, slot in enumerate(self.slots) if slot.is_open]
        dropped = at[which % len(at)]
        takes = [take or index == dropped for index, take in enumerate(takes)]
        answer = self.answer_of("ue", self.heard(other, method), takes, setups)
        self.ladder.bodies["said"] = _without_protection(str(self.ladder.bodies["said"]), dropped, way)
        answer[dropped] = replace(answer[dropped], is_open=False)
        acknowledged = f"\n{who}: ACK" if method == "INVITE" else ""
        if any(slot.is_open for slot in answer):
            self.climb(f"{other}: 200 {method} (said){acknowledged}")
            self.agree(self.ladder.tag, "core", offer, answer)
            return
        self.climb(f"{other}: 200 {method} (said) !\npcscf: 488 {method} {who}")
        self.climb("pcscf: BYE caller\npcscf: BYE callee")
        self.state = "over"

    @precondition(lambda self: self.state == "talking")
    @rule(who=st.sampled_from(["caller", "callee"]))
    def hang_up(self, who: str) -> None:
        self.climb(f"{who}: BYE\n{'callee' if who == 'caller' else 'caller'}: 200 BYE")
        self.state = "over"

    @precondition(lambda self: self.state == "over")
    @rule()
    def call_again(self) -> None:
        left = self.do(left_over(self.ladder.play))
        assert not left
        self.ladder = Ladder(self.ladder.play)
        self.slots, self.dialogs, self.served, self.state = [], {}, "", "idle"

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_leaks(self) -> None:
        if self.state == "idle":
            return
        ue, core = (self.ladder.end(who).peer for who in sorted(self.sides, key=lambda who: self.sides[who] != "ue"))
        for message in ue.seen:
            text = _shown(message.body.decode())
            assert CORE_HOST not in text, text
            assert "3ge2ae:requested" not in text
        for message in core.seen:
            text = _shown(message.body.decode())
            assert UE_HOST not in text, text
            for mark in ("fingerprint", "3ge2ae", "tls-id", ASSOCIATION, "TLS"):
                assert mark not in text, text

    @invariant()
    def the_gateway_has_what_was_agreed(self) -> None:
        if self.state == "over":
            self.do(asyncio.sleep(5))
            assert not self.bed.gateway.table.contexts
            return
        agreed = self.dialogs.get(self.served)
        if agreed is None:
            return   # nobody has answered: what was offered is reserved
        contexts = list(self.bed.gateway.table.contexts.values())
        if not agreed.ue and self.state == "talking":
            assert contexts == []
            return
        (context,) = contexts
        terminations = {each.realm: each for each in context.terminations.values()}
        for realm, said in (("access", agreed.ue), ("core", agreed.core)):
            streams = {number: each for number, each in terminations[realm].streams.items() if each.mode is not Mode.INACTIVE}
            in_use = sorted(line_of(number) for number in streams)
            assert in_use == sorted(said), realm   # one for each slot, and none beside them
            for number, stream in streams.items():
                index, slot = line_of(number), said[line_of(number)]
                assert stream.local.secure == (slot.secure and realm == "access"), (index, realm)
                assert stream.local.datagram == (slot.media == "image"), (index, realm)
                assert stream.remote is not None
                expected = [slot.certificate] if slot.secure and realm == "access" else []
                assert [each.value for each in stream.remote.fingerprints] == expected, (index, realm)
                assert stream.remote.target is not None
                assert stream.remote.target[0] == (UE_HOST if realm == "access" else CORE_HOST)

    def teardown(self) -> None:
        async def end() -> list[str]:
            left = await left_over(self.ladder.play)
            await self.bed.close()
            return left

        if hasattr(self, "ladder"):
            if self.state in {"ringing", "ringing alone"}:
                self.climb("callee: 486 INVITE")
            elif self.state == "talking":
                self.climb("caller: BYE\ncallee: 200 BYE")
            left = self.do(end())
            assert not left, "\n".join([*left, "", self.bed.story()])
        self.runner.close()


def _without_protection(answer: str, index: int, way: str) -> str:
    """The answer with the protection of one line given up."""
    head, *sections = re.split(r"(?m)^(?=m=)", answer)
    lost = sections[index]
    if way == "plain":
        for plain, secure, _ in PROTOS.values():
            lost = lost.replace(f" {secure} ", f" {plain} ")
    elif way == "no certificate":
        lost = re.sub(r"(?m)^a=fingerprint:.*\n", "", lost)
    else:
        lost = re.sub(r"(?m)^a=setup:.*$", "a=setup:actpass\r", lost)
    return "".join((head, *sections[:index], lost, *sections[index + 1:]))


def _shown(text: str) -> str:
    """What must not show where the other end is: CEMA leaves a=path as it was written (RFC 6714 §4.2), and where every line is
    closed c= says nothing.
    """
    if all(port == 0 for _, port, _, _ in lines_of(text)):
        text = re.sub(r"(?m)^c=.*$", "", text)
    return re.sub(r"(?m)^a=path:.*$", "", text) if "a=msrp-cema" in text else text


TestNegotiations = Negotiations.TestCase
TestNegotiations.settings = settings(max_examples=40, stateful_step_count=12)
