"""What all parts of one run of the bench share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.pcscf import ROOT, Pins


@dataclass(frozen=True, slots=True)
class Run:
    """folder: for logs and scenarios' files. rates: calls per second. seconds: length of one load. repeats: of each load."""

    folder: Path
    pins: Pins = field(default_factory=Pins)
    checkout: Path = ROOT
    rates: tuple[int, ...] = (100, 300, 700, 1000)
    seconds: float = 5.0
    repeats: int = 3
    is_quick: bool = False
    settings: tuple[str, ...] = ()

    def room(self, name: str) -> Path:
        """A new folder below `folder`."""
        made = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        made.mkdir()
        return made
