"""Which medium somebody's habits name."""

from __future__ import annotations

from collections.abc import Callable

from pcscf.lab.bfcp_medium import BfcpMedium
from pcscf.lab.call import Habits
from pcscf.lab.fax_medium import FaxMedium
from pcscf.lab.medium import Medium
from pcscf.lab.msrp_medium import MsrpMedium

_MEDIA: dict[str, Callable[[Habits], Medium]] = {"msrp": MsrpMedium, "bfcp": BfcpMedium, "t38": FaxMedium}


def medium_of(habits: Habits) -> Medium:
    return _MEDIA[habits.medium](habits)
