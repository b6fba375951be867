"""Ladders: which events belong together, who stands at both ends of an arrow, and every message once."""

from __future__ import annotations

from pcscf.observe.ladder import Arrow, Ladder, ladders, render
from pcscf.observe.trace import LINK, TraceEvent

UE, GM, MW, CORE, BOB = "10.0.0.1:4000", "10.0.0.2:5061", "10.0.0.2:5070", "10.0.0.3:5080", "10.0.0.4:5090"
AGW_IQ, AGW_MEDIA, UE_MEDIA = "10.0.0.5:2945", "10.0.0.5:12000", "10.0.0.1:4001"


def sip(t: float, node: str, way: str, local: str, peer: str, identity: str, flow: str = "call1", **facts: object) -> TraceEvent:
    known = {"local": local, "id": identity, "method": "INVITE", "from": "sip:a@x", "to": "sip:b@x", **facts}
    return TraceEvent(t, node, peer, "in" if way == "in" else "out", "SIP", flow, f"text {identity}", known)


def other(t: float, node: str, way: str, proto: str, peer: str, flow: str, identity: str = "", **facts: object) -> TraceEvent:
    return TraceEvent(
        t, node, peer, "in" if way == "in" else "out", proto, flow, f"{proto} {identity}", {"id": identity, **facts})


CALL = [
    sip(1.0, "ue", "out", UE, GM, "m1"),
    sip(1.1, "pcscf", "in", GM, UE, "m1"),
    sip(1.2, "pcscf", "out", MW, CORE, "m2"),
    sip(1.3, "core", "in", CORE, MW, "m2"),
    sip(1.4, "core", "out", CORE, BOB, "m3"),
    sip(1.5, "party", "in", BOB, CORE, "m3"),
]


def ends(ladder: Ladder) -> list[tuple[str, str]]:
    return [(arrow.source, arrow.target) for arrow in ladder.arrows]


def test_every_message_is_shown_once_and_between_the_right_columns() -> None:
    (ladder,) = ladders(CALL)
    assert ends(ladder) == [("ue", "pcscf"), ("pcscf", "core"), ("core", "party")]
    assert ladder.title == "INVITE sip:a@x → sip:b@x"


def test_a_retransmission_is_a_message_of_its_own() -> None:
    (ladder,) = ladders([*CALL, sip(1.6, "pcscf", "out", MW, CORE, "m2")])
    assert ends(ladder)[-1] == ("pcscf", "core")
    assert len(ladder.arrows) == 4


def test_what_only_the_receiver_saw_is_shown() -> None:
    (ladder,) = ladders([sip(1.0, "core", "in", CORE, BOB, "m9")])
    assert ends(ladder) == [("pcscf", "core")]   # nobody told who 10.0.0.4 is


def test_iq_comes_to_its_call_by_transaction_and_link() -> None:
    events = [
        *CALL,
        other(1.15, "pcscf", "out", "Iq", AGW_IQ, "transaction 7 of pcscf", "i1", also=["transaction 7 of pcscf"]),
        other(1.17, "pcscf", "in", "Iq", AGW_IQ, "context 3", "i2", also=["transaction 7 of pcscf"]),
        sip(1.18, "pcscf", "in", GM, UE, "r1", flow="reg1"),
        TraceEvent(1.19, "pcscf", "", "out", LINK, "call1", "", {"also": ["context 3"]}),
    ]
    call, registration = ladders(sorted(events, key=lambda event: event.t))
    assert ends(call) == [("ue", "pcscf"), ("pcscf", "agw"), ("agw", "pcscf"), ("pcscf", "core"), ("core", "party")]
    assert {"call1", "context 3"} <= call.keys
    assert ends(registration) == [("ue", "pcscf")]


def test_a_context_without_link_goes_to_the_call_before_it() -> None:
    events = [
        sip(0.5, "pcscf", "in", GM, UE, "r1", flow="reg1"),
        *CALL,
        other(1.6, "agw", "in", "TLS", UE_MEDIA, "context 3", local=AGW_MEDIA),
        other(1.7, "pcscf", "out", "Iq", AGW_IQ, "transaction 1 of pcscf", "audit", also=["transaction 1 of pcscf"]),
    ]
    registration, call = ladders(events)
    assert ends(registration) == [("ue", "pcscf")]
    assert ends(call)[-1] == ("ue", "agw")
    assert len(call.arrows) == 4   # an audit names no context and belongs to no call


def test_the_gateway_tells_about_tls_and_the_ue_where_it_does_not() -> None:
    by_ue = other(1.6, "ue", "out", "TLS", AGW_MEDIA, "call1", local=UE_MEDIA)
    by_agw = other(1.7, "agw", "in", "TLS", UE_MEDIA, "context 3", local=AGW_MEDIA)
    assert ends(ladders([*CALL, by_ue, by_agw])[0])[3:] == [("ue", "agw")]
    assert ends(ladders([*CALL, by_ue])[0])[3:] == [("ue", "agw")]


