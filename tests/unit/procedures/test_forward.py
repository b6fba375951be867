from __future__ import annotations

from dataclasses import replace

import pytest

from pcscf.errors import FlowFailed, GatewayUnavailable, LoopDetected, MalformedMessage, MediaNotAcceptable, TooManyHops
from pcscf.procedures import forward
from pcscf.procedures.forward import arrive, destination_towards, next_hop_uri, onward_response, refuse
from pcscf.procedures.ports import Ports
from pcscf.procedures.site import Side
from pcscf.procedures.token import MAGIC_COOKIE, TokenKind, loop_hash
from pcscf.sip.flow import Hop
from pcscf.sip.message import response_to
from tests.unit.procedures.desk import FLOW, Recorder, binding, ports, request, server, session


def route(user: str, address: str = "198.51.100.1:5070") -> str:
    return f"Route: <sip:{user}@{address};lr>"


@pytest.fixture
def desk() -> Ports:
    return ports()


def test_our_routes_come_off_and_name_the_session(desk: Ports) -> None:
    token = desk.tokens.make(TokenKind.SESSION)
    original = request(route(token), route(token, "203.0.113.1:5061"), route("as", "198.51.100.3"))
    arrival = arrive(desk, original)
    assert (arrival.token, arrival.kind, arrival.was_tampered) == (token, TokenKind.SESSION, False)
    assert arrival.onward.values("Route") == ["<sip:as@198.51.100.3;lr>"]
    assert len(original.values("Route")) == 3


def test_several_of_our_routes_on_one_line_come_off(desk: Ports) -> None:
    token = desk.tokens.make(TokenKind.SESSION)
    ours = f"<sip:{token}@198.51.100.1:5070;lr>"
    arrival = arrive(desk, request(f"Route: {ours}, {ours} , <sip:as@198.51.100.3;lr>"))
    assert arrival.onward.values("Route") == ["<sip:as@198.51.100.3;lr>"]


def test_the_route_of_the_other_half_call_stays(desk: Ports) -> None:
    mine, other = desk.tokens.make(TokenKind.SESSION), desk.tokens.make(TokenKind.SESSION)
    arrival = arrive(desk, request(route(mine), route(mine), route(other), route(other)))
    assert arrival.token == mine
    assert arrival.onward.values("Route") == [f"<sip:{other}@198.51.100.1:5070;lr>"] * 2


def test_a_preloaded_route_without_a_token_comes_off(desk: Ports) -> None:
    arrival = arrive(desk, request("Route: <sip:203.0.113.1:5061;lr>", route("orig", "198.51.100.2")))
    assert (arrival.token, arrival.kind, arrival.was_tampered) == ("", None, False)
    assert next_hop_uri(arrival.onward) == "sip:orig@198.51.100.2;lr"


def test_an_ipv6_route_of_ours_comes_off(desk: Ports) -> None:
    token = desk.tokens.make(TokenKind.BINDING)
    arrival = arrive(desk, request(route(token, "[2001:db8::1]")))
    assert (arrival.token, arrival.kind) == (token, TokenKind.BINDING)
    assert "Route" not in arrival.onward


@pytest.mark.parametrize("user", ["s0forged", "s0" + "A" * 24, "bob"])
def test_what_is_no_token_of_ours_shows(desk: Ports, user: str) -> None:
    arrival = arrive(desk, request(route(user)))
    assert (arrival.token, arrival.kind, arrival.was_tampered) == ("", None, True)


def test_routes_of_others_stay(desk: Ports) -> None:
    token = desk.tokens.make(TokenKind.SESSION)
    arrival = arrive(desk, request(route("as", "198.51.100.3"), route(token)))
    assert arrival.token == ""
    assert len(arrival.onward.values("Route")) == 2


def test_strict_routing_is_undone(desk: Ports) -> None:
    token = desk.tokens.make(TokenKind.SESSION)
    arrival = arrive(desk, request(
        route("as", "198.51.100.3"), "Route: <sip:bob@192.0.2.77:5062>", uri=f"sip:{token}@198.51.100.1:5070;lr"))
    assert (arrival.token, arrival.kind) == (token, TokenKind.SESSION)
    assert arrival.onward.uri == "sip:bob@192.0.2.77:5062"
    assert arrival.onward.values("Route") == ["<sip:as@198.51.100.3;lr>"]


