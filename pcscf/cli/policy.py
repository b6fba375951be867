"""`pcscf policy test`: whether a configuration decides as its `*.test.yaml` says, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pcscf.cli.cases import CaseError, Expected, ExpectedLine, PolicyTests
from pcscf.config.load import ConfigErrors, load_model, load_rules
from pcscf.config.model import Config
from pcscf.config.tree import Node, Place, place_of
from pcscf.errors import ConfigError
from pcscf.mediasec.explain import Explanation, sdp_text
from pcscf.mediasec.model import LinePlan

SUFFIX = ".test.yaml"

_WRITTEN_AT = {"offer": ("offer", "sdp"), "answer": ("answer",), "realm": ("binding", "realm")}

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was expected. `found` says what is there instead, "" when it holds; `path` where it was written."""

    what: str
    found: str
    path: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """A file of tests, the tree that knows its lines, and the configuration that is tested."""

    file: Path
    tests: PolicyTests
    tree: Node
    policy: Path
    config: Config


@app.callback()
def policy() -> None:
    """Test what policies decide."""


@app.command("test")
def run(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="X.test.yaml, which tests X.yaml beside it.")],
) -> None:
    """Run the tests in FILE…. Exit status: 0 all hold, 1 one does not, 2 a file cannot be used."""
    suites = load_suites(files)
    console = Console(soft_wrap=True, highlight=False)
    checks = failures = 0
    for suite in suites:
        console.print(Text(f"{suite.file} ({suite.policy.name})", "bold"))
        for index, test in enumerate(suite.tests.tests):
            results = check(suite, index)
            failed = [each for each in results if each.found]
            checks, failures = checks + len(results), failures + len(failed)
            console.print(Text(f"  {'✗' if failed else '✓'} {test.name}", "red" if failed else "green"))
            for each in results:
                _show(each, place_of(suite.tree, ("tests", index, *each.path)), console)
    count = sum(len(suite.tests.tests) for suite in suites)
    told = f"failed: {failures}" if failures else "all hold"
    console.print(Text(f"tests: {count}, checks: {checks}, {told}", "bold red" if failures else "bold green"))
    if failures:
        raise typer.Exit(1)


def load_suites(files: Sequence[Path]) -> list[Suite]:
    """Reads the files and the configurations that they test. Raises ConfigErrors with all that is wrong with them."""
    suites: list[Suite] = []
    errors: list[ConfigError] = []
    for file in files:
        try:
            tests, tree = load_model(file, PolicyTests)
            policy_file = tests.policy or _neighbour(file)
            suites.append(Suite(file, tests, tree, policy_file, load_rules(policy_file)))
        except ConfigErrors as several:
            errors += several.errors
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(errors)
    return suites


def check(suite: Suite, index: int) -> list[Check]:
    """What one test expects, and what is there. Raises ConfigError, with its line, when its SDP or realm is no good."""
    test = suite.tests.tests[index]
    try:
        explanation = test.explained(suite.config)
    except CaseError as error:
        place = place_of(suite.tree, ("tests", index, *_WRITTEN_AT[error.key]))
        raise ConfigError(error.what, file=place.file, line=place.line, hint=error.hint) from None
    return list(_checks(test.expect, explanation))


def _neighbour(file: Path) -> Path:
    if not file.name.endswith(SUFFIX):
        raise ConfigError(
            "names no policy", file=str(file), hint=f"add `policy: FILE`, or call the file X{SUFFIX} beside X.yaml"
        )
    return file.with_name(file.name.removesuffix(SUFFIX) + ".yaml")


def _checks(expected: Expected, explanation: Explanation) -> Iterator[Check]:
    plan = explanation.plan
    if expected.action is not None:
        yield Check(f"action {expected.action}", _differs(expected.action, plan.action), ("expect", "action"))
    if expected.status is not None:
        yield Check(f"status {expected.status}", _differs(expected.status, plan.status or "none"), ("expect", "status"))
    if expected.lines is not None:
        yield Check(f"m-lines: {len(expected.lines)}", _differs(len(expected.lines), len(plan.lines)), ("expect", "lines"))
        for index, (wanted, line) in enumerate(zip(expected.lines, plan.lines, strict=False)):
            yield from _line_checks(wanted, line, ("expect", "lines", index))
    sent = None if explanation.sent is None else sdp_text(explanation.sent).splitlines()
    for index, pattern in enumerate(expected.contains):
        found = "nothing leaves" if sent is None else "" if any(_like(pattern, each) for each in sent) else "no such line leaves"
        yield Check(f"contains {pattern}", found, ("expect", "contains", index))
    for index, pattern in enumerate(expected.lacks):
        met = None if sent is None else next((each for each in sent if _like(pattern, each)), "")
        found = "nothing leaves" if met is None else f"it has {met}" if met else ""
        yield Check(f"lacks {pattern}", found, ("expect", "lacks", index))


def _line_checks(wanted: ExpectedLine, line: LinePlan, path: tuple[str | int, ...]) -> Iterator[Check]:
    told = f"it is {line.mode.value}, rule {line.rule}: {line.reason}"
    comparisons = {
        "mode": line.mode.value == wanted.mode,
        "rule": line.rule == wanted.rule,
        "gateway": line.gateway == wanted.gateway,
        "latched": (line.access is not None and line.access.latched) == wanted.latched,
        "reason": (wanted.reason or "") in line.reason,
    }
    for key, holds in comparisons.items():
        value = getattr(wanted, key)
        if value is not None:
            shown = str(value).lower() if isinstance(value, bool) else value
            yield Check(f"line {line.index}: {key} {shown}", "" if holds else told, (*path, key))


def _differs(expected: object, found: object) -> str:
    return "" if expected == found else f"it is {found}"


def _like(pattern: str, line: str) -> bool:
    """Only * and ? have a meaning; brackets are those of IPv6 addresses."""
    return fnmatchcase(line, pattern.replace("[", "[[]"))


def _show(result: Check, place: Place, console: Console) -> None:
    if not result.found:
        console.print(Text(f"      ✓ {result.what}", "dim"))
        return
    console.print(Text(f"      ✗ {result.what}", "red"))
    console.print(Text(f"        {place.file}:{place.line}: {result.found}"))
