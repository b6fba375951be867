"""Timers of H.248 as a configuration has them, for either end of Iq."""

from __future__ import annotations

from pcscf.config.gateway import IqTimers
from pcscf.h248.agenda import H248Timers


def h248_timers(timers: IqTimers) -> H248Timers:
    return H248Timers(
        repeat=timers.retransmit, repeat_max=timers.retransmit_max, t_max=timers.t_max, long_timer=timers.long,
        provisional=timers.execution)