@pytest.mark.parametrize("uri", ["sip:198.51.100.1:5070", "sip:s0forged@198.51.100.1:5070", "tel:+15550100", "sip:b@x.y"])
def test_a_request_uri_that_is_no_record_route_of_ours_stays(desk: Ports, uri: str) -> None:
    arrival = arrive(desk, request(route("as", "198.51.100.3"), uri=uri))
    assert arrival.onward.uri == uri
    assert arrival.onward.values("Route") == ["<sip:as@198.51.100.3;lr>"]


def test_without_a_route_the_request_uri_is_the_next_hop(desk: Ports) -> None:
    arrival = arrive(desk, request(uri=f"sip:{desk.tokens.make(TokenKind.SESSION)}@198.51.100.1:5070"))
    assert next_hop_uri(arrival.onward) == arrival.onward.uri


@pytest.mark.parametrize(("before", "after"), [("70", "69"), ("1", "0"), ("255", "254"), (None, "70"), ("007", "6")])
def test_hops_are_counted(desk: Ports, before: str | None, after: str) -> None:
    assert arrive(desk, request(hops=before)).onward.get("Max-Forwards") == after


def test_the_last_hop_ends_here(desk: Ports) -> None:
    with pytest.raises(TooManyHops):
        arrive(desk, request(hops="0"))


@pytest.mark.parametrize("hops", ["-1", "1e2", "", "٣", "² "])
def test_hops_that_are_no_number(desk: Ports, hops: str) -> None:
    with pytest.raises(MalformedMessage):
        arrive(desk, request(hops=hops))


def test_a_route_that_cannot_be_read(desk: Ports) -> None:
    with pytest.raises(MalformedMessage):
        arrive(desk, request("Route: <sip:@:x>"))


def test_what_comes_back_unchanged_is_refused(desk: Ports) -> None:
    message = request()
    message.add("Via", f"SIP/2.0/UDP 198.51.100.1:5070;branch={MAGIC_COOKIE}{loop_hash(message)}.s.1")
    with pytest.raises(LoopDetected):
        arrive(desk, message)


def test_a_response_goes_on_without_our_via() -> None:
    message = request()
    message.prepend("Via", "SIP/2.0/UDP 198.51.100.1:5070;branch=z9hG4bKours")
    response = response_to(message, 180)
    assert onward_response(response).get_all("Via") == ["SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKu1"]
    assert len(response.get_all("Via")) == 2


def test_a_warning_quotes_what_it_says(desk: Ports) -> None:
    assert forward.warning(desk, 'no "x" in C:\\y') == r'399 pcscf.ims.example "no \"x\" in C:\\y"'


def test_a_reason_quotes_what_it_says() -> None:
    assert forward.reason(488, 'no "x" in C:\\y') == r'SIP;cause=488;text="no \"x\" in C:\\y"'


def test_a_refusal_carries_status_fields_and_sentence() -> None:
    recorder, records = Recorder(), []
    refuse(ports(recorder, records), server(request()), GatewayUnavailable("no gateway", retry_after=9))
    (response,) = recorder.answers
    assert (response.status, response.get("Retry-After")) == (503, "9")
    assert response.get("Warning") == '399 pcscf.ims.example "no gateway"'
    assert response.to_tag
    assert records == [("refused", {"method": "MESSAGE", "status": 503, "why": "no gateway"})]


async def test_towards_the_core_the_next_hop_decides(desk: Ports) -> None:
    assert await destination_towards(desk, session(), Side.CORE, request(route("as", "198.51.100.3"))) == Hop(
        "udp", "core", "sip:as@198.51.100.3;lr", 5060)


async def test_towards_the_ue_its_flow_decides_and_then_that_of_its_registration() -> None:
    elsewhere = FLOW._replace(connection=2)
    recorder = Recorder(alive={FLOW, elsewhere})
    desk = ports(recorder)
    desk.store.save_binding(replace(binding(), flow=elsewhere))
    assert await destination_towards(desk, session(), Side.ACCESS, request()) == FLOW
    recorder.alive.remove(FLOW)
    assert await destination_towards(desk, session(), Side.ACCESS, request()) == elsewhere
    recorder.alive.clear()
    with pytest.raises(FlowFailed):
        await destination_towards(desk, session(), Side.ACCESS, request())


def test_an_error_with_a_sentence_of_its_own_is_quoted_whole() -> None:
    recorder = Recorder()
    refuse(ports(recorder), server(request()), MediaNotAcceptable('line 1: "x"'))
    assert recorder.answers[0].get("Warning") == r'399 pcscf.ims.example "line 1: \"x\""'
