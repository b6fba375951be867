"""Traffic policing (H.248.53, package tman): what a peer may send, and what becomes of more. Pure.

Two token buckets (TS 23.334 §6.2.5, RFC 2216): one for the sustained rate with the burst that is allowed, one for the peak rate
with what jitter of the network may push together.
Octets are those of TCP and UDP payload, as they come from the network. What exceeds a bucket is dropped on UDP; on TCP
reading waits, so that the peer is slowed down and nothing is lost.
"""

from __future__ import annotations

from typing import Final

from pcscf.record import record

BURST_SECONDS: Final = 1.0
"""Of the sustained rate, where the controller says no burst (tman/mbs)."""
PEAK_SECONDS: Final = 0.1
"""Of the peak rate may come at once, where the controller says no delay variation (tman/dvt): network jitter is no excess."""
LEAST_BURST: Final = 1500
"""One packet always fits."""


@record
class Contract:
    """sustained, peak: octets per second, None where the controller set none; burst: octets; tolerance: seconds of the peak rate
    that may come at once.
    """

    sustained: int | None
    burst: int
    peak: int | None
    tolerance: float = PEAK_SECONDS


class Policer:
    """`now` is monotonic seconds throughout."""

    __slots__ = ("_buckets", "contract")

    def __init__(self, contract: Contract, now: float) -> None:
        self.contract = contract
        self._buckets: list[_Bucket] = []
        if contract.sustained is not None:
            self._buckets.append(_Bucket(contract.sustained, max(contract.burst, LEAST_BURST), now))
        if contract.peak is not None:
            self._buckets.append(_Bucket(contract.peak, max(contract.peak * contract.tolerance, LEAST_BURST), now))

    def admits(self, octets: int, now: float) -> bool:
        """Whether a datagram may pass. One that may not takes nothing out of the buckets."""
        for bucket in self._buckets:
            bucket.fill(now)
        if any(bucket.level < octets for bucket in self._buckets):
            return False
        for bucket in self._buckets:
            bucket.level -= octets
        return True

    def debit(self, octets: int, now: float) -> float:
        """Takes out what a stream has brought already, and more than there is; seconds until the debt is paid."""
        wait = 0.0
        for bucket in self._buckets:
            bucket.fill(now)
            bucket.level -= octets
            wait = max(wait, -bucket.level / bucket.rate)
        return wait


class _Bucket:
    """`level`: octets that may come now, at most `depth`."""

    __slots__ = ("_at", "depth", "level", "rate")

    def __init__(self, rate: float, depth: float, now: float) -> None:
        self.rate = rate
        self.depth = self.level = depth
        self._at = now

    def fill(self, now: float) -> None:
        self.level = min(self.depth, self.level + (now - self._at) * self.rate)
        self._at = now
