"""Dialogs as a proxy sees them: what it learns, and the requests it can make of that."""

from __future__ import annotations

import json

import pytest

from pcscf.sip.dialog import Dialog
from pcscf.sip.headers import parse_name_addr
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import check_request

OURS = "<sip:tok@us.example;lr>"
CALLER_SIDE, CALLEE_SIDE, FAR = "<sip:p1.example;lr>", "<sip:p2.example;lr>", "<sip:p3.example;lr>"


def is_ours(route: str) -> bool:
    return parse_name_addr(route).uri_parsed.host == "us.example"


def invite(cseq: int = 5, **more: str) -> Request:
    fields = {
        "Via": "SIP/2.0/UDP us.example;branch=z9hG4bK1",
        "From": '"A" <sip:alice@a.example>;tag=A',
        "To": "<sip:bob@b.example>",
        "Call-ID": "d1",
        "CSeq": f"{cseq} INVITE",
        "Contact": "<sip:alice@192.0.2.1:5060;ob>;+g.x",
    }
    return Request("INVITE", "sip:bob@b.example", [*fields.items(), *more.items()])


def answer(
    request: Request, status: int = 200, *, tag: str = "B", contact: str = "<sip:bob@192.0.2.2>", routes: tuple[str, ...] = ()
) -> Response:
    response = response_to(request, status, to_tag=tag)
    response.set_values("Record-Route", list(routes))
    if contact:
        response.set("Contact", contact)
    return response


def within(method: str, cseq: int, *, from_callee: bool, contact: str = "", call_id: str = "d1") -> Request:
    caller, callee = '"A" <sip:alice@a.example>;tag=A', "<sip:bob@b.example>;tag=B"
    request = Request(
        method, "sip:x", [("Via", "SIP/2.0/UDP h;branch=z9hG4bK2"), ("Call-ID", call_id), ("CSeq", f"{cseq} {method}")]
    )
    request.add("From", callee if from_callee else caller)
    request.add("To", caller if from_callee else callee)
    if contact:
        request.add("Contact", contact)
    return request


def made(*routes: str, status: int = 200) -> Dialog:
    request = invite()
    return Dialog.of(request, answer(request, status, routes=routes))


class TestBye:
    def test_towards_caller(self) -> None:
        bye = made(FAR, CALLEE_SIDE, OURS, CALLER_SIDE).bye_towards_caller(is_ours, "SIP;cause=503")
        assert bye.to_bytes() == (
            b"BYE sip:alice@192.0.2.1:5060;ob SIP/2.0\r\n"
            b"Route: <sip:p1.example;lr>\r\n"
            b"Max-Forwards: 70\r\n"
            b"From: <sip:bob@b.example>;tag=B\r\n"
            b'To: "A" <sip:alice@a.example>;tag=A\r\n'
            b"Call-ID: d1\r\n"
            b"CSeq: 1 BYE\r\n"
            b"Reason: SIP;cause=503\r\n"
            b"Content-Length: 0\r\n\r\n"
        )

    def test_towards_callee(self) -> None:
        bye = made(FAR, CALLEE_SIDE, OURS, CALLER_SIDE).bye_towards_callee(is_ours)
        assert bye.uri == "sip:bob@192.0.2.2"
        assert bye.values("Route") == [CALLEE_SIDE, FAR]
        assert (bye.from_tag, bye.to_tag, bye.cseq) == ("A", "B", (6, "BYE"))
        assert "Reason" not in bye

    def test_is_a_good_request_once_it_has_a_via(self) -> None:
        for bye in (made(FAR, OURS).bye_towards_callee(is_ours), made(OURS, FAR).bye_towards_caller(is_ours)):
            bye.prepend("Via", "SIP/2.0/UDP us.example;branch=z9hG4bK3")
            check_request(bye)

    def test_double_record_route(self) -> None:
        ours_inside = "<sip:tok@us.example:5070;lr>"
        dialog = made(CALLEE_SIDE, ours_inside, OURS, CALLER_SIDE)
        assert dialog.bye_towards_caller(is_ours).values("Route") == [CALLER_SIDE]
        assert dialog.bye_towards_callee(is_ours).values("Route") == [CALLEE_SIDE]

    def test_without_routes(self) -> None:
        dialog = made()
        assert dialog.bye_towards_caller(is_ours).values("Route") == []
        assert dialog.bye_towards_callee(is_ours).uri == "sip:bob@192.0.2.2"

    def test_a_strict_router_gets_its_uri_on_top(self) -> None:
        bye = made("<sip:last.example>", "<sip:strict.example;x=1>", OURS).bye_towards_callee(is_ours)
        assert bye.uri == "sip:strict.example;x=1"
        assert bye.values("Route") == ["<sip:last.example>", "<sip:bob@192.0.2.2>"]

    def test_each_has_its_own_number(self) -> None:
        dialog = made()
        numbers = [
            build(is_ours).cseq[0] for build in (dialog.bye_towards_callee, dialog.bye_towards_callee, dialog.bye_towards_caller)
        ]
        assert numbers == [6, 7, 1]

    def test_follows_the_numbers_seen(self) -> None:
        dialog = made()
        dialog.observe_request(within("INFO", 90, from_callee=True))
        dialog.observe_request(within("INFO", 17, from_callee=False))
        dialog.observe_request(within("INFO", 16, from_callee=False))
        dialog.observe_request(within("ACK", 99, from_callee=False))
        assert dialog.bye_towards_caller(is_ours).cseq[0] == 91
        assert dialog.bye_towards_callee(is_ours).cseq[0] == 18

    def test_a_missing_contact_falls_back_to_the_address(self) -> None:
        request = invite()
        dialog = Dialog.of(request, answer(request, contact=""))
        assert dialog.bye_towards_callee(is_ours).uri == "sip:bob@b.example"

    def test_an_unreadable_record_route_is_not_ours(self) -> None:
        dialog = made("<sip:[broken;lr>", OURS, CALLER_SIDE)
        assert dialog.bye_towards_caller(is_ours).values("Route") == [CALLER_SIDE]