def test_msrp_goes_to_who_received_it_else_to_the_gateway() -> None:
    sent = other(1.6, "ue", "out", "MSRP", AGW_MEDIA, "call1", "s1", local=UE_MEDIA)
    heard = other(1.7, "party", "in", "MSRP", "10.0.0.5:22000", "call1", "s1", local="10.0.0.4:7000")
    assert ends(ladders([*CALL, sent, heard])[0])[3:] == [("ue", "party")]
    assert ends(ladders([*CALL, sent])[0])[3:] == [("ue", "agw")]


def test_events_of_no_call_make_no_ladder() -> None:
    assert ladders([other(1.0, "pcscf", "out", "Iq", AGW_IQ, "context 3", "i1")]) == []
    assert ladders([]) == []


def test_a_second_ue_takes_the_place_of_the_party() -> None:
    other_ue, other_media = "10.0.0.9:4000", "10.0.0.9:4001"
    events = [
        *CALL[:4],
        sip(1.4, "core", "out", CORE, MW, "m3"),
        sip(1.5, "pcscf", "out", GM, other_ue, "m4"),
        sip(1.6, "ue2", "in", other_ue, GM, "m4"),
        other(1.7, "ue", "out", "MSRP", AGW_MEDIA, "call1", "s1", local=UE_MEDIA),
        other(1.8, "ue2", "in", "MSRP", AGW_MEDIA, "call1", "s1", local=other_media),
        TraceEvent(1.9, "pcscf", "", "out", LINK, "call1", "", {"also": ["context 3"]}),
        other(2.0, "agw", "in", "TLS", other_media, "context 3", local=AGW_MEDIA),
    ]
    (ladder,) = ladders(events)
    assert ends(ladder)[2:] == [("core", "pcscf"), ("pcscf", "ue2"), ("ue", "ue2"), ("ue2", "agw")]
    heading, *rows = [row.text for row in render(ladder, 120)]
    assert "party" not in heading
    assert heading.count("UE") == 2
    assert "│──────────────────────────────────────────>│" in rows[4]


def test_the_drawing() -> None:
    arrows = (
        Arrow(1.0, "ue", "pcscf", "SIP", "INVITE sip:bob@ims.example"),
        Arrow(1.012, "core", "pcscf", "SIP", "200 OK"),
        Arrow(1.5, "agw", "agw", "TLS", "something " * 12),
    )
    rows = [row.text for row in render(Ladder(frozenset({"x"}), "title", arrows), 100)]
    assert [name in rows[0] for name in ("UE", "P-CSCF", "AGW", "core", "party")] == [True] * 5
    assert rows[1] == "     0ms    │─────────>│          │          │          │   INVITE sip:bob@ims.example"
    assert rows[2] == "    12ms    │          │<────────────────────│          │   200 OK"
    assert "●" in rows[3]
    assert rows[4].startswith("            │          │          │          │          │     something")
    assert max(map(len, rows)) <= 100


def test_a_handshake_of_the_ends_is_one_arrow_between_them() -> None:
    (ladder,) = ladders([
        *CALL,
        other(2.0, "party", "in", "TLS", AGW_MEDIA, "call1"),
        other(2.1, "ue", "out", "TLS", AGW_MEDIA, "call1"),
        other(2.2, "ue", "out", "BFCP", AGW_MEDIA, "call1", "hello"),
        other(2.3, "party", "in", "BFCP", AGW_MEDIA, "call1", "hello"),
        other(2.4, "party", "out", "BFCP", AGW_MEDIA, "call1", "ack"),
        other(2.5, "ue", "in", "BFCP", AGW_MEDIA, "call1", "ack"),
    ])
    assert ends(ladder)[3:] == [("ue", "party"), ("ue", "party"), ("party", "ue")]


def test_a_fax_that_both_ends_tell_of_is_shown_as_it_was_sent() -> None:
    (ladder,) = ladders([
        *CALL,
        other(2.0, "party", "out", "T.38", "", "call1"), other(2.1, "ue", "in", "T.38", "", "call1"),
        other(2.2, "ue", "out", "T.38", "", "call1"), other(2.3, "party", "in", "T.38", "", "call1"),
    ])
    assert ends(ladder)[3:] == [("party", "ue"), ("ue", "party")]


def test_a_fax_that_one_end_tells_of_is_shown_both_ways() -> None:
    (ladder,) = ladders([
        *CALL, other(2.0, "party", "out", "T.38", "", "call1"), other(2.1, "party", "in", "T.38", "", "call1"),
    ])
    assert ends(ladder)[3:] == [("party", "agw"), ("agw", "party")]
