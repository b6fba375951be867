"""The report: Markdown for people, JSON for machines."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.measure import Figure


class Report(NamedTuple):
    """`ratios`: ours over the other's, so that less is better."""

    figures: Sequence[Figure]
    ratios: Mapping[str, float]


def as_markdown(report: Report) -> str:
    lines = [
        f"µs of CPU, {platform.python_implementation()} {platform.python_version()} on {platform.machine()}", "",
        "| | operation | µs | budget | |", "|---|---|---:|---:|---|",
    ]
    group = ""
    for figure in report.figures:
        shown = figure.group if figure.group != group else ""
        group = figure.group
        budget = f"{figure.budget:g}" if figure.budget is not None else ""
        lines.append(f"| {shown} | {figure.what} | {figure.micros:.1f} | {budget} | {'over' if figure.is_over else ''} |")
    lines += ["", "| ratio | |", "|---|---:|", *(f"| {name} | {ratio:.2f} |" for name, ratio in report.ratios.items())]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    figures = [each._asdict() | {"micros": round(each.micros, 2)} for each in report.figures]
    ratios = {name: round(ratio, 3) for name, ratio in report.ratios.items()}
    return json.dumps({"python": platform.python_version(), "figures": figures, "ratios": ratios}, indent=2)
