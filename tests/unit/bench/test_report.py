from __future__ import annotations

import json

import pytest

from bench.load import Cost
from bench.profile import ranking, short
from bench.relay import row as relay_row
from bench.report import BEGIN, END, Report, Table, as_json, as_markdown, placed, shown
from bench.run import ROOT
from bench.sip_load import row
from bench.sipp import Outcome

TABLE = Table("Calls", ("rate", "program", "µs"), [(100, "pcscf", 1234.5), (100, "kamailio", None)], ["A note."])


def test_figures_have_three_digits_or_all_before_the_point() -> None:
    assert [shown(each) for each in (0.1234, 12.345, 123.4, 12345.6, 1234567, "yes", None)] == [
        "0.12", "12.3", "123", "12,346", "1,234,567", "yes", "–"]


def test_markdown_has_a_table_with_figures_to_the_right_and_notes() -> None:
    assert as_markdown(Report({"machine": "2 × some CPU"}, [TABLE])) == (
        "| | |\n|---|---|\n| machine | 2 × some CPU |\n\n## Calls\n\n| rate | program | µs |\n|---:|---|---:|\n"
        "| 100 | pcscf | 1,234 |\n| 100 | kamailio | – |\n\n- A note.\n")


def test_a_part_that_was_not_measured_is_in_the_report() -> None:
    missing = Table("limit", (), (), ["**not measured**: no SIPp"])
    assert "## limit\n\n- **not measured**: no SIPp" in as_markdown(Report({}, [missing]))


def test_json_has_the_figures_as_they_were_measured() -> None:
    read = json.loads(as_json(Report({"machine": "m"}, [TABLE])))
    assert read["tables"][0]["rows"] == [[100, "pcscf", 1234.5], [100, "kamailio", None]]
    assert read["tables"][0]["columns"] == ["rate", "program", "µs"]


def test_a_page_keeps_what_was_written_by_hand() -> None:
    page = placed("# Bench\n\nBefore.\n", "first")
    assert page == f"# Bench\n\nBefore.\n\n{BEGIN}\n\nfirst\n\n{END}\n"
    page += "\n## By hand\n\nAfter.\n"
    again = placed(page, "second\n")
    assert again == page.replace("first", "second")
    assert placed(again, "second") == again


@pytest.mark.parametrize("page", [BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_page_with_broken_marks_is_not_written_over(page: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        placed(page, "new")


def a_cost(micros: float, failed: int = 0, **more: float) -> Cost:
    outcome = Outcome(1000, 1000, 1000 - failed, failed, 3, 10.0, 10.0)
    found = {"pcscf": micros, **more} if more else {"kamailio": micros}
    return Cost(outcome, found, {part: value / 10_000 for part, value in found.items()})


def test_a_ratio_is_that_of_the_medians() -> None:
    ours = [a_cost(each, gateway=100.0) for each in (900.0, 1000.0, 5000.0)]
    theirs = [a_cost(each) for each in (200.0, 250.0, 300.0)]
    assert row(300, "pcscf", ours, theirs) == (300, "pcscf", 1000.0, 900.0, 5000.0, "10 %", 100.0, "1 %", 4.0, 9, "yes")
    assert row(300, "kamailio", theirs, theirs)[8] is None


def test_there_is_no_ratio_to_a_run_that_was_not_clean() -> None:
    ours, theirs = [a_cost(1000.0, gateway=1.0)], [a_cost(250.0, failed=2)]
    assert row(300, "pcscf", ours, theirs)[8] is None
    assert row(300, "kamailio", theirs, theirs)[-1] == "no: 2 of 1000 calls failed"


def test_without_haproxy_the_gateway_stands_alone() -> None:
    alone = relay_row("bulk", "MB", {"gateway": [1.0, 3.0, 2.0]}, 0.5)
    assert alone == ("bulk", "MB per CPU-s", 2.0, 1.0, 3.0, None, None, None, None, 0.5, None)
    assert relay_row("bulk", "MB", {"gateway": [1.0], "haproxy": [4.0]}, 0.25)[-3:] == (0.25, 0.25, "yes")


def test_a_profile_names_files_from_where_they_belong() -> None:
    assert short(f"{ROOT}/pcscf/sip/parse.py:parse", ROOT) == "pcscf/sip/parse.py:parse"
    assert short("/x/lib/python3.11/site-packages/structlog/dev.py:f", ROOT) == "structlog/dev.py:f"
    assert short("/x/lib/python3.11/asyncio/runners.py:run", ROOT) == "asyncio/runners.py:run"


def test_a_profile_leaves_out_what_only_holds_everything() -> None:
    ranked = ranking({"main": 100, "a": 10, "b": 40, "c": 10}, 100, ROOT, micros=2000.0, top=2)
    assert ranked == [("b", 40.0, 800.0), ("a", 10.0, 200.0)]
