"""The scenarios that are there, by name: a folder each, `04-msrp-originating/scenario.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pcscf.cli.scenario.model import Scenario
from pcscf.config.load import POLICIES, ConfigErrors, load_config, load_model
from pcscf.errors import ConfigError

SCENARIOS = Path(__file__).parent / "scenarios"
"""The scenarios that come with the package."""
FILE = "scenario.yaml"
LAB = POLICIES / "lab.yaml"


@dataclass(frozen=True, slots=True)
class Entry:
    """A scenario and the folder that it stands in."""

    folder: Path
    scenario: Scenario

    @property
    def name(self) -> str:
        """Its folder's name without the number that orders it."""
        number, dash, rest = self.folder.name.partition("-")
        return rest if dash and number.isdecimal() else self.folder.name


def load_scenarios(names: Sequence[str] = (), folder: Path = SCENARIOS) -> list[Entry]:
    """The scenarios in `folder` that `names` name (`cancel`, `07-cancel` or `07`), all where it is empty, in order.

    Raises ConfigErrors with all that is wrong with them.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    if not found:
        raise ConfigError("there are no scenarios here", file=str(folder), hint=f"a scenario is a folder with a {FILE}")
    chosen = found if not names else _chosen(names, found)
    entries: list[Entry] = []
    errors: list[ConfigError] = []
    for each in chosen:
        try:
            entries.append(_load(each))
        except ConfigErrors as several:
            errors += several.errors
    if errors:
        raise ConfigErrors(errors)
    return entries


def _load(folder: Path) -> Entry:
    scenario, _ = load_model(folder / FILE, Scenario)
    load_config(LAB, scenario.settings)   # a mistake in `set` is told before anything is started
    return Entry(folder, scenario)


def _chosen(names: Sequence[str], found: Sequence[Path]) -> list[Path]:
    known = {name: folder for folder in found for name in _names(folder.name)}
    errors = []
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "`pcscf scenario list` tells what there is"
            errors.append(ConfigError(f"there is no scenario {name}", hint=hint))
    if errors:
        raise ConfigErrors(errors)
    wanted = {known[name] for name in names}
    return [folder for folder in found if folder in wanted]


def _names(folder: str) -> list[str]:
    number, dash, rest = folder.partition("-")
    return [folder, number, rest] if dash and number.isdecimal() else [folder]
