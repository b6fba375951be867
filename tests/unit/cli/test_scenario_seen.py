"""What is read from SIPp's own logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcscf.cli.scenario.model import Load, Moment
from pcscf.cli.scenario.seen import Seen, messages_in, of_node, read_messages
from pcscf.cli.scenario.sipp import Files, Statistics, command, read_statistics
from pcscf.observe.trace import TraceEvent

LINE = "-" * 47
INVITE = (
    "INVITE sip:bob@ims.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK1\r\n"
    "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n"
    "Call-ID: 1\r\nCSeq: 1 INVITE\r\nSecurity-Verify:  msrp-tls;mediasec\r\nProxy-Require: mediasec\r\nSubject: a\r\n  b\r\n"
    "Content-Type: application/sdp\r\nContent-Length: 82\r\n\r\n"
    "v=0\r\nm=message 9 TCP/TLS/MSRP *\r\na=3ge2ae:requested\r\na=path:msrps://[::1]:9/x;tcp\r\n"
)
RINGING = (
    "SIP/2.0 180 Ringing\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n"
    "Content-Length: 0\r\n\r\n")


def log(*entries: tuple[str, str]) -> bytes:
    text = ""
    for way, wire in entries:
        size = f"[{len(wire)}] bytes " if way == "received" else f"({len(wire)} bytes)"
        text += f"{LINE} 2026-01-01 00:00:00.000001\nUDP message {way} {size}:\n\n{wire}\n"
    return text.encode()


def test_messages_are_read_with_direction_and_kind() -> None:
    one, two = messages_in(log(("sent", INVITE), ("received", RINGING)))
    assert (one.way, one.method, one.status) == ("sent", "INVITE", None)
    assert (two.way, two.method, two.status) == ("received", "INVITE", 180)
    assert one.security == ["Security-Verify", "Proxy-Require"]
    assert one.leaks == ["Security-Verify", "Proxy-Require", "e2ae"]
    assert two.leaks == []


def test_a_message_that_is_still_being_written_is_left_out() -> None:
    whole = log(("sent", RINGING), ("received", RINGING))
    assert [each.way for each in messages_in(whole[:-20])] == ["sent"]
    assert list(messages_in(b"")) == []


def test_a_separator_inside_a_message_is_no_heading() -> None:
    body = RINGING.replace("Content-Length: 0", f"Subject: x\r\nContent-Length: {len(LINE)}") + LINE
    (one,) = messages_in(log(("received", body)))
    assert one.lines[-1] == LINE


def test_what_is_no_sip_is_kept_as_it_is() -> None:
    (one,) = messages_in(log(("received", "hello\r\n")))
    assert (one.method, one.status, one.lines) == ("?", None, ("hello",))


def test_tcp_is_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "log"
    assert read_messages(file) == []
    file.write_bytes(log(("received", RINGING)).replace(b"UDP", b"TCP"))
    assert len(read_messages(file)) == 1


@pytest.mark.parametrize(
    ("direction", "selector", "meant"),
    [
        ("sends", "INVITE", "request"), ("receives", "INVITE", ""), ("receives", "180", "ringing"),
        ("receives", "180 INVITE", "ringing"), ("receives", "180 BYE", ""), ("receives", "181", ""),
        ("sends", "any", "request"), ("receives", "any", "ringing"), ("sends", "ACK", ""),
    ],
)
def test_what_a_moment_means(direction: str, selector: str, meant: str) -> None:
    request, ringing = messages_in(log(("sent", INVITE), ("received", RINGING)))
    moment = Moment.model_validate({"at": "ue", direction: selector})
    assert [name for name, each in (("request", request), ("ringing", ringing)) if each.is_meant_by(moment)] == meant.split()


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("Security-Verify: msrp-tls;mediasec", "Security-Verify: msrp-tls;mediasec"),
        ("security-verify:*", "Security-Verify: msrp-tls;mediasec"),
        ("Subject: a b", "Subject: a b"),
        ("m=message ? TCP/TLS/MSRP *", "m=message 9 TCP/TLS/MSRP *"),
        ("a=path:msrps://[::1]:*", "a=path:msrps://[::1]:9/x;tcp"),
        ("INVITE sip:bob@*", "INVITE sip:bob@ims.example SIP/2.0"),
        ("a=3ge2ae", None),
        ("mediasec", None),
    ],
)
def test_a_pattern_fits_a_whole_line(pattern: str, line: str | None) -> None:
    (one,) = messages_in(log(("sent", INVITE)))
    assert one.line_like(pattern) == line


def test_an_element_of_the_lab_is_read_from_its_trace() -> None:
    facts = {"method": "INVITE", "security": ["Require"], "media": [{"proto": "TCP/MSRP", "fingerprint": "sha-256 AA"}]}
    events = [
        TraceEvent(1.0, "core", "x", "in", "SIP", "1", "INVITE sip:b@x · m=message 9 TCP/MSRP", facts),
        TraceEvent(2.0, "core", "x", "out", "SIP", "1", "200 OK (INVITE)", {"method": "INVITE", "status": 200}),
        TraceEvent(3.0, "pcscf", "x", "in", "SIP", "1", "not the core's", {"method": "BYE"}),
    ]
    one, two = of_node(events, "core")
    assert one == Seen("received", "INVITE", None, ("INVITE sip:b@x", "m=message 9 TCP/MSRP"), ["Require"], facts["media"])
    assert one.leaks == ["Require", "fingerprint"]
    assert (two.way, two.status) == ("sent", 200)


HEADINGS = ("StartTime;CurrentTime;TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);"
            "FailedUnexpectedMessage(C);")


def test_statistics_are_those_of_the_last_line(tmp_path: Path) -> None:
    file = tmp_path / "statistics.csv"
    assert read_statistics(file) is None
    file.write_text(f"{HEADINGS}\n2026\t1 100.5;2026\t1 101.5;1;0;0;0;0;\n2026\t1 100.5;2026\t1 104.5;8;6;2;3;1;\n")
    found = read_statistics(file)
    assert found == Statistics(8, 6, 2, 3, 1, 4.0)
    assert found.rate == 2.0
    assert str(found) == "6 of 8 calls, 2 failed, 1 unexpected messages, 3 retransmissions"


@pytest.mark.parametrize("text", ["", HEADINGS, f"{HEADINGS}\n2026 100.5;2026 101", f"{HEADINGS}\nx;y;1;1;0;0;0;", "a;b\n1;2\n"])
def test_statistics_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "statistics.csv"
    file.write_text(text)
    assert read_statistics(file) is None


def test_the_command_of_a_caller_and_of_who_is_called(tmp_path: Path) -> None:
    files = Files.of(tmp_path, "ue")
    load = Load(calls=9, rate=3, ceiling=5)
    caller = command("sipp", Path("uac.xml"), files, port=5091, transport="udp", load=load, seconds=20, call_id="x", remote="h:1")
    callee = command("sipp", Path("uas.xml"), files, port=5080, transport="tcp", load=load, seconds=20, call_id="x")
    assert caller[:4] == ["sipp", "h:1", "-l", "5"]
    assert caller[caller.index("-t") + 1] == "un"   # a UE is known by its flow: each has its own
    assert callee[callee.index("-t") + 1] == "t1"
    assert "-l" not in callee
    assert all(each[each.index("-m") + 1] == "9" for each in (caller, callee))
