"""The store against a model that has no index at all and looks at everything each time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pcscf.iq.media import Media
from pcscf.procedures.binding import Binding
from pcscf.procedures.session import Session, State
from pcscf.runtime.store import MemoryStore
from tests.unit.procedures.desk import FLOW, binding, session

NAMES = st.sampled_from("abc")
FLOWS = [FLOW._replace(connection=number) for number in range(3)]
PLACES = [(gateway, context) for gateway in ("g", "h") for context in (1, 2)]


class StoreMachine(RuleBasedStateMachine):
    """`moves`: which session came to which context, in order. The last to come holds it while it stays."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.bindings: dict[str, Binding] = {}
        self.sessions: dict[str, Session] = {}
        self.places: dict[str, tuple[str, int] | None] = {}
        self.moves: list[tuple[tuple[str, int] | None, str]] = []

    @rule(token=NAMES, flow=st.sampled_from(FLOWS))
    def save_binding(self, token: str, flow: object) -> None:
        saved = replace(binding(), token=token, flow=flow)
        self.bindings.pop(token, None)
        self.bindings[token] = saved
        self.store.save_binding(saved)

    @rule(token=NAMES)
    def drop_binding(self, token: str) -> None:
        self.bindings.pop(token, None)
        self.store.drop_binding(token)

    @rule(token=NAMES, place=st.sampled_from([None, *PLACES]))
    def save_session(self, token: str, place: tuple[str, int] | None) -> None:
        media = Media(*place, "ip/1/1/1", "ip/1/2/2") if place is not None else None
        saved = self.sessions.get(token) or session(token, binding=f"binding of {token in 'ab'}")
        saved.media = media
        self.sessions[token] = saved
        self.move(token, place)
        self.store.save_session(saved)

    @rule(token=NAMES)
    def end_session(self, token: str) -> None:
        ended = self.sessions.get(token)
        if ended is not None:
            ended.state = State.ENDED
            self.store.save_session(ended)

    @rule(token=NAMES)
    def drop_session(self, token: str) -> None:
        self.sessions.pop(token, None)
        self.move(token, None)
        self.store.drop_session(token)

    def move(self, token: str, place: tuple[str, int] | None) -> None:
        if self.places.get(token) != place:
            self.places[token] = place
            self.moves.append((place, token))

    def holder(self, place: tuple[str, int]) -> str | None:
        last = next((token for came_to, token in reversed(self.moves) if came_to == place), None)
        return last if last is not None and self.places[last] == place else None

    @invariant()
    def every_key_finds_what_the_model_finds(self) -> None:
        store = self.store
        assert store.bindings() == list(self.bindings.values())
        assert store.binding_count() == len(self.bindings)
        for flow in FLOWS:
            assert store.bindings_on(flow) == [each for each in self.bindings.values() if each.flow == flow]
        for name in "abc":
            assert store.binding(name) is self.bindings.get(name)
            assert store.session(name) is self.sessions.get(name)
        assert store.session_count() == sum(each.state is not State.ENDED for each in self.sessions.values())
        assert {each.token for each in store.sessions()} == set(self.sessions)
        for of in ("binding of True", "binding of False"):
            assert {each.token for each in store.sessions_of(of)} == {
                each.token for each in self.sessions.values() if each.binding == of}
        for place in PLACES:
            found = store.session_in(*place)
            assert (found.token if found is not None else None) == self.holder(place)


TestStore = StoreMachine.TestCase
