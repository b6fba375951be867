"""What procedures record: a line in the log, and a number for those who watch."""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from pcscf.observe.trace import TraceWriter

ROUTINE: Final = frozenset({"decided", "reserved"})
"""What every session records when all is well: at debug, because a record costs as much as a message."""


class Records:
    """The `record` of the procedures' ports. trace: learns which call has which context.

    events     how often each was recorded, by name
    refused    requests that were answered here, by status; released: sessions that were ended here, by the status that says why
    decided    lines of offers and answers, by mode
    """

    def __init__(self, trace: TraceWriter | None) -> None:
        self._log = structlog.get_logger().bind()   # bound once: the levels that are off cost nothing then
        self._trace = trace
        self.events: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.released: Counter[str] = Counter()
        self.decided: Counter[str] = Counter()

    def record(self, event: str, **facts: object) -> None:
        """Keys of what is counted are names of ours: nobody outside makes one."""
        if event == "decided":
            self.decided[str(facts["mode"])] += 1
        elif event == "refused":
            self.refused[str(facts["status"])] += 1
        elif event == "released":
            self.released[str(facts["cause"])] += 1
        else:
            self.events[event] += 1
        (self._log.debug if event in ROUTINE else self._log.info)(event, **facts)
        if event == "reserved" and self._trace is not None:
            self._trace.link(str(facts["call"]), int(str(facts["context"])))
