"""The router: which procedure a request belongs to, and what it must show to get there (TS 24.229 §5.2.6)."""

from __future__ import annotations

from typing import Final

from pcscf.errors import DialogUnknown, FlowFailed, Forbidden, NotRegistered, SipError, UserUnknown
from pcscf.procedures.binding import Binding
from pcscf.procedures.calls import Calls
from pcscf.procedures.dialogs import OPENS_DIALOG, follow
from pcscf.procedures.forward import Arrival, arrive, next_hop_uri, refuse
from pcscf.procedures.indialog import acknowledge, in_dialog
from pcscf.procedures.invite import cancel, invite
from pcscf.procedures.register import register
from pcscf.procedures.screen import (
    asserted_identity,
    check_extensions,
    check_security_verify,
    registered_identity,
    strip_from_ue,
    strip_to_ue,
)
from pcscf.procedures.site import Interface, Side
from pcscf.procedures.standalone import relay
from pcscf.procedures.token import TokenKind
from pcscf.sip.flow import Flow
from pcscf.sip.message import Request, response_to
from pcscf.sip.parse import check_request
from pcscf.sip.transaction import ServerTransaction
from pcscf.sip.uri import parse_uri

ALLOWED = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY, REFER, PUBLISH, OPTIONS, REGISTER"

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_ACCESS: Final = Side.ACCESS
_CORE: Final = Side.CORE
_SESSION: Final = TokenKind.SESSION
_BINDING: Final = TokenKind.BINDING


