from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pcscf.cli.main import main
from pcscf.h248.codec import MAX_MESSAGE

GOOD = "!/2 agw T=7{C=1{MF=a{M{ST=1{R{\nv=0\n}}}}}}"
BAD = "!/2 agw\nT=7{C=1{MF=a{FROB}}}"
PRETTY = """MEGACO/2 agw
Transaction = 7 {
  Context = 1 {
    Modify = a {
      Media {
        Stream = 1 {
          Remote {
v=0
}
        }
      }
    }
  }
}
"""


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def h248(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command on files with these texts, named 0, 1, …"""
    monkeypatch.chdir(tmp_path)

    def run(*texts: str, options: tuple[str, ...] = ()) -> Ran:
        for number, text in enumerate(texts):
            Path(str(number)).write_bytes(text.encode())
        with pytest.raises(SystemExit) as raised:
            main(["h248", *options, *map(str, range(len(texts)))])
        return Ran(int(raised.value.code or 0), *capsys.readouterr())

    return run


def test_a_message_is_laid_out(h248: Any) -> None:
    assert h248(GOOD) == (0, PRETTY, "")
    assert h248(PRETTY) == (0, PRETTY, "")
    assert h248(PRETTY, options=("--compact",)) == (0, "!/2 agw\nT=7{C=1{MF=a{M{ST=1{R{\nv=0\n}}}}}}\n", "")


def test_an_error_has_its_place_and_the_others_are_still_printed(h248: Any) -> None:
    ran = h248(BAD, GOOD)
    assert ran == (1, PRETTY, "0: error 444: line 2, column 14: unknown descriptor, found 'FROB'\n")


def test_a_line_for_each_file(h248: Any) -> None:
    ran = h248(GOOD, BAD, "", options=("--json", "--", "missing"))
    assert (ran.status, ran.err) == (1, "")
    missing, *others = [json.loads(line) for line in ran.out.splitlines()]
    assert missing == {"file": "missing", "ok": False, "error": "cannot be read: no such file or directory"}
    assert others == [
        {"file": "0", "ok": True, "error": None},
        {"file": "1", "ok": False, "error": "error 444: line 2, column 14: unknown descriptor, found 'FROB'"},
        {"file": "2", "ok": False, "error": "error 400: line 1, column 1: expected MEGACO/<version> or !/<version>"},
    ]
    assert h248(GOOD, GOOD, options=("--json",)).status == 0


def test_standard_input(h248: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert h248(options=("-",)) == (0, PRETTY, "")


def test_what_is_too_long_for_a_message(h248: Any) -> None:
    ran = h248(GOOD.ljust(10 * MAX_MESSAGE), options=("--json",))
    assert ran.status == 1
    assert json.loads(ran.out)["error"] == f"error 400: line 1, column 1: message of {MAX_MESSAGE + 1} octets is too long"


def test_a_message_does_not_steer_the_terminal(h248: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert h248(GOOD.replace("v=0", "s=\x1b[2J\ré")).out == PRETTY.replace("v=0", r"s=\x1b[2J\ré")
