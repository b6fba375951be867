"""`pcscf explain`: what is decided about an offer or an answer, by which rule and why, and the SDP that would leave."""

from __future__ import annotations

import json
import sys
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any

import sdp_transform  # type: ignore[import-untyped]
import typer
from rich.console import Console
from rich.text import Text

from pcscf.cli.cases import CaseError, read_case
from pcscf.config.load import load_rules
from pcscf.config.tree import MAX_SIZE
from pcscf.errors import ConfigError
from pcscf.mediasec.explain import Explanation, as_object, sdp_text
from pcscf.mediasec.model import LIVE, Direction, Leg, LinePlan, Mode
from pcscf.sdp.lines import Sdp

STANDARD_INPUT = "-"

_MODES = {Mode.TERMINATE: "green", Mode.PROTECT: "green", Mode.FAILED: "red", Mode.DISABLED: "red", Mode.RELEASED: "yellow"}
_TCP = {"accept": "accepts TCP", "connect": "opens TCP", None: ""}
_TLS = {"server": "is TLS server", "client": "is TLS client", None: ""}
_DTLS = {"server": "is DTLS server", "client": "is DTLS client", None: ""}


def explain(
    case: Annotated[str, typer.Argument(metavar="CASE.json", help="A file, or - for standard input.")],
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration whose policies decide, instead of the case's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """Explain the decision about one offer or answer, with a stand-in for the gateway. Nothing is sent."""
    file = "standard input" if case == STANDARD_INPUT else case
    config = None if policy is None else load_rules(policy)
    try:
        explanation = read_case(_read(case, file), file).explained(config)
    except CaseError as error:
        raise ConfigError(error.what, file=file, hint=error.hint) from None
    if as_json:
        sys.stdout.write(json.dumps(as_object(explanation) | {"structured": structured(explanation.sent)}) + "\n")
    else:
        _show(explanation, Console(soft_wrap=True, highlight=False))


def structured(sdp: Sdp | None) -> Any:
    """The view of sdp-transform. It loses what a wire must keep, so it is for reading only."""
    if sdp is None:
        return None
    # JSON has no NaN and no infinity, which sdp-transform makes of values that read so.
    return json.loads(json.dumps(sdp_transform.parse(sdp_text(sdp))), parse_constant=str)


def _read(case: str, file: str) -> Any:
    try:
        if case == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_SIZE + 1)
        else:
            with Path(case).open("rb") as source:
                data = source.read(MAX_SIZE + 1)
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise ConfigError(what, file=file, hint="write the path of a case, or - and give it on standard input") from None
    if len(data) > MAX_SIZE:
        raise ConfigError(f"is larger than {MAX_SIZE} octets", file=file, hint="this is hardly a case")
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg} at column {error.colno}"
        raise ConfigError(what, file=file, line=error.lineno, hint="write one JSON object") from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", file=file, hint="save the file in UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"is not JSON that can be read: {error}", file=file, hint="write one JSON object") from None
    except RecursionError:
        raise ConfigError("is nested too deeply", file=file, hint="write one JSON object as the how-to shows it") from None


def _show(explanation: Explanation, console: Console) -> None:
    plan, received = explanation.plan, explanation.received
    console.print(Text(_printable(_outcome(explanation)), "bold" if plan.action == "forward" else "bold red"))
    for line in plan.lines:
        media = received.media[line.index].lines[0] if line.index < len(received.media) else "not in the answer"
        console.print(Text(f"\n{line.index}  {_printable(media)}", "bold"))
        downgrade = " (counted as a downgrade)" if line.index in plan.downgraded else ""
        mode = (line.mode.value, _MODES.get(line.mode, ""))
        console.print(Text.assemble("   ", mode, f", rule {line.rule}: {_printable(line.reason)}{downgrade}"))
        if line.mode in LIVE and plan.action == "forward":
            console.print(Text(f"   {_gateway(line)}", "dim"))
    console.print()
    if explanation.sent is None:
        console.print("No SDP leaves.")
        return
    for mark, text in difference(explanation.received, explanation.sent):
        console.print(Text(f"{mark} {_printable(text)}", {"-": "red", "+": "green"}.get(mark, "dim")))


def _outcome(explanation: Explanation) -> str:
    plan = explanation.plan
    if plan.action == "reject":
        offerer = "UE" if plan.direction is Direction.OFFER_FROM_UE else "core"
        return f"The offer of the {offerer} is refused with {plan.status}: {plan.warning}."
    sender, receiver = ("UE", "core") if explanation.from_ue else ("core", "UE")
    if plan.action == "release-session":
        return f"The answer of the {sender} ends the session: both sides get BYE."
    return f"The {'answer' if explanation.is_answer else 'offer'} of the {sender} goes on to the {receiver}."


def _gateway(line: LinePlan) -> str:
    if line.access is None or line.core is None:
        return "without the gateway"
    mapping = "; it maps the paths of the MSRP frames" if line.path_mode == "aware" else ""
    return f"gateway: towards the UE {_role(line.access)}; towards the core {_role(line.core)}{mapping}"


def _role(leg: Leg) -> str:
    over_tcp = leg.transport.startswith("TCP")
    roles = [role for role in (_TCP[leg.tcp], (_TLS if over_tcp else _DTLS)[leg.tls]) if role]
    if over_tcp:
        return " and ".join(roles) or f"speaks {leg.transport}, its role still open"
    shared = {"agreed": ", RTCP on the same port", "offered": ", RTCP on the same port if that is answered"}.get(leg.rtcp_mux, "")
    return f"{' and '.join(roles) or f'speaks {leg.transport}'}{shared}{_source(leg)}"


def _source(leg: Leg) -> str:
    """Whose datagrams it takes for those of a UE behind a NAT."""
    if not leg.latched:
        return ""
    return f" with who sends first from {' or '.join(leg.sources)}" if leg.sources else " with who sends first"


def difference(before: Sdp, after: Sdp) -> list[tuple[str, str]]:
    """Every line of both, marked "-" (only before), "+" (only after) or " "."""
    old, new = _lines(before), _lines(after)
    marked: list[tuple[str, str]] = []
    for tag, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            marked += [(" ", text) for text in old[first:last]]
        else:
            marked += [("-", text) for text in old[first:last]] + [("+", text) for text in new[start:end]]
    return marked


def _lines(sdp: Sdp) -> list[str]:
    return [text.rstrip("\r") for text in sdp_text(sdp).rstrip("\r\n").split("\n")]


def _printable(text: str) -> str:
    """A peer's octets must not steer the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
