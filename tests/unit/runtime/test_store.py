from __future__ import annotations

from dataclasses import replace

from pcscf.iq.media import Media
from pcscf.procedures.session import State
from pcscf.runtime.store import MemoryStore
from tests.unit.procedures.desk import FLOW, binding, session

MEDIA = Media("[192.0.2.1]:2945", 7, "ip/1/1/1", "ip/1/2/2")


def test_a_binding_is_found_by_token_and_by_flow() -> None:
    store = MemoryStore()
    store.save_binding(mine := binding())
    assert store.binding("b1") is mine
    assert store.bindings_on(FLOW) == store.bindings() == [mine]
    assert store.binding_count() == 1


def test_a_binding_that_moved_is_found_on_its_new_flow_only() -> None:
    store, elsewhere = MemoryStore(), FLOW._replace(connection=2)
    store.save_binding(binding())
    store.save_binding(moved := replace(binding(), flow=elsewhere))
    assert store.bindings_on(FLOW) == []
    assert store.bindings_on(elsewhere) == [moved]
    assert store.binding_count() == 1


def test_the_binding_saved_last_is_the_last_of_its_flow() -> None:
    store = MemoryStore()
    one, other = binding(), replace(binding(), token="b2")
    for each in (one, other, one):
        store.save_binding(each)
    assert store.bindings_on(FLOW) == [other, one]


def test_a_dropped_binding_is_gone_everywhere() -> None:
    store = MemoryStore()
    store.save_binding(binding())
    store.drop_binding("b1")
    store.drop_binding("b1")
    assert store.binding("b1") is None
    assert store.bindings_on(FLOW) == store.bindings() == []


def test_a_session_is_found_by_token_binding_and_context() -> None:
    store = MemoryStore()
    store.save_session(mine := session(media=MEDIA))
    assert store.session("s1") is mine
    assert store.sessions() == store.sessions_of("b1") == [mine]
    assert store.session_in(MEDIA.gateway, 7) is mine
    assert store.session_in(MEDIA.gateway, 8) is None
    assert store.session_in("[192.0.2.2]:2945", 7) is None


def test_a_session_that_gave_its_context_back_is_not_found_by_it() -> None:
    store = MemoryStore()
    store.save_session(mine := session(media=MEDIA))
    mine.media = None
    store.save_session(mine)
    assert store.session_in(MEDIA.gateway, 7) is None
    assert store.session("s1") is mine


def test_a_context_that_a_gateway_gave_out_anew_belongs_to_the_newer_session() -> None:
    store = MemoryStore()
    store.save_session(old := session(media=MEDIA))
    store.save_session(new := session("s2", media=MEDIA))
    old.media = None
    store.save_session(old)
    assert store.session_in(MEDIA.gateway, 7) is new
    store.drop_session("s2")
    store.drop_session("s1")
    assert store.session_in(MEDIA.gateway, 7) is None


def test_a_session_may_give_back_a_context_that_nobody_has_any_more() -> None:
    store = MemoryStore()
    store.save_session(session(media=MEDIA))
    store.save_session(session("s2", media=MEDIA))
    store.drop_session("s2")
    store.drop_session("s1")
    assert store.session_count() == 0


def test_a_dropped_session_is_gone_everywhere() -> None:
    store = MemoryStore()
    store.save_session(session(media=MEDIA))
    store.drop_session("s1")
    store.drop_session("s1")
    assert store.session("s1") is None
    assert store.sessions() == store.sessions_of("b1") == []
    assert store.session_in(MEDIA.gateway, 7) is None
    assert store.session_count() == 0


def test_a_session_that_has_ended_takes_no_place() -> None:
    store = MemoryStore()
    store.save_session(ended := session())
    store.save_session(session("s2"))
    ended.state = State.ENDED
    store.save_session(ended)
    assert store.session_count() == 1
    assert store.session("s1") is ended
    store.drop_session("s1")
    assert store.session_count() == 1