class Router:
    """Takes what the transaction layer hands up and gives it to its procedure."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    async def request(self, server: ServerTransaction, flow: Flow) -> None:
        """One new request, ACK and CANCEL aside. Cannot fail: every SipError becomes the response it stands for."""
        try:
            check_request(server.request)
            check_extensions(server.request)
            arrival = arrive(self.calls.ports, server.request)
            interface = self.calls.ports.site.interface(flow.listener)
            if interface.side is _ACCESS:
                await self._from_ue(server, arrival, interface, flow)
            else:
                await self._from_core(server, arrival, flow)
        except SipError as error:
            refuse(self.calls.ports, server, error)

    async def ack(self, request: Request, flow: Flow) -> None:
        """The ACK to a 2xx, which belongs to no transaction. What is wrong with it is nobody's business: it is dropped."""
        ports = self.calls.ports
        side = ports.site.interface(flow.listener).side
        try:
            check_request(request)
            arrival = arrive(ports, request)
        except SipError as error:
            ports.record("ack-dropped", call=request.get("Call-ID"), why=error.what)
            return
        (strip_from_ue if side is _ACCESS else strip_to_ue)(arrival.onward)
        await acknowledge(self.calls, arrival, side, flow)

    def cancelled(self, server: ServerTransaction, request: Request) -> None:
        """A CANCEL that met its INVITE; the transaction layer has answered it."""
        cancel(self.calls, server, request.get("Reason") or "")

    async def _from_ue(self, server: ServerTransaction, arrival: Arrival, interface: Interface, flow: Flow) -> None:
        ports, request = self.calls.ports, server.request
        if request.method == "REGISTER":
            await register(self.calls, server, arrival, flow)
            return
        if self._asks_us(request, arrival):
            self._answer_options(server)
            return
        self._check_token(request, arrival)
        if arrival.kind is _SESSION:
            strip_from_ue(arrival.onward)
            await in_dialog(self.calls, server, arrival, _ACCESS, flow)
            return
        binding = self._binding_of(request, flow)
        check_security_verify(request, binding)
        if request.to_tag and arrival.kind is None:
            raise DialogUnknown("no dialog of ours goes by these routes")
        self._screen(arrival.onward, request, binding)
        if request.to_tag:
            hop = await follow(ports, arrival.token, request, arrival.onward)
            await relay(self.calls, server, arrival, arrival.token, _ACCESS, hop)
            return
        arrival.onward.set_values("Route", list(binding.service_route))
        first = next_hop_uri(arrival.onward) if binding.service_route else ports.site.core_hop
        hop = await ports.sip.locate(first, ports.site.core_realm)
        if request.method == "INVITE":
            await invite(self.calls, server, arrival, binding, _ACCESS, hop)
            return
        self._record_route(arrival.onward, binding, _ACCESS)
        await relay(self.calls, server, arrival, binding.token, _ACCESS, hop)

    async def _from_core(self, server: ServerTransaction, arrival: Arrival, flow: Flow) -> None:
        ports, request = self.calls.ports, server.request
        if request.method == "REGISTER":
            raise Forbidden("registrations come from the access side")
        self._check_token(request, arrival)
        if self._asks_us(request, arrival):
            self._answer_options(server)
            return
        strip_to_ue(arrival.onward)
        if arrival.kind is _SESSION:
            await in_dialog(self.calls, server, arrival, _CORE, flow)
            return
        binding = ports.store.binding(arrival.token) if arrival.kind is _BINDING else None
        if binding is None or not binding.is_registered(ports.now()):
            if request.to_tag:
                raise DialogUnknown("no dialog of ours goes by these routes")
            raise UserUnknown("no user is registered here by this route")
        if not ports.sip.is_alive(binding.flow):
            raise FlowFailed("the connection of the served user is gone")
        if request.method == "INVITE" and not request.to_tag:
            await invite(self.calls, server, arrival, binding, _CORE, binding.flow)
            return
        self._record_route(arrival.onward, binding, _CORE)
        await relay(self.calls, server, arrival, binding.token, _CORE, binding.flow)

    @staticmethod
    def _check_token(request: Request, arrival: Arrival) -> None:
        """A route of ours with a token that is not: forged, altered, or of an earlier life, whose dialogs are forgotten."""
        if arrival.was_tampered and request.to_tag:
            raise DialogUnknown("no dialog of ours goes by these routes")
        if arrival.was_tampered:
            raise Forbidden("this route carries no token of ours")

    def _binding_of(self, request: Request, flow: Flow) -> Binding:
        """The registration that speaks: on this flow, and where several are, the one whose identity From names."""
        ports = self.calls.ports
        now = ports.now()
        here = [binding for binding in ports.store.bindings_on(flow) if binding.is_registered(now)]
        if not here:
            raise NotRegistered("register before you call")
        if len(here) == 1:
            return here[0]
        sender = request.get("From") or ""
        for binding in here:
            if registered_identity(sender, binding):
                return binding
        return here[-1]

    def _screen(self, onward: Request, request: Request, binding: Binding) -> None:
        ports = self.calls.ports
        identity = asserted_identity(request, binding)
        strip_from_ue(onward)
        if identity:
            onward.add("P-Asserted-Identity", identity)
        onward.add("P-Charging-Vector", f"icid-value={ports.tokens.tag()};orig-ioi={ports.site.network}")

    def _record_route(self, onward: Request, binding: Binding, source: Side) -> None:
        if onward.method not in OPENS_DIALOG:
            return
        site = self.calls.ports.site
        access, core = site.interface(binding.flow.listener).uri(binding.token), site.core.uri(binding.token)
        for entry in (access, core) if source is _ACCESS else (core, access):
            onward.prepend("Record-Route", entry)

    def _asks_us(self, request: Request, arrival: Arrival) -> bool:
        """Whether this is an OPTIONS for the P-CSCF itself (RFC 3261 §11)."""
        if request.method != "OPTIONS" or arrival.onward.get("Route"):
            return False
        uri = parse_uri(request.uri)
        return not uri.user and self.calls.ports.site.is_our_uri(uri)

    def _answer_options(self, server: ServerTransaction) -> None:
        response = response_to(server.request, 200, "OK", to_tag=self.calls.ports.tokens.tag())
        response.add("Allow", ALLOWED)
        response.add("Accept", "application/sdp, multipart/mixed")
        self.calls.ports.sip.respond(server, response)
