"""The report: Markdown for people, JSON for machines, and a page of which the bench writes only its own part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BEGIN = "<!-- what stands from here on is written by `make bench` -->"
END = "<!-- to here; the rest of the page is written by hand -->"

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """One table of figures. notes: sentences below it. Figures are floats or integers; None is a figure that there is not."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """machine: facts of where it ran, by name."""

    machine: Mapping[str, str]
    tables: Sequence[Table]


def shown(cell: Cell) -> str:
    """A figure with three significant digits, and all digits before the point."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    magnitude = abs(cell)
    return f"{cell:,.0f}" if magnitude >= 100 else f"{cell:.1f}" if magnitude >= 10 else f"{cell:.2f}"


def as_markdown(report: Report) -> str:
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in report.machine.items())]
    for table in report.tables:
        lines += ["", f"## {table.title}", ""]
        if table.rows:
            rules = [_rule(table, column) for column in range(len(table.columns))]
            lines += ["| " + " | ".join(table.columns) + " |", "|" + "|".join(rules) + "|"]
            lines += ["| " + " | ".join(map(shown, row)) + " |" for row in table.rows]
            lines += [""] if table.notes else []
        lines += [f"- {note}" for note in table.notes]
    return "\n".join(lines) + "\n"


def _rule(table: Table, column: int) -> str:
    is_figure = any(isinstance(row[column], int | float) for row in table.rows)
    return "---:" if is_figure else "---"


def as_json(report: Report) -> str:
    """Columns stand beside the rows: two of them may have the same name."""
    tables = [
        {"title": table.title, "columns": list(table.columns), "rows": [list(row) for row in table.rows],
         "notes": list(table.notes)}
        for table in report.tables
    ]
    return json.dumps({"machine": dict(report.machine), "tables": tables}, indent=1, ensure_ascii=False)


def placed(page: str, generated: str) -> str:
    """`page` with `generated` between the marks; a page without marks gets them at its end. Raises ValueError for half a pair."""
    begins, ends = page.count(BEGIN), page.count(END)
    if (begins, ends) == (0, 0):
        return f"{page.rstrip()}\n\n{BEGIN}\n\n{generated.strip()}\n\n{END}\n".lstrip()
    if (begins, ends) != (1, 1) or page.index(BEGIN) > page.index(END):
        raise ValueError("the page's marks of what is generated are not one pair")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{generated.strip()}\n\n{END}{rest.partition(END)[2]}"
