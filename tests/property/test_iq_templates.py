"""A request that is written from a template is the one that the procedures make, whatever template was learnt from whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.h248.codec import write_actions, write_reply_actions
from pcscf.h248.message import Action
from pcscf.iq import procedures, templates
from pcscf.iq.media import Media, kind_of
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import Realms
from pcscf.iq.replies import hoped_reply
from pcscf.iq.supervision import DEFAULT_SUPERVISION, Supervision
from pcscf.iq.templates import Requests
from pcscf.mediasec.model import Direction, Leg, LinePlan, MediaPlan, Mode, StreamMedia
from tests.unit.iq.plans import GATEWAY_PRINT, answered_by_core, answered_by_ue, from_core, from_ue

PRINTS = [GATEWAY_PRINT, GATEWAY_PRINT[::-1], "00:" * 31 + "FF"]
HOSTS = {
    "IP4": ["192.0.2.1", "203.0.113.99", "1.1.1.1"], "IP6": ["2001:db8::1", "::1", "2001:db8::203.0.113.1"],
    "": ["ue.example", "a", "1.2.3.x"],
}  # fmt: skip
TLS_IDS = ["", "a" * 20, "b" * 30]
LITERALS = [*HOSTS["IP4"], *HOSTS["IP6"]]
REALMS = st.builds(Realms, st.just("gm"), st.just("mw"), st.sampled_from(["IP4", "IP6"]), st.sampled_from(["IP4", "IP6"]))
SUPERVISIONS = st.sampled_from([
    DEFAULT_SUPERVISION,
    Supervision(60, (("msrp", 30), ("audio", 20)), begins_tls=True),
    Supervision(1, (("fax", 7),), tcp_start="answer"),
    Supervision(tcp_start="interlinked"),
])

peers = st.tuples(st.sampled_from([each for hosts in HOSTS.values() for each in hosts]), st.integers(1, 65535))
prints = st.lists(st.tuples(st.sampled_from(["sha-256", "sha-512"]), st.sampled_from(PRINTS)), max_size=2).map(tuple)
setups = st.sampled_from(["", "active", "passive", "actpass", "holdconn"])
legs = st.builds(
    Leg,
    st.sampled_from([None, "accept", "connect"]), st.sampled_from([None, "server", "client"]), setups, setups,
    st.none() | peers, prints,
    st.sampled_from(["TCP", "TCP/TLS", "UDP", "UDP/DTLS", "RTP/AVP", "UDP/TLS/RTP/SAVPF"]),
    rtcp=st.none() | peers, rtcp_mux=st.sampled_from(["", "offered", "agreed"]), latched=st.booleans(),
    sources=st.lists(st.sampled_from(LITERALS), max_size=2).map(tuple), tls_id=st.sampled_from(TLS_IDS),
    peer_tls_id=st.sampled_from(TLS_IDS), path=st.sampled_from(["", "msrp://$:$/a;tcp"]),
    peer_path=st.sampled_from(["", "msrp://192.0.2.1:9/b;tcp"]),
)  # fmt: skip
streams = st.builds(
    StreamMedia, st.sampled_from(LITERALS), st.integers(1, 65535), prints, st.sampled_from([*TLS_IDS, "another"]))


def line(index: int) -> st.SearchStrategy[LinePlan]:
    medium = st.sampled_from([None, "msrp", "bfcp", "fax"])
    mode = st.sampled_from(["agnostic", "agnostic", "aware", ""])
    return st.builds(
        LinePlan, st.just(index), st.just(Mode.PLAIN), st.just(""), st.just(""), medium,
        st.sampled_from([True, True, True, False]), legs, legs, mode,
        connection=st.sampled_from([1, 1, 2]), kind=st.sampled_from(["audio", "video"]),
    )  # fmt: skip


plans = st.integers(1, 3).flatmap(lambda count: st.tuples(*map(line, range(count)))).flatmap(
    lambda lines: st.builds(MediaPlan, st.just(Direction.OFFER_FROM_UE), st.just(lines), settled=st.booleans()))


@st.composite
def media_of(draw: st.DrawFn, plan: MediaPlan) -> Media:
    """What a gateway has, of these lines or nearly."""
    places = [each.index for each in plan.lines if each.gateway] + draw(st.sampled_from([[], [], [], [1], [7]]))
    clients = st.frozensets(st.sampled_from([0, 1, 2]))
    told = st.dictionaries(st.sampled_from([0, 1, 2]), setups)
    kinds = {each.index: kind_of(each.access.transport) for each in plan.lines if each.gateway and each.access is not None}
    latched = {
        each.index: draw(st.sampled_from([(each.access.peer_address, each.access.sources), (None, ())]))
        for each in plan.lines if each.access is not None and each.access.latched and draw(st.booleans())
    }  # fmt: skip
    protected = {
        each.index: (bool(each.access and "TLS" in each.access.transport), bool(each.core and "TLS" in each.core.transport))
        for each in plan.lines
    }
    access, core = (
        {place: fitting(draw(streams), protected.get(place, (False, False))[side]) for place in places} for side in (0, 1))
    return Media(
        "mg", draw(st.integers(1, 99)), "ip/1/gm/1", "ip/1/mw/2", access, core, draw(told), draw(told), draw(clients),
        draw(st.sampled_from([{}, {0: 2}])), draw(clients), {place: kinds.get(place, "TCP") for place in places}, latched,
        draw(st.frozensets(st.tuples(st.sampled_from(["access", "core"]), st.sampled_from([0, 1])))),
    )  # fmt: skip


def fitting(stream: StreamMedia, is_protected: bool) -> StreamMedia:
    return replace(stream, fingerprints=stream.fingerprints or (("sha-256", PRINTS[0]),)) if is_protected else stream


def otherwise(leg: Leg | None, by: int) -> Leg | None:
    """The same kind of leg with other values."""
    if leg is None:
        return None

    def peer(one: tuple[str, int] | None) -> tuple[str, int] | None:
        if one is None:
            return None
        same = next(hosts for hosts in HOSTS.values() if one[0] in hosts)
        return same[(same.index(one[0]) + by) % 3], (one[1] + by) % 65535 + 1

    def other_id(value: str) -> str:
        return value[::-1] + "x" * by if value else ""

    return replace(
        leg, peer_address=peer(leg.peer_address), rtcp=peer(leg.rtcp), tls_id=other_id(leg.tls_id),
        peer_tls_id=other_id(leg.peer_tls_id), sources=tuple(peer((each, 1))[0] for each in leg.sources),  # type: ignore[index]
        peer_fingerprints=tuple((name, PRINTS[(PRINTS.index(value) + by) % 3]) for name, value in leg.peer_fingerprints),
    )  # fmt: skip


def alike(plan: MediaPlan, by: int) -> MediaPlan:
    lines = [replace(each, access=otherwise(each.access, by), core=otherwise(each.core, by)) for each in plan.lines]
    return replace(plan, lines=tuple(lines))


def written(actions: tuple[Action, ...]) -> tuple[str, str]:
    """A request, and the reply in which nothing is to be read."""
    hoped = hoped_reply(actions)
    return write_actions(actions), write_reply_actions(hoped) if hoped is not None else ""


def has_lines(plan: MediaPlan) -> bool:
    return procedures.needs_gateway(plan)


KNOWN = [Requests(DEFAULT_SUPERVISION), Requests(DEFAULT_SUPERVISION)]   # what they learn from one example they use in others


@given(plans.filter(has_lines), REALMS, SUPERVISIONS, st.sampled_from(Urgency), st.integers(1, 2))
def test_reserve(plan: MediaPlan, realms: Realms, supervision: Supervision, urgency: Urgency, by: int) -> None:
    requests = Requests(supervision)
    for each in (plan, alike(plan, by), plan):
        exact = written(procedures.reserve(each, realms, supervision, urgency))
        assert requests.reserve(each, realms, urgency) == exact
        assert KNOWN[0].reserve(each, realms, urgency) == written(
            procedures.reserve(each, realms, DEFAULT_SUPERVISION, urgency))


@given(plans.flatmap(lambda plan: st.tuples(st.just(plan), media_of(plan))), SUPERVISIONS, st.integers(1, 2))
def test_configure(given_: tuple[MediaPlan, Media], supervision: Supervision, by: int) -> None:
    plan, media = given_
    requests = Requests(supervision)
    for each in (plan, alike(plan, by), plan):
        for has in (media, replace(media, context=7, access_termination="ip/9/a/1"), media):
            exact = written(procedures.configure(has, each, supervision))
            assert requests.configure(has, each) == exact
            assert KNOWN[1].configure(has, each) == written(procedures.configure(has, each))


@given(st.integers(1, 0xFFFFFFFD))
def test_release(context: int) -> None:
    assert KNOWN[0].release(context) == written(procedures.release(context))


def never(*_: object, **__: object) -> object:
    raise AssertionError("it was written from its records")


CALLS = {
    "active": (from_ue("active"), answered_by_core(from_ue("active"))),
    "passive": (from_ue("passive"), answered_by_core(from_ue("passive"), "active")),
    "from core": (from_core(), answered_by_ue(from_core(), "active")),
}


@pytest.mark.parametrize(("plan", "settled"), CALLS.values(), ids=CALLS)
def test_the_second_call_of_a_kind_makes_no_records(
    plan: MediaPlan, settled: MediaPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(DEFAULT_SUPERVISION)
    protected = StreamMedia("203.0.113.7", 30010, (("sha-256", GATEWAY_PRINT),))
    media = Media(
        "mg", 5, "ip/1/gm/1", "ip/1/mw/1", {0: protected}, {0: StreamMedia("198.51.100.7", 41010)}, {0: "passive"}, {0: "active"},
        kinds={0: "TCP"},
    )  # fmt: skip
    exact = written(procedures.reserve(plan, Realms())), written(procedures.configure(media, settled))
    for time in range(2):
        told = requests.reserve(plan, Realms(), Urgency.NORMAL), requests.configure(media, settled)
        assert told == exact
        assert requests.release(time) == written(procedures.release(time))
        for name in ("reserve", "configure") if not time else ():
            monkeypatch.setattr(templates.procedures, name, never)


def test_a_value_that_must_be_escaped_is_left_to_the_encoder() -> None:
    requests = Requests(DEFAULT_SUPERVISION)
    for host in ("ue.example", "}}}},A=x{M{", "ue.example", "}"):
        line, = from_ue().lines
        assert line.access is not None
        plan = replace(from_ue(), lines=(replace(line, access=replace(line.access, peer_address=(host, 9))),))
        assert requests.reserve(plan, Realms(), Urgency.NORMAL) == written(procedures.reserve(plan, Realms()))


def test_no_more_templates_are_kept_than_allowed() -> None:
    requests = Requests(DEFAULT_SUPERVISION)
    for number in range(2 * templates.MAX_TEMPLATES):
        requests.reserve(from_ue(), Realms(access=f"realm{number}"), Urgency.NORMAL)
    assert 0 < len(requests._templates) <= templates.MAX_TEMPLATES
