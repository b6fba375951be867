"""What a controller sets on ROOT about transactions (base root package, H.248.1 §E.2.1): when Pending is due, and how often.

The execution times tell the other side what to expect of us, and the controller's provisional timer what we may expect: those are
kept and read back, nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pcscf.gateway.items import canonical, unsupported_value
from pcscf.h248 import packages
from pcscf.h248.agenda import H248Timers
from pcscf.h248.message import Property

MAX_MILLISECONDS: Final = 60_000
MAX_PENDINGS: Final = 1000
_MOST: Final = {
    packages.MG_PROVISIONAL_TIMER: MAX_MILLISECONDS,
    packages.MGC_PROVISIONAL_TIMER: MAX_MILLISECONDS,
    packages.MG_EXECUTION_TIME: MAX_MILLISECONDS,
    packages.MGC_EXECUTION_TIME: MAX_MILLISECONDS,
    packages.MG_PENDING_LIMIT: MAX_PENDINGS,
    packages.MGC_PENDING_LIMIT: MAX_PENDINGS,
}


def check_limit(one: Property) -> None:
    """Raises H248Error 449 where such a property is no number, 0, or beyond all measure; any other property passes."""
    name, text = canonical(one.name), one.value.text
    most = _MOST.get(name)
    if most is not None and not (text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= most):
        raise unsupported_value(name, text)


def adopted(timers: H248Timers, properties: Mapping[str, Property]) -> tuple[H248Timers, H248Timers]:
    """The timers of what we ask, and of what the controller asks. properties: of ROOT, checked, by canonical name."""
    number = {name: int(properties[name].value.text) for name in _MOST if name in properties}
    asking = replace(timers, pending_limit=number.get(packages.MGC_PENDING_LIMIT, timers.pending_limit))
    provisional = number[packages.MG_PROVISIONAL_TIMER] / 1000 if packages.MG_PROVISIONAL_TIMER in number else timers.provisional
    limit = number.get(packages.MG_PENDING_LIMIT, timers.pending_limit)
    return asking, replace(timers, provisional=provisional, pending_limit=limit)