def test_ack_towards_callee() -> None:
    ack = made(CALLEE_SIDE, OURS).ack_towards_callee(is_ours, 5)
    assert (ack.method, ack.uri, ack.cseq, ack.values("Route")) == ("ACK", "sip:bob@192.0.2.2", (5, "ACK"), [CALLEE_SIDE])
    assert ack.to_tag == "B"


class TestLearning:
    def test_early_then_confirmed(self) -> None:
        request = invite()
        dialog = Dialog.of(request, answer(request, 183, contact="<sip:early@192.0.2.3>", routes=(CALLEE_SIDE, OURS)))
        assert not dialog.confirmed
        assert dialog.callee.target == "sip:early@192.0.2.3"
        dialog.observe_response(request, answer(request, 200, routes=(FAR, OURS)))
        assert dialog.confirmed
        assert dialog.callee.target == "sip:bob@192.0.2.2"
        assert dialog.bye_towards_callee(is_ours).values("Route") == [FAR]

    def test_the_route_set_of_a_confirmed_dialog_stays(self) -> None:
        dialog = made(CALLEE_SIDE, OURS)
        again = invite(9)
        again.set("To", "<sip:bob@b.example>;tag=B")
        dialog.observe_response(again, answer(again, 200, routes=(FAR,)))
        assert dialog.record_route == [CALLEE_SIDE, OURS]

    @pytest.mark.parametrize(
        ("method", "status", "moves"),
        [("UPDATE", 200, True), ("INVITE", 200, True), ("INVITE", 488, False), ("INFO", 200, False)],
    )
    def test_target_refresh_by_caller(self, method: str, status: int, moves: bool) -> None:
        dialog = made()
        request = within(method, 8, from_callee=False, contact="<sip:alice@192.0.2.11>")
        dialog.observe_request(request)
        assert dialog.caller.target == "sip:alice@192.0.2.1:5060;ob"
        dialog.observe_response(request, answer(request, status, contact="<sip:bob@192.0.2.22>"))
        assert (dialog.caller.target == "sip:alice@192.0.2.11") is moves
        assert (dialog.callee.target == "sip:bob@192.0.2.22") is moves

    def test_target_refresh_by_callee(self) -> None:
        dialog = made()
        request = within("UPDATE", 8, from_callee=True, contact="<sip:bob@192.0.2.22>")
        dialog.observe_request(request)
        dialog.observe_response(request, answer(request, 200, contact="<sip:alice@192.0.2.11>"))
        assert (dialog.caller.target, dialog.callee.target) == ("sip:alice@192.0.2.11", "sip:bob@192.0.2.22")
        assert (dialog.caller.cseq, dialog.callee.cseq) == (5, 8)

    def test_100_and_failures_teach_nothing(self) -> None:
        dialog = made(CALLEE_SIDE, OURS, status=183)
        request = invite()
        for status in (100, 302, 486):
            dialog.observe_response(request, answer(request, status, contact="<sip:no@192.0.2.9>", routes=(FAR,)))
        assert dialog.callee.target == "sip:bob@192.0.2.2"
        assert dialog.record_route == [CALLEE_SIDE, OURS]

    def test_who_sent_it(self) -> None:
        dialog = made()
        assert dialog.sender(within("INFO", 6, from_callee=False)) is dialog.caller
        assert dialog.sender(within("INFO", 6, from_callee=True)) is dialog.callee
        assert dialog.sender(within("INFO", 6, from_callee=True, call_id="d2")) is None
        assert dialog.sender(invite()) is None

    def test_order(self) -> None:
        dialog = made()
        assert dialog.is_in_order(within("INFO", 6, from_callee=False))
        assert not dialog.is_in_order(within("INFO", 5, from_callee=False))
        assert dialog.is_in_order(within("ACK", 5, from_callee=False))
        assert not dialog.is_in_order(within("INFO", 6, from_callee=True, call_id="d2"))


def test_survives_as_json() -> None:
    dialog = made(CALLEE_SIDE, OURS)
    again = Dialog.from_record(json.loads(json.dumps(dialog.to_record())))
    assert again == dialog
    assert again.bye_towards_callee(is_ours).to_bytes() == dialog.bye_towards_callee(is_ours).to_bytes()
