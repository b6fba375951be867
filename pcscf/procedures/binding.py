"""Binding: what a registration taught us (RFC 3261 §10, RFC 3327, RFC 3608, TS 33.328 §7.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.model import Agreed, Origin
from pcscf.sip.dialog import Dialog
from pcscf.sip.flow import Flow

NOTHING_AGREED = Agreed(frozenset(), frozenset())


@dataclass(slots=True)
class Attempt:
    """A registration under way: what this REGISTER told and was told, kept until its 200 or `until` (monotonic seconds)."""

    call_id: str
    client: tuple[str, ...]
    sent: tuple[str, ...]
    agreed: Agreed
    until: float


@dataclass(slots=True)
class Binding:
    """One contact of one UE on one flow. `expires_at` is monotonic seconds; 0.0 while no 200 has come.

    sent        the Security-Server entries that this UE was sent: what Security-Verify must repeat
    agreed      the mechanisms that the UE listed and that we announced
    behind_nat  the UE's Via or Contact names another address than the one it is seen at
    identities  P-Associated-URI in order, the first is the default identity
    dialogs     of SUBSCRIBE and REFER, the one used last at the end; their requests follow the routes that stand here
    """

    token: str
    flow: Flow
    address_of_record: str
    contact: str
    user_agent: str
    policy: MediaPolicy
    identities: tuple[str, ...] = ()
    service_route: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    agreed: Agreed = NOTHING_AGREED
    behind_nat: bool = False
    expires_at: float = 0.0
    attempt: Attempt | None = field(default=None)
    dialogs: dict[tuple[str, str, str], Dialog] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Where the UE signals from."""
        return Origin(self.flow.remote[0], self.behind_nat)

    def is_registered(self, now: float) -> bool:
        return self.expires_at > now

    def is_worth_keeping(self, now: float) -> bool:
        return self.expires_at > now or (self.attempt is not None and self.attempt.until > now)
