"""From what was seen to what held: every claim of a scenario, and what must always be true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pcscf.cli.proof import Check, standing_contexts
from pcscf.cli.scenario.model import Claim, Gateway, Messages, Player, Scenario
from pcscf.cli.scenario.seen import Seen
from pcscf.cli.scenario.sipp import Statistics
from pcscf.observe.trace import GATEWAY, TraceEvent

BUGS = ("Traceback", "procedure-failed", "never retrieved", "Exception in", "stopped-with-work-left")


@dataclass(frozen=True, slots=True)
class End:
    """How a process came to its end. status None: it was still there when the scenario ended it."""

    status: int | None
    statistics: Statistics | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one run left. events: the P-CSCF's trace up to the moment before it was stopped; log: its standard error."""

    messages: Mapping[str, Sequence[Seen]] = field(default_factory=dict)
    ends: Mapping[str, End] = field(default_factory=dict)
    events: Sequence[TraceEvent] = ()
    pcscf: int | None = None
    log: str = ""


def judge(scenario: Scenario, evidence: Evidence) -> list[Check]:
    """Everything that the scenario claims, how each SIPp ended, and how the P-CSCF did."""
    calls = scenario.amount.calls
    return [
        *(_end(player, calls, evidence) for player in scenario.start if player.sipp is not None),
        *(_claim(index, claim, calls, evidence) for index, claim in enumerate(scenario.checks)),
        _clean(evidence),
    ]


def _end(player: Player, calls: int, evidence: Evidence) -> Check:
    name, file = f"sipp-{player.role}", player.sipp.name if player.sipp is not None else ""
    end = evidence.ends.get(player.role)
    if end is None:
        return Check(name, f"SIPp as {player.role} played {file}", False, "it was not started")
    if player.idle:
        heard = len(evidence.messages.get(player.role, ()))
        return Check(name, f"SIPp as {player.role}, ready to play {file}, was left in peace",
                     end.status is None and not heard, f"{heard} messages" if end.status is None else f"it ended: {end.status}")
    counted = end.statistics
    ok = end.status == 0 and counted is not None and (counted.successful, counted.failed) == (calls, 0)
    seen = str(counted) if counted is not None else "no statistics"
    if counted is not None and calls > 1 and player.role != "core":
        seen = f"{seen}, {counted.rate:.1f} calls/s"
    return Check(name, f"SIPp as {player.role} played {file} to its end, and met nothing unexpected", ok,
                 seen if end.status == 0 else f"exit status {end.status}, {seen}")


def _claim(index: int, claim: Claim, calls: int, evidence: Evidence) -> Check:
    name = f"check-{index + 1}"
    if claim.message is not None:
        seen = evidence.messages.get(claim.message.at, ())
        wrong, right = _messages(claim.message, calls, seen)
    elif claim.gateway is not None:
        wrong, right = _gateway(claim.gateway, calls, evidence.events)
    else:
        wrong, right = _leaks(evidence.messages.get("core", ()))
    return Check(name, claim.says, not wrong, wrong or right)


def _messages(claim: Messages, calls: int, seen: Sequence[Seen]) -> tuple[str, str]:
    """What is wrong ("" when nothing is), and what it rests on."""
    meant = _different(
        each for each in seen if each.is_meant_by(claim) and (claim.having is None or each.line_like(claim.having) is not None))
    which = claim.selector if claim.having is None else f"{claim.selector} with {claim.having}"
    count = f"{len(meant)} {which}" + (f" for {calls} calls" if calls > 1 else "")
    if claim.times is not None and len(meant) != claim.times * calls:
        return f"{count}, not {claim.times * calls}", ""
    if not meant and claim.times is None:
        return f"no {which} to look at", ""
    shown: list[str] = []
    for each in meant:
        for pattern in claim.contains:
            line = each.line_like(pattern)
            if line is None:
                return f"a {claim.selector} has no line {pattern}", ""
            shown.append(line)
        for pattern in claim.lacks:
            line = each.line_like(pattern)
            if line is not None:
                return f"a {claim.selector} has {line}", ""
    return "", "; ".join(_shortened(line) for line in dict.fromkeys(shown[:3])) or count


