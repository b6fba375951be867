"""Trace events: written by several, read by one, and never telling a secret."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pcscf.observe.summary import short_fingerprint, summarise_h248, summarise_sip
from pcscf.observe.trace import TraceEvent, TraceWriter, merge_traces, read_trace
from pcscf.sip.flow import Flow
from pcscf.sip.parse import parse_datagram_untrusted

UE, PCSCF = ("127.0.0.1", 40000), ("127.0.0.1", 5061)
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 31 + ["CD"])

REGISTER = (
    b"REGISTER sip:ims.example SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 127.0.0.1:40000;branch=z9hG4bKr\r\n"
    b"From: <sip:alice@ims.example>;tag=a\r\nTo: <sip:alice@ims.example>\r\n"
    b"Call-ID: reg1\r\nCSeq: 2 REGISTER\r\nMax-Forwards: 70\r\n"
    b"Require: mediasec\r\nProxy-Require: mediasec\r\nSupported: path\r\n"
    b"Security-Client: msrp-tls;mediasec\r\nSecurity-Client: bfcp-tls;mediasec\r\n"
    b'Authorization: Digest username="alice", realm="r", nonce="NONCE-VALUE", uri="sip:r", response="RESPONSE-VALUE"\r\n'
    b"Content-Length: 0\r\n\r\n"
)


def invite(extra: str = "") -> bytes:
    body = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=message 9 TCP/TLS/MSRP *\r\na=path:msrps://127.0.0.1:9/SESSION-ID;tcp\r\na=setup:active\r\n"
        f"a=3ge2ae:requested\r\na=fingerprint:{FINGERPRINT}\r\n"
        "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRETKEY\r\n"
    )
    return (
        "INVITE sip:bob@ims.example SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:40000;branch=z9hG4bKi\r\n"
        "From: <sip:alice@ims.example>;tag=a\r\nTo: <sip:bob@ims.example>\r\nCall-ID: call1\r\nCSeq: 1 INVITE\r\n"
        f"{extra}Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def test_a_registration_in_one_line() -> None:
    text, flow, facts = summarise_sip(parse_datagram_untrusted(REGISTER))
    assert text == (
        "REGISTER sip:ims.example · Security-Client: msrp-tls;mediasec, bfcp-tls;mediasec · Require: mediasec"
        " · Proxy-Require: mediasec")
    assert flow == "reg1"
    assert facts["security"] == ["Security-Client", "Require", "Proxy-Require"]
    assert facts["method"] == "REGISTER"
    assert "status" not in facts


def test_an_offer_in_one_line() -> None:
    text, flow, facts = summarise_sip(parse_datagram_untrusted(invite()))
    assert text == (
        "INVITE sip:bob@ims.example · m=message 9 TCP/TLS/MSRP setup:active 3ge2ae:requested sha-256 AB:AB:AB…AB:CD"
        " · m=audio 4000 RTP/SAVP")
    assert flow == "call1"
    assert facts["security"] == []
    assert facts["media"][0] == {
        "media": "message", "port": "9", "proto": "TCP/TLS/MSRP", "setup": "active", "e2ae": "requested",
        "fingerprint": FINGERPRINT,
    }


def test_a_response_names_its_method_and_reason() -> None:
    wire = (
        b"SIP/2.0 488 Not Acceptable Here\r\nVia: SIP/2.0/TLS 127.0.0.1:40000;branch=z9hG4bKi\r\n"
        b"From: <sip:alice@ims.example>;tag=a\r\nTo: <sip:bob@ims.example>;tag=b\r\nCall-ID: call1\r\nCSeq: 1 INVITE\r\n"
        b'Warning: 399 pcscf "no path"\r\nContent-Length: 0\r\n\r\n'
    )
    text, _, facts = summarise_sip(parse_datagram_untrusted(wire))
    assert text == '488 Not Acceptable Here (INVITE) · Warning: 399 pcscf "no path"'
    assert facts["status"] == 488
    assert facts["warning"] == '399 pcscf "no path"'


def test_secrets_stay_out_of_the_file(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl", "pcscf")
    for wire in (REGISTER, invite()):
        writer.tap_sip("in", wire, Flow("tls", "gm-tls", PCSCF, UE, 1))
    writer.close()
    told = (tmp_path / "t.jsonl").read_text()
    for secret in ("NONCE-VALUE", "RESPONSE-VALUE", "SECRETKEY", "SESSION-ID"):
        assert secret not in told
    assert (tmp_path / "t.jsonl").stat().st_mode & 0o077 == 0


def test_what_is_no_message_is_told_as_such(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl", "pcscf")
    writer.tap_sip("in", b"noise\r\n\r\n", Flow("udp", "gm-udp", PCSCF, UE, 0))
    writer.close()
    (event,) = read_trace(tmp_path / "t.jsonl")
    assert event.text.startswith("unreadable: ")
    assert (event.peer, event.local, event.dir) == ("127.0.0.1:40000", "127.0.0.1:5061", "in")


REQUEST = (
    b"!/2 [127.0.0.1]:2944 T=7{C=${A=ip/1/access{M{ST=1{O{MO=IN},L{v=0\nc=IN IP4 $\nm=message $ TCP/MSRP *\n}}}},A=ip/1/core}}"
)
REPLY = b"!/2 [127.0.0.1]:3000 P=7{C=12{A=ip/1/access/4,A=ip/1/core/4}}"


def test_h248_in_one_line() -> None:
    text, flow, facts = summarise_h248(REQUEST)
    assert text == "C=$ {Add ip/1/access TCP/MSRP, Add ip/1/core}"
    assert flow == ""
    assert facts == {
        "kind": "request", "transactions": ["transaction 7"], "contexts": [], "commands": ["Add ip/1/access", "Add ip/1/core"],
        "errors": [],
    }
    text, flow, facts = summarise_h248(REPLY)
    assert text == "Reply C=12 {Add ip/1/access/4, Add ip/1/core/4}"
    assert flow == "context 12"
    assert facts["kind"] == "reply"


@pytest.mark.parametrize(("wire", "text", "errors"), [
    (b'!/2 [::1]:2944 P=7{C=12{S=ip/4{ER=430{"Unknown TerminationID"}}}}',
     "Reply C=12 {Subtract ip/4 Error 430 Unknown TerminationID}", [430]),
    (b"!/2 [::1]:2944 T=8{C=12{N=ip/4{OE=1{g/cause{General=FP}}}}}", "C=12 {Notify ip/4 g/cause}", []),
    (b'!/2 [::1]:2944 ER=403{"Syntax error"}', "Error 403 Syntax error", [403]),
    (b"!/2 [::1]:2944 PN=9{}", "Pending", []),
])
def test_errors_and_events_show(wire: bytes, text: str, errors: list[int]) -> None:
    told, _, facts = summarise_h248(wire)
    assert told == text
    assert facts["errors"] == errors


def test_what_is_no_h248_is_told_as_such() -> None:
    text, flow, facts = summarise_h248(b"MEGACO/nonsense")
    assert text.startswith("unreadable: ")
    assert (flow, facts["kind"]) == ("", "error")


def test_request_and_reply_meet_in_the_transaction(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl", "pcscf")
    writer.tap_iq("out", REQUEST, ("127.0.0.1", 3000))
    writer.tap_iq("in", REPLY, ("127.0.0.1", 3000))
    # the gateway numbers its own transactions
    writer.tap_iq("in", REQUEST, ("127.0.0.1", 3000))
    writer.close()
    asked, answered, other = read_trace(tmp_path / "t.jsonl")
    assert asked.keys[0] in answered.keys
    assert answered.flow == "context 12"
    assert not set(other.keys) & set(answered.keys)


@dataclass(frozen=True)
class Told:
    time: float = 12.5
    kind: str = "tls-established"
    context: int = 12
    termination: str = "ip/1/access/4"
    text: str = "TLS established"
    facts: Mapping[str, str] = field(default_factory=lambda: {
        "local": "127.0.0.1 12000", "remote": "::1 50000", "version": "TLSv1.3", "fingerprint": FINGERPRINT,
    })


def test_what_a_gateway_tells(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl", "any")
    writer.tap_gateway(Told())
    writer.tap_gateway(Told(kind="tcp-connected", facts={}))
    writer.close()
    tls, tcp = read_trace(tmp_path / "t.jsonl")
    assert (tls.t, tls.node, tls.peer, tls.local, tls.proto, tls.flow, tls.dir) == (
        12.5, "agw", "[::1]:50000", "127.0.0.1:12000", "TLS", "context 12", "in")
    assert tls.facts["fingerprint"] == FINGERPRINT
    assert (tcp.proto, tcp.dir) == ("TCP", "out")


def test_many_writers_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"

    def work(node: str) -> None:
        writer = TraceWriter(path, node)
        for number in range(200):
            writer.event("SIP", "out", "ä" * number, flow=node, local=UE, peer=PCSCF)
        writer.close()

    threads = [threading.Thread(target=work, args=(f"n{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(read_trace(path))
    assert len(events) == 800
    assert all(event.node == event.flow for event in events)


def test_a_full_disk_ends_the_trace_and_nothing_else() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    writer = TraceWriter(full, "pcscf")
    writer.event("SIP", "out", "x", flow="f", local=UE, peer=PCSCF)
    writer.close()
    assert writer.lost == 1


def test_lines_that_are_no_event_are_passed_over(tmp_path: Path) -> None:
    event = TraceEvent(1.0, "ue", "x", "out", "SIP", "f", "text", {"local": "y"})
    lines = [b"\xff\xfe\n", b"{}\n", b"[]\n", b"null\n", b'{"t": "x"}\n', event.to_line(), event.to_line()[:-20]]
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines))
    assert list(read_trace(tmp_path / "t.jsonl")) == [event]


def test_files_merge_by_time(tmp_path: Path) -> None:
    for name, times in (("a", (1.0, 4.0)), ("b", (2.0, 3.0))):
        lines = [TraceEvent(t, name, "", "out", "SIP", "f", "").to_line() for t in times]
        (tmp_path / name).write_bytes(b"".join(lines))
    assert [event.t for event in merge_traces([tmp_path / "a", tmp_path / "b"])] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("value", "short"), [
    (FINGERPRINT, "sha-256 AB:AB:AB…AB:CD"), ("sha-1 AB:CD", "sha-1 AB:CD"), ("", " "),
])
def test_fingerprints_are_shortened(value: str, short: str) -> None:
    assert short_fingerprint(value) == short
