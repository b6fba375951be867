"""What a run of scenarios tells: a table per scenario for people, JUnit XML for build servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pcscf.cli.scenario.stage import Outcome

MIN_WIDTH = 120


def console() -> Console:
    return Console(width=max(Console().width, MIN_WIDTH), highlight=False)


def show_outcome(outcome: Outcome, where: Console) -> None:
    """Each check of one scenario."""
    scenario = outcome.entry.scenario
    where.print()
    where.print(Text.assemble((outcome.entry.name, "bold"), f" over {outcome.transport}: {scenario.title}"))
    table = Table("", "what", "seen", show_edge=False, show_header=False)
    for check in outcome.checks:
        table.add_row(_mark(check.ok), Text(check.what), Text(check.seen))   # a fingerprint has no emoji in it
    where.print(table)
    if outcome.failure:
        where.print(Text(f"It did not come to its end: {outcome.failure}", "bold red"))


def show_summary(outcomes: Sequence[Outcome], keep: Path | None, where: Console) -> None:
    """One line per scenario, and the verdict."""
    table = Table("", "scenario", "checks", "time", show_edge=False, title="Summary", title_justify="left")
    for outcome in outcomes:
        held = sum(check.ok for check in outcome.checks)
        table.add_row(_mark(outcome.ok), outcome.entry.name, f"{held} of {len(outcome.checks)}", f"{outcome.seconds:.1f} s")
    where.print()
    where.print(table)
    wrong = sum(not outcome.ok for outcome in outcomes)
    verdict = f"{wrong} of {len(outcomes)} did not hold" if wrong else "Everything held"
    kept = f"; traces and logs are in {keep}" if keep is not None else "; --keep DIR keeps traces and logs" if wrong else ""
    where.print()
    where.print(f"{verdict}, in {sum(outcome.seconds for outcome in outcomes):.1f} s{kept}.")


def write_junit(outcomes: Sequence[Outcome], file: Path) -> None:
    """One suite per scenario, one case per check. Raises OSError."""
    top = ElementTree.Element("testsuites")
    for outcome in outcomes:
        name = f"{outcome.entry.name}.{outcome.transport}"
        wrong = sum(not check.ok for check in outcome.checks)
        suite = ElementTree.SubElement(
            top, "testsuite", name=name, tests=str(len(outcome.checks) + bool(outcome.failure)), failures=str(wrong),
            errors=str(int(bool(outcome.failure))), time=f"{outcome.seconds:.3f}")
        for check in outcome.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=_clean(check.what))
            if not check.ok:
                ElementTree.SubElement(case, "failure", message=_clean(check.seen))
        if outcome.failure:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="The scenario came to its end")
            ElementTree.SubElement(case, "error", message=_clean(outcome.failure))
    ElementTree.ElementTree(top).write(file, encoding="utf-8", xml_declaration=True)


def _mark(ok: bool) -> Text:
    return Text("yes", "green") if ok else Text("NO", "bold red")


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text)
