"""Operations and whole stories without a kernel in between: codecs, plan and rewrite, a call and a registration in memory."""

from __future__ import annotations

from bench import codecs, floor, stories
from bench.measure import Figure
from bench.pcscf import ROOT
from bench.process import Failure
from bench.report import Table
from bench.run import Run


def inmemory(run: Run) -> list[Table]:
    """Measured in this process, with the package that this process imports."""
    if run.checkout != ROOT:
        raise Failure(f"it can only measure {ROOT}; run the bench of the other checkout for it")
    call, registration = stories.cost_of_call(), stories.cost_of_registration()
    figures = [
        *codecs.figures(),
        Figure("Story", "e2ae MSRP call, INVITE to BYE", call.pcscf, 900),
        Figure("Story", "e2ae MSRP call, far ends and gateway too", call.everything),
        Figure("Story", "registration, REGISTER – 401 – REGISTER – 200", registration.pcscf),
        Figure("Floor", "the call's messages through a bare forwarder", floor.forwarding(stories.messages_of_call())),
        Figure("Floor", "an INVITE's headers with the standard library's email parser", floor.email_headers()),
        Figure("Floor", "an offer with sdp-transform", floor.sdp_transform_offer()),
    ]
    by_name = {figure.what: figure.micros for figure in figures}
    ratios = [
        ("call ÷ bare forwarder", call.pcscf / by_name["the call's messages through a bare forwarder"]),
        ("SIP parse ÷ email parser",
         by_name["parse an INVITE"] / by_name["an INVITE's headers with the standard library's email parser"]),
        ("SDP parse ÷ sdp-transform", by_name["parse an offer"] / by_name["an offer with sdp-transform"]),
    ]
    return [
        Table("In memory", ("part", "operation", "µs", "per second", "budget µs", "over it"), [
            (each.group, each.what, each.micros, int(1e6 / each.micros), each.budget, "over" if each.is_over else "")
            for each in figures
        ], ["CPU of one operation, the least of several rounds. A story has no kernel in it: no sockets, no waking up."]),
        Table("In memory, beside others", ("ratio", "ours ÷ theirs"), ratios),
    ]
