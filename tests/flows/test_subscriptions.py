"""Dialogs that carry no media: SUBSCRIBE and REFER, in which the routes that were learned decide (TS 24.229 §5.2.6.3.6)."""

from __future__ import annotations

import pytest

from pcscf.procedures.dialogs import DIALOGS_PER_BINDING
from pcscf.sip.flow import Flow
from pcscf.sip.message import Request, Response, response_to
from tests.support.flowbed import CORE, Bed
from tests.support.parties import IDENTITY, Ue, with_body
from tests.support.tales import story

NOTIFIER = "198.51.100.9"
ELSEWHERE = ("198.51.100.66", 5060)


def says(ue: Ue, method: str, uri: str, call: str, *routes: str, to_tag: str = "") -> None:
    ue.cseq += 1
    tag = f";tag={to_tag}" if to_tag else ""
    lines = "\n".join(f"Route: {route}" for route in routes)
    ue.peer.send(with_body(f"""
        {method} {uri} SIP/2.0
        Via: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKs{ue.cseq};rport
        {lines or "X-No: route"}
        From: {IDENTITY};tag=sub
        To: {IDENTITY}{tag}
        Call-ID: {call}
        CSeq: {ue.cseq} {method}
        Max-Forwards: 70
        Event: reg
        Contact: <sip:alice@192.0.2.10:40001;transport=tls>"""))


async def subscribe(bed: Bed, ue: Ue, call: str = "sub-1", method: str = "SUBSCRIBE") -> Response:
    """A subscription that an application server behind the core's proxy accepts; its 200 as the UE got it."""
    says(ue, method, "sip:alice@ims.example", call)
    asked = await bed.core.expect(method)
    answer = response_to(asked, 200, to_tag="as")
    answer.copy_lines(asked, "Record-Route")
    answer.prepend("Record-Route", "<sip:198.51.100.2:5080;lr>")
    answer.add("Contact", f"<sip:as@{NOTIFIER}>")
    bed.core.send(answer)
    got: Response = await ue.peer.expect(200)
    return got


@pytest.mark.parametrize("method", ["SUBSCRIBE", "REFER"])
def test_a_refresh_follows_the_routes_that_were_learned(method: str) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        answer = await subscribe(bed, ue, method=method)
        ours = answer.values("Record-Route")[::-1]
        assert [CORE[0] in route for route in ours] == [False, True, False]
        says(ue, "SUBSCRIBE", f"sip:as@{NOTIFIER}", "sub-1", *ours, to_tag="as")
        refresh = await bed.core.expect("SUBSCRIBE")
        assert refresh.values("Route") == ["<sip:198.51.100.2:5080;lr>"]
        bed.core.send(response_to(refresh, 200))
        await ue.peer.expect(200)

    story(tale)


def test_what_a_ue_says_of_the_way_is_not_believed() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        elsewhere = bed.peer("elsewhere", Flow("udp", "mw-udp", CORE, ELSEWHERE, 0))
        answer = await subscribe(bed, ue)
        own = [route for route in answer.values("Record-Route")[::-1] if "203.0.113.1" in route]
        says(ue, "SUBSCRIBE", f"sip:as@{NOTIFIER}", "sub-1", *own, f"<sip:{ELSEWHERE[0]}:{ELSEWHERE[1]};lr>", to_tag="as")
        refresh = await bed.core.expect("SUBSCRIBE")
        assert elsewhere.is_quiet()
        bed.core.send(response_to(refresh, 200))
        await ue.peer.expect(200)

    story(tale)


@pytest.mark.parametrize(("call", "tag"), [("sub-2", "as"), ("sub-1", "other")])
@pytest.mark.parametrize("method", ["SUBSCRIBE", "INVITE"])
def test_a_dialog_that_is_none_of_ours(method: str, call: str, tag: str) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        answer = await subscribe(bed, ue)
        says(ue, method, f"sip:as@{NOTIFIER}", call, *answer.values("Record-Route")[::-1], to_tag=tag)
        await ue.peer.expect(481)
        assert bed.core.count("INVITE") == 0

    story(tale)


def test_notifications_come_and_may_move_the_target() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        answer = await subscribe(bed, ue)
        routes = "\n".join(f"Route: {route}" for route in answer.values("Record-Route") if "198.51.100.2:" not in route)
        bed.core.send(with_body(f"""
            NOTIFY sip:alice@192.0.2.10:40001;transport=tls SIP/2.0
            Via: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bKn1
            {routes}
            From: {IDENTITY};tag=as
            To: {IDENTITY};tag=sub
            Call-ID: sub-1
            CSeq: 1 NOTIFY
            Max-Forwards: 70
            Event: reg
            Subscription-State: active
            Contact: <sip:moved@{NOTIFIER}>"""))
        notify = await ue.peer.expect("NOTIFY")
        assert isinstance(notify, Request)
        ue.answer(notify)
        await bed.core.expect(200)
        (binding,) = bed.store.bindings()
        (dialog,) = binding.dialogs.values()
        assert dialog.callee.target == f"sip:moved@{NOTIFIER}"

    story(tale)


def test_a_new_registration_keeps_them_and_their_number_is_bounded() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        for number in range(DIALOGS_PER_BINDING + 3):
            answer = await subscribe(bed, ue, f"sub-{number}")
        await ue.register()
        (binding,) = bed.store.bindings()
        assert len(binding.dialogs) == DIALOGS_PER_BINDING
        routes = answer.values("Record-Route")[::-1]
        says(ue, "SUBSCRIBE", f"sip:as@{NOTIFIER}", "sub-0", *routes, to_tag="as")
        await ue.peer.expect(481)
        says(ue, "SUBSCRIBE", f"sip:as@{NOTIFIER}", "sub-5", *routes, to_tag="as")
        bed.core.send(response_to(await bed.core.expect("SUBSCRIBE"), 200))
        await ue.peer.expect(200)

    story(tale)