def _different(messages: Iterable[Seen]) -> list[Seen]:
    """Each message once: a retransmission has the same octets."""
    return list({each.lines: each for each in messages}.values())


def _gateway(claim: Gateway, calls: int, events: Sequence[TraceEvent]) -> tuple[str, str]:
    confirmed, contexts = _confirmed(events)
    found = {**{name.lower(): confirmed[name] for name in ("Add", "Modify", "Subtract")}, "contexts": len(contexts)}
    if claim.heard is not None:
        found["heard"] = _heard(events)
    wrong = [
        f"{name}: {found[name]}, not {wanted * calls}" for name in ("contexts", "add", "modify", "subtract", "heard")
        if (wanted := getattr(claim, name)) is not None and found[name] != wanted * calls
    ]
    if claim.left is not None:
        left = contexts_left(events)
        if left:
            wrong.append(f"left: {', '.join(sorted(left))}")
        elif not contexts:
            wrong.append("no context was made that could be given back")
    return "; ".join(wrong), ", ".join(f"{count} {name}" for name, count in found.items())


def _confirmed(events: Sequence[TraceEvent]) -> tuple[Counter[str], set[str]]:
    """Commands on terminations that gateways confirmed, and the contexts that were made."""
    commands: Counter[str] = Counter()
    contexts: set[str] = set()
    for event in events:
        facts = event.facts
        if (event.node, event.proto, event.dir, facts.get("kind")) != ("pcscf", "Iq", "in", "reply") or facts.get("errors"):
            continue
        listed = facts.get("commands")
        for command in map(str, listed if isinstance(listed, list) else []):
            name, _, termination = command.partition(" ")
            if termination != "ROOT":
                commands[name] += 1
            if name == "Add":
                contexts.add(event.flow)
    return commands, contexts


def _heard(events: Sequence[TraceEvent]) -> int:
    """Streams that ended, on either side, after they had brought something."""
    return sum(
        event.node == GATEWAY and event.facts.get("kind") == "closed" and event.facts.get("octets", "0") != "0"
        for event in events)


def contexts_left(events: Sequence[TraceEvent]) -> dict[str, set[str]]:
    """Contexts that the gateway of now still has, with their terminations."""
    return standing_contexts(_since_registration(events))


def _since_registration(events: Sequence[TraceEvent]) -> Sequence[TraceEvent]:
    """What came after the last registration of a gateway: it has nothing of before, least of all what a dead one had."""
    last = max((
        index for index, event in enumerate(events)
        if (event.node, event.proto, event.dir, event.facts.get("kind")) == ("pcscf", "Iq", "out", "reply")
        and event.facts.get("commands") == ["ServiceChange ROOT"]
    ), default=-1)
    return events[last + 1:]


def _leaks(seen: Sequence[Seen]) -> tuple[str, str]:
    received = [each for each in seen if each.way == "received"]
    leaks = sorted({f"{leak} in {each.lines[0]}" for each in received for leak in each.leaks})
    if not received:
        return "nothing came to the core that could be looked at", ""
    return ", ".join(leaks[:3]), f"{len(received)} messages looked at"


def _clean(evidence: Evidence) -> Check:
    bugs = list(_bugs(evidence.log))
    status = "it did not run" if evidence.pcscf is None else f"exit status {evidence.pcscf}"
    return Check("pcscf", "The P-CSCF ended when it was asked to, and met no fault of its own", evidence.pcscf == 0 and not bugs,
                 "; ".join([status, *bugs]))


def _bugs(log: str) -> Iterator[str]:
    for line in log.splitlines():
        if any(sign in line for sign in BUGS):
            yield _shortened(line)
            return


def _shortened(line: str) -> str:
    return line if len(line) <= 90 else f"{line[:87]}…"
