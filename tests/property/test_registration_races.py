"""REGISTER, INVITE and de-REGISTER of one UE, in any order, with a core that takes its time: nothing may be left in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pcscf.procedures.session import State
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import parse_datagram_untrusted
from tests.support.flowbed import Bed
from tests.support.parties import Ue, answered, granted
from tests.support.virtual import run_virtually

LONG = 3000
DAWN = 330.0   # seconds after which whatever can still happen has happened

Act = Literal["register", "register plain", "leave", "invite"]


@dataclass(frozen=True)
class Step:
    """What the UE does after `pause`, and what the core says to it after `thought` (status 0: nothing at all)."""

    pause: float
    act: Act
    thought: float
    status: int


STEPS = st.builds(
    Step, pause=st.sampled_from([0.0, 0.004, 0.3, 2.0]), act=st.sampled_from(["register", "register plain", "leave", "invite"]),
    thought=st.sampled_from([0.0, 0.006, 0.5, 3.0, 9.0]), status=st.sampled_from([200, 200, 200, 401, 403, 0]))


@dataclass
class World:
    """The bed between a UE and a core that both act of their own accord."""

    bed: Bed
    steps: list[Step]
    thoughts: dict[str, Step] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    finals: Counter[str] = field(default_factory=Counter)
    known: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    last_granted: Request | None = None

    def __post_init__(self) -> None:
        self.ue = Ue(self.bed, self.bed.ue)
        self.bed.ue.receive = self.at_ue   # type: ignore[method-assign]
        self.bed.core.receive = self.at_core   # type: ignore[method-assign]

    async def play(self) -> None:
        for step in self.steps:
            await asyncio.sleep(step.pause)
            if step.act == "invite":
                self.ue.invite(call=f"call-{self.ue.cseq + 1}")
                self._expect("INVITE", step)
            else:
                self.ue.send_register(expires=0 if step.act == "leave" else LONG, more=self._security(step))
                self._expect("REGISTER", step)
        for _ in range(int(DAWN / 5)):
            await asyncio.sleep(5)
            self.bed.watch()

    def _expect(self, method: str, step: Step) -> None:
        key = f"{self.ue.cseq} {method}"
        self.asked.append(key)
        self.thoughts[key] = step

    def _security(self, step: Step) -> str:
        if step.act == "register plain":
            return ""
        client = "Security-Client: msrp-tls;mediasec\nRequire: mediasec\nProxy-Require: mediasec"
        return client + "".join(f"\nSecurity-Verify: {entry}" for entry in self.told)

    def at_ue(self, data: bytes) -> None:
        message = parse_datagram_untrusted(data)
        if isinstance(message, Request):
            self.ue.answer(message)
            return
        if message.status < 200:
            return
        key = f"{message.cseq[0]} {message.cseq[1]}"
        self.finals[key] += 1
        if message.cseq[1] == "REGISTER" and message.status in (200, 401, 494):
            self.told = message.get_all("Security-Server")
        elif message.cseq[1] == "INVITE" and message.status == 200:
            self._acknowledge(message)

    def _acknowledge(self, answer: Response) -> None:
        call_id, self.ue.call_id = self.ue.call_id, answer.call_id
        self.ue.in_dialog("ACK", answer)
        self.ue.call_id = call_id

    def at_core(self, data: bytes) -> None:
        message = parse_datagram_untrusted(data)
        if not isinstance(message, Request) or message.method == "ACK" or message.top_via.branch + message.method in self.known:
            return
        self.known.add(message.top_via.branch + message.method)
        step = self.thoughts.get(f"{message.cseq[0]} {message.method}")
        if step is None:   # BYE, CANCEL
            self.bed.core.send(response_to(message, 200, to_tag="far"))
        elif step.status:
            asyncio.get_running_loop().call_later(step.thought, self._say, message, step)

    def _say(self, message: Request, step: Step) -> None:
        if message.method == "INVITE":
            self.bed.core.send(answered(message, step.status, body="" if step.status != 200 else answered(message).body.decode()))
        elif step.status == 200:
            self.last_granted = message
            self.bed.core.send(granted(message, 0 if step.act == "leave" else LONG))
        else:
            self.bed.core.send(response_to(message, step.status, to_tag="core"))

    def check(self) -> None:
        bed, story = self.bed, self.bed.story()
        for key in self.asked:
            assert self.finals[key] == 1, f"{key} got {self.finals[key]} final responses\n{story}"
        living = [each for each in bed.store.sessions() if each.state is not State.ENDED]
        for session in living:
            assert session.state is State.CONFIRMED, story
            assert bed.store.binding(session.binding) is not None, story
        contexts = {each.media.context for each in living if each.media is not None}
        assert contexts == set(bed.gateway.table.contexts), story
        assert not bed.calls.invitations, story
        self._check_binding(story)

    def _check_binding(self, story: str) -> None:
        """The last 200 that came from the registrar is what holds."""
        bindings = self.bed.store.bindings()
        granted_last = self.last_granted
        if granted_last is None or granted_last.values("Contact")[0].endswith("expires=0"):
            assert bindings == [], story
            return
        (binding,) = bindings
        assert binding.is_registered(self.bed.ports.now()), story
        assert binding.attempt is None or binding.attempt.until <= self.bed.ports.now(), story
        step = self.thoughts[f"{granted_last.cseq[0]} REGISTER"]
        if step.act == "register plain":
            assert not binding.agreed.ue, story
            assert not binding.sent, story


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=1, max_size=9))
@example([Step(0.0, "register", 0.0, 200), Step(0.3, "leave", 0.0, 200), Step(0.004, "invite", 0.0, 200)])
@example([Step(0.0, "register", 3.0, 200), Step(0.3, "register plain", 0.0, 200)])
@example([Step(0.0, "register plain", 3.0, 200), Step(0.3, "register", 0.0, 401)])
@example([Step(0.0, "register", 0.0, 200), Step(0.3, "leave", 0.5, 200), Step(0.004, "register", 3.0, 200)])
@example([Step(0.0, "register", 0.0, 200), Step(0.3, "leave", 0.006, 200), Step(0.0, "invite", 3.0, 200)])
def test_no_race_leaves_anything_in_between(steps: list[Step]) -> None:
    async def run() -> None:
        bed = Bed()
        await bed.start()
        world = World(bed, steps)
        await world.play()
        world.check()
        await bed.close()

    run_virtually(run)
