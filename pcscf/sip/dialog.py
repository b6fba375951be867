"""Dialogs as a proxy on their path sees them (RFC 3261 §12), kept so that it can end them with a BYE to both sides.

Of an endpoint's dialog state a proxy needs both halves: what each side would write into its next request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from pcscf.errors import MalformedMessage
from pcscf.sip.headers import parse_name_addr
from pcscf.sip.message import Message, Request, Response

MAX_FORWARDS: Final = 70

TARGET_REFRESH: Final = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Methods whose Contact replaces the remote target (RFC 3261 §12.2, RFC 3311 §5.1, RFC 6665 §4.4.1)."""

_OUTSIDE_CSEQ: Final = frozenset({"ACK", "CANCEL"})

OwnRoute = Callable[[str], bool]
"""Whether a Record-Route is the one that this half-call put there. May raise MalformedMessage: then it is not."""


@dataclass(slots=True)
class Party:
    """One side. address: its From or To field value with tag. target: the URI of its Contact, "" while unknown.
    cseq: number of the last request seen from it, 0 for none.
    """

    address: str
    tag: str
    target: str = ""
    cseq: int = 0


@dataclass(slots=True)
class Dialog:
    """caller: who sent the request that made the dialog. record_route: of its response, the hop next to the callee first."""

    call_id: str
    caller: Party
    callee: Party
    record_route: list[str] = field(default_factory=list)
    confirmed: bool = False

    @classmethod
    def of(cls, request: Request, response: Response) -> Self:
        """The dialog that a provisional response with a To tag, or a 2xx, makes. Raises MalformedMessage."""
        dialog = cls(
            call_id=request.call_id,
            caller=Party(request.get("From") or "", request.from_tag),
            callee=Party(response.get("To") or "", response.to_tag),
        )
        dialog.observe_request(request)
        dialog.observe_response(request, response)
        return dialog

    def sender(self, request: Request) -> Party | None:
        """Whether the caller or the callee sent `request`; None if it is of another dialog. Raises MalformedMessage."""
        if request.call_id != self.call_id:
            return None
        tags = request.from_tag, request.to_tag
        if tags == (self.caller.tag, self.callee.tag):
            return self.caller
        if tags == (self.callee.tag, self.caller.tag):
            return self.callee
        return None

    def is_in_order(self, request: Request) -> bool:
        """Whether the CSeq of a request within the dialog is above what its sender used before (RFC 3261 §12.2.2)."""
        sender = self.sender(request)
        return sender is not None and (request.method in _OUTSIDE_CSEQ or request.cseq[0] > sender.cseq)

    def observe_request(self, request: Request) -> None:
        """Learns the CSeq and, from the request that makes the dialog, the caller's target. Raises MalformedMessage."""
        sender = self.caller if request.from_tag == self.caller.tag else self.callee
        if request.method not in _OUTSIDE_CSEQ:
            sender.cseq = max(sender.cseq, request.cseq[0])
        if not sender.target:
            sender.target = _contact(request) or ""

    def observe_response(self, request: Request, response: Response) -> None:
        """Learns from a response to `request` of this dialog: both targets and the route set. Raises MalformedMessage.

        A 2xx to a target refresh replaces both targets: the Contact of a request counts only once it was accepted
        (RFC 6141 §4.2). The route set is learnt until the dialog is confirmed (RFC 3261 §13.2.2.4, RFC 6141 §4.8).
        """
        is_success = 200 <= response.status < 300
        if response.status <= 100 or response.status >= 300:
            return
        is_from_caller = request.from_tag == self.caller.tag
        answerer = self.callee if is_from_caller else self.caller
        sender = self.caller if is_from_caller else self.callee
        if request.method in TARGET_REFRESH:
            answerer.target = _contact(response) or answerer.target
            if is_success:
                sender.target = _contact(request) or sender.target
        if not self.confirmed and is_from_caller and request.method in {"INVITE", "SUBSCRIBE", "REFER"}:
            self.record_route = response.values("Record-Route")
            self.confirmed = is_success

    def bye_towards_caller(self, is_own: OwnRoute, reason: str = "") -> Request:
        """The callee's BYE, sent from here, without Via. `reason`: value of its Reason field (RFC 3326)."""
        self.callee.cseq += 1
        routes = self.routes_to_caller(is_own)
        return self._request("BYE", self.callee, self.caller, cseq=self.callee.cseq, routes=routes, reason=reason)

    def bye_towards_callee(self, is_own: OwnRoute, reason: str = "") -> Request:
        """The caller's BYE, sent from here, without Via. `reason`: value of its Reason field (RFC 3326)."""
        self.caller.cseq += 1
        routes = self.routes_to_callee(is_own)
        return self._request("BYE", self.caller, self.callee, cseq=self.caller.cseq, routes=routes, reason=reason)

    def ack_towards_callee(self, is_own: OwnRoute, cseq: int) -> Request:
        """The ACK to a 2xx of INVITE number `cseq` that the caller will not send (RFC 3261 §13.2.2.4), without Via."""
        return self._request("ACK", self.caller, self.callee, cseq=cseq, routes=self.routes_to_callee(is_own))

    def routes_to_callee(self, is_own: OwnRoute) -> list[str]:
        """The hops between us and the callee, nearest first: Record-Route ahead of ours, turned round."""
        own = [index for index, route in enumerate(self.record_route) if _is_own(route, is_own)]
        return self.record_route[: own[0] if own else None][::-1]

    def routes_to_caller(self, is_own: OwnRoute) -> list[str]:
        """The hops between us and the caller, nearest first: Record-Route after ours."""
        own = [index for index, route in enumerate(self.record_route) if _is_own(route, is_own)]
        return self.record_route[own[-1] + 1 if own else 0 :]

    def _request(self, method: str, sender: Party, receiver: Party, *, cseq: int, routes: list[str], reason: str = "") -> Request:
        uri = receiver.target or parse_name_addr(receiver.address).uri
        if routes:
            first = parse_name_addr(routes[0])
            if first.uri_parsed.param("lr") is None:
                # A strict router wants its own URI on top and the target at the end (RFC 3261 §12.2.1.1).
                routes = [*routes[1:], f"<{uri}>"]
                uri = first.uri
        request = Request(method, uri)
        for route in routes:
            request.add("Route", route)
        request.add("Max-Forwards", str(MAX_FORWARDS))
        request.add("From", sender.address)
        request.add("To", receiver.address)
        request.add("Call-ID", self.call_id)
        request.add("CSeq", f"{cseq} {method}")
        if reason:
            request.add("Reason", reason)
        request.add("Content-Length", "0")
        return request

    def to_record(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings, numbers and booleans."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The dialog of which `to_record` made `record`."""
        return cls(**{**record, "caller": Party(**record["caller"]), "callee": Party(**record["callee"])})


def _contact(message: Message) -> str | None:
    contacts = message.values("Contact")
    return parse_name_addr(contacts[0]).uri if contacts else None


def _is_own(route: str, is_own: OwnRoute) -> bool:
    try:
        return is_own(route)
    except MalformedMessage:
        return False
