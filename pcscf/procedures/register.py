"""REGISTER: through us to the core and back, and what it teaches (TS 24.229 §5.2.2, TS 33.328 §7.1.2, RFC 3327, RFC 3608)."""

from __future__ import annotations

from dataclasses import replace

from pcscf.errors import (
    Forbidden,
    GatewayUnavailable,
    MalformedMessage,
    NextHopTimeout,
    TemporarilyUnavailable,
)
from pcscf.mediasec.agree import Verdict, client_media_mechanisms, parse_mechanisms_untrusted, server_list, verify
from pcscf.mediasec.model import Agreed
from pcscf.procedures import release
from pcscf.procedures.binding import Attempt, Binding
from pcscf.procedures.calls import Calls
from pcscf.procedures.forward import Arrival, onward_response, refuse
from pcscf.procedures.ports import Ports
from pcscf.procedures.screen import altered_verify, strip_from_ue, strip_to_ue
from pcscf.procedures.site import Interface
from pcscf.procedures.token import TokenKind
from pcscf.sip.flow import Flow
from pcscf.sip.headers import contact_expires, parse_name_addr, parse_via
from pcscf.sip.message import Request, Response
from pcscf.sip.transaction import ServerTransaction
from pcscf.sip.uri import parse_uri, same_host, same_uri

DEFAULT_EXPIRES = 3600


async def register(calls: Calls, server: ServerTransaction, arrival: Arrival, flow: Flow) -> None:
    """The whole life of one REGISTER. Raises SipError for what is refused before it is sent on."""
    ports = calls.ports
    request, interface = server.request, ports.site.interface(flow.listener)
    binding = _recall(ports, request, flow)
    attempt = _agree(ports, request, binding, interface)
    if request.values("Contact"):   # without one it is a question, which teaches nothing (RFC 3261 §10.2.3)
        binding.attempt = attempt
        ports.store.save_binding(binding)

    onward = _onward(ports, arrival.onward, binding)
    hop = await ports.sip.locate(ports.site.core_hop, ports.site.core_realm)
    exchange = ports.sip.request(onward, hop, ports.tokens.branch(binding.token, arrival.loop_hash))
    async for response in exchange:
        if exchange.is_local(response):
            refuse(ports, server, NextHopTimeout("the registrar did not answer"))
            continue
        answer = onward_response(response)
        strip_to_ue(answer)
        if attempt.sent and (answer.status < 300 or answer.status in (401, 494)):
            for entry in attempt.sent:
                answer.add("Security-Server", entry)
        if 200 <= answer.status < 300:
            standing = _standing(ports, flow, binding.address_of_record, binding.contact)
            _learn(calls, standing or binding, attempt, request, answer)
        ports.sip.respond(server, answer)


def _recall(ports: Ports, request: Request, flow: Flow) -> Binding:
    """The binding that this REGISTER refreshes or continues – same flow, same address of record, same contact – or a new one."""
    address_of_record = parse_name_addr(request.get("To") or "").uri
    contacts = request.values("Contact")
    contact = parse_name_addr(contacts[0]).uri if contacts and contacts[0] != "*" else ""
    standing = _standing(ports, flow, address_of_record, contact)
    if standing is not None:
        return standing
    limits, here = ports.site.limits, len(ports.store.bindings_on(flow))
    if here >= limits.bindings_per_flow:
        raise Forbidden(f"this flow holds {here} registrations already")
    if ports.store.binding_count() >= limits.bindings:
        raise GatewayUnavailable("no room for another registration", retry_after=30)
    interface, user_agent = ports.site.interface(flow.listener), request.get("User-Agent") or ""
    return Binding(
        token=ports.tokens.make(TokenKind.BINDING), flow=flow, address_of_record=address_of_record, contact=contact,
        user_agent=user_agent, policy=ports.site.policy(interface, address_of_record, user_agent),
    )


def _standing(ports: Ports, flow: Flow, address_of_record: str, contact: str) -> Binding | None:
    """The binding of a contact on a flow; contact "" is any."""
    for binding in ports.store.bindings_on(flow):
        if _same(binding.address_of_record, address_of_record) and (not contact or _same(binding.contact, contact)):
            return binding
    return None


