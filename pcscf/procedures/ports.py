"""The ports: everything that procedures can see of the outside world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from pcscf.iq.media import Media
from pcscf.iq.notifications import Connected
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import Realms
from pcscf.mediasec.model import MediaPlan
from pcscf.procedures.binding import Binding
from pcscf.procedures.session import Session
from pcscf.procedures.site import Site
from pcscf.procedures.token import Tokens
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.message import Request, Response
from pcscf.sip.transaction import ServerTransaction


class Exchange(Protocol):
    """A request under way: iterate over its responses.

    Every provisional response but 100, every 2xx with its retransmissions, and one final response come as they arrive; a time-out
    comes as a 408 and a lost transport as a 503 made here (`is_local`). The iteration ends with the final response; after a 2xx
    to an INVITE, which others may follow, when the transaction has ended.
    """

    def __aiter__(self) -> AsyncIterator[Response]: ...

    def cancel(self, reason: str = "") -> None:
        """Send CANCEL as soon as RFC 3261 §9.1 allows; `reason` becomes its Reason header field."""

    def is_local(self, response: Response) -> bool:
        """Whether `response` was made here because nothing came."""


class SipPort(Protocol):
    """SIP as a transaction user sees it."""

    def trying(self, server: ServerTransaction) -> None:
        """Answer 100 at once (RFC 3261 §17.2.1)."""

    def respond(self, server: ServerTransaction, response: Response) -> None:
        """Send `response`; what the transaction's table forbids has no effect."""

    def request(self, request: Request, destination: Destination, branch: str) -> Exchange:
        """Put our Via with `branch` on top, send, and give the exchange. The request must not be used afterwards."""

    def send(self, request: Request, destination: Destination, branch: str) -> None:
        """Send outside any transaction: the ACK to a 2xx."""

    def is_alive(self, flow: Flow) -> bool:
        """Whether the flow's connection is open (always true for datagrams)."""

    async def locate(self, uri: str, realm: str) -> Hop:
        """The next hop of a SIP URI in a realm (RFC 3263). Raises NextHopTimeout when the name cannot be resolved."""


class MediaPort(Protocol):
    """The gateways behind Iq. Each call is one H.248 transaction with its own deadline."""

    async def reserve(self, plan: MediaPlan, realms: Realms, urgency: Urgency) -> Media:
        """Both terminations of a new context. Raises GatewayUnavailable or InternalFailure; then nothing is left behind."""

    async def configure(self, media: Media, settled: MediaPlan) -> Media:
        """What the answer told: remote descriptors, roles, gates open. Raises as `reserve`; the context stays for release."""

    async def begin_tcp(self, media: Media, plan: MediaPlan, connected: Connected) -> Media:
        """The TCP connection that waited for this one, if any; what there is then. Raises as `reserve`; the context stays."""

    async def begin_tls(self, gateway: str, connected: Connected) -> None:
        """TLS on a connection that is up, with the gateway as client. Raises as `reserve`."""

    async def release(self, media: Media) -> None:
        """Give the context back. Never raises: it goes on until the gateway confirmed or is gone."""


class Store(Protocol):
    """Where bindings and sessions live."""

    def binding(self, token: str) -> Binding | None: ...
    def bindings_on(self, flow: Flow) -> list[Binding]: ...
    def bindings(self) -> list[Binding]: ...
    def binding_count(self) -> int: ...
    def save_binding(self, binding: Binding) -> None: ...
    def drop_binding(self, token: str) -> None: ...

    def session(self, token: str) -> Session | None: ...
    def sessions(self) -> list[Session]: ...
    def session_count(self) -> int:
        """How many have not ended: what is kept for requests that cross an end takes nobody's place."""

    def sessions_of(self, binding_token: str) -> list[Session]: ...
    def session_in(self, gateway: str, context: int) -> Session | None: ...
    def save_session(self, session: Session) -> None: ...
    def drop_session(self, token: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """What a procedure is given. `now()` is monotonic seconds; `record(event, **facts)` writes log and counters."""

    sip: SipPort
    media: MediaPort
    store: Store
    site: Site
    tokens: Tokens
    now: Callable[[], float]
    later: Callable[[float, Callable[[], None]], None]
    record: Callable[..., None]
