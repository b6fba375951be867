"""`python -m bench`: what the hot path costs, as a table for people or as JSON."""

from __future__ import annotations

import argparse

from bench import calls, codecs, floor
from bench.measure import Figure
from bench.report import Report, as_json, as_markdown


def measure() -> Report:
    """Everything, in one run, so that the figures can be compared with one another."""
    call, registration = calls.cost_of_call(), calls.cost_of_registration()
    figures = [
        *codecs.figures(),
        Figure("Story", "e2ae MSRP call, INVITE to BYE", call.pcscf, 900),
        Figure("Story", "e2ae MSRP call, far ends and gateway too", call.everything),
        Figure("Story", "registration, REGISTER – 401 – REGISTER – 200", registration.pcscf),
        Figure("Floor", "the call's messages through a bare forwarder", floor.forwarding(calls.messages_of_call())),
        Figure("Floor", "an INVITE's headers with the standard library's email parser", floor.email_headers()),
        Figure("Floor", "an offer with sdp-transform", floor.sdp_transform_offer()),
    ]
    by_name = {figure.what: figure.micros for figure in figures}
    return Report(figures, {
        "call / bare forwarder": call.pcscf / by_name["the call's messages through a bare forwarder"],
        "SIP parse / email parser": (
            by_name["parse an INVITE"] / by_name["an INVITE's headers with the standard library's email parser"]),
        "SDP parse / sdp-transform": by_name["parse an offer"] / by_name["an offer with sdp-transform"],
    })


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown")
    arguments = parser.parse_args()
    print((as_json if arguments.json else as_markdown)(measure()))


if __name__ == "__main__":
    main()