def _agree(ports: Ports, request: Request, binding: Binding, interface: Interface) -> Attempt:
    """Read Security-Client, compare Security-Verify, and say what this UE will be told.

    The announced list is static per interface and goes only to a UE that listed a media mechanism (RFC 3329 §2.3.1).
    Raises SecurityAgreementRequired, MalformedMessage.
    """
    earlier = binding.attempt
    client = tuple(request.get_all("Security-Client"))
    verified = request.get_all("Security-Verify")
    if not client and verified and earlier is not None:
        client = earlier.client   # after a 494 the list is mirrored but not repeated
    listed = client_media_mechanisms(parse_mechanisms_untrusted(list(client)))
    told = tuple(server_list(interface.announced)) if listed else ()
    sent_before = earlier.sent if earlier is not None else binding.sent
    until = ports.now() + ports.site.deadlines.challenge
    agreed = Agreed(listed, frozenset(interface.announced) if listed else frozenset())
    fresh = Attempt(request.call_id, client, told, agreed, until)

    verdict = verify(verified, list(sent_before))
    if verdict is Verdict.MEDIA_PART_MISSING and binding.policy.partial_verify == "accept":
        ports.record("verify-partial", identity=binding.address_of_record)
        return replace(fresh, agreed=Agreed(frozenset(), fresh.agreed.net))
    if verdict is Verdict.MATCH or (verdict is Verdict.NOTHING_SENT and not verified):
        return fresh
    binding.attempt = replace(fresh, sent=tuple(server_list(interface.announced)))
    ports.store.save_binding(binding)
    ports.record("verify-mismatch", identity=binding.address_of_record)
    if binding.policy.verify_mismatch_status == Forbidden.status:
        raise Forbidden("Security-Verify is not what this registration was told")
    raise altered_verify(request, list(binding.attempt.sent))


def _onward(ports: Ports, onward: Request, binding: Binding) -> Request:
    strip_from_ue(onward)
    onward.remove("Route")
    outbound = ";ob" if any(parse_name_addr(each).param("reg-id") for each in onward.values("Contact") if each != "*") else ""
    path = ports.site.core.uri(binding.token)
    onward.prepend("Path", f"{path[:-1]}{outbound}>")
    onward.prepend("Require", "path")
    onward.add("P-Visited-Network-ID", f'"{ports.site.network}"')
    onward.add("P-Charging-Vector", f"icid-value={ports.tokens.tag()};orig-ioi={ports.site.network}")
    return onward


def _learn(calls: Calls, binding: Binding, attempt: Attempt, request: Request, answer: Response) -> None:
    """What a 200 settles: what `attempt` agreed, routes, identities, expiry – or the end of the binding.

    The last 200 counts: one that comes after the end of the binding brings it back, as the registrar has it.
    """
    ports = calls.ports
    if not request.values("Contact"):
        return
    lifetime = _granted(binding, request, answer)
    if lifetime <= 0:
        ports.record("deregistered", identity=binding.address_of_record)
        gone = [binding]
        if "*" in request.values("Contact"):
            gone = [each for each in ports.store.bindings() if _same(each.address_of_record, binding.address_of_record)]
        for each in gone:
            forget(calls, each)
        return
    bounds = ports.site.expiry
    learned = replace(
        binding, agreed=attempt.agreed, behind_nat=is_behind_nat(request, binding.flow), sent=attempt.sent,
        attempt=None if binding.attempt is attempt else binding.attempt,
        service_route=tuple(answer.values("Service-Route")), identities=tuple(answer.values("P-Associated-URI")),
        expires_at=ports.now() + min(max(lifetime, bounds.least), bounds.most) + bounds.grace)
    ports.store.save_binding(learned)
    media = sorted(learned.agreed.ue & learned.agreed.net)
    ports.record("registered", identity=binding.address_of_record, expires=lifetime, media=media)


def is_behind_nat(request: Request, flow: Flow) -> bool:
    """Whether Via or Contact of a UE's request name another address than `flow` comes from (TS 24.229 §5.2.1, RFC 3581 §4)."""
    contact = parse_name_addr(request.values("Contact")[0]).uri
    try:
        hosts = [parse_via(request.values("Via")[0]).host, parse_uri(contact).host]
    except MalformedMessage:
        return False
    seen = flow.remote[0].partition("%")[0]
    # A name may be that of any address.
    return any(not same_host(host, seen) for host in hosts if ":" in host or host.replace(".", "").isdigit())


def forget(calls: Calls, binding: Binding) -> None:
    """Drop a binding and release its sessions (TS 24.229 §5.2.8.1)."""
    calls.ports.store.drop_binding(binding.token)
    for session in calls.ports.store.sessions_of(binding.token):
        error = TemporarilyUnavailable("the registration of the served user has ended")
        calls.start(release.release(calls, session.token, error))


def _granted(binding: Binding, request: Request, answer: Response) -> int:
    """Seconds that the registrar granted to this contact; 0 = it is gone."""
    if "*" in request.values("Contact"):
        return 0
    default = answer.get("Expires") or request.get("Expires")
    for value in answer.values("Contact"):
        granted = parse_name_addr(value)
        if not binding.contact or _same(granted.uri, binding.contact):
            return contact_expires(granted.params, default, DEFAULT_EXPIRES)
    return 0


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return same_uri(parse_uri(one), parse_uri(other))
    except MalformedMessage:
        return False
