"""UDP media: datagrams between the sockets of a leg, its DTLS association where it has one, and its partner.

Nothing is kept that cannot go on at once: a datagram that meets a shut gate, a peer that is not verified or not known,
a full socket or too small a path is dropped and counted, as a network would. Until the controller has said who the peer
is, nothing is read, and an early ClientHello waits in the kernel's buffer.

A leg is one socket, or two where RTCP has a port of its own (RFC 3550 §11). What is inside RTP is not looked at, except
where only one of the sides shares its port with RTCP (RFC 5761): then the payload type tells them apart, which SRTP
leaves readable.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from pcscf.gateway.admission import RETRY, Handshake
from pcscf.gateway.capture import Direction
from pcscf.gateway.cause import Cause
from pcscf.gateway.dtls import DtlsEndpoint
from pcscf.gateway.endpoint import Established, Failed, TlsRole
from pcscf.gateway.model import Address, Layer, LegKey, LegPlan
from pcscf.gateway.policing import Policer
from pcscf.gateway.ports import mark
from pcscf.gateway.statistics import Count
from pcscf.gateway.trace import TraceKind, spell

if TYPE_CHECKING:
    from pcscf.gateway.relay import Relay

BURST: Final = 32
"""Datagrams that are read from one socket before the others have their turn."""

_Source: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class _Flow:
    """One socket of a leg. `target`: where its peer receives; `source`: who may send, as last admitted; both as of the kernel."""

    __slots__ = ("index", "latched", "socket", "source", "target")

    def __init__(self, index: int, bound: socket.socket, target: _Source | None) -> None:
        self.index = index
        self.socket = bound
        self.target = target
        self.source: _Source | None = None
        self.latched = 0


class DatagramLeg:
    """One UDP stream of one termination."""

    def __init__(self, relay: Relay, key: LegKey, plan: LegPlan) -> None:
        self.key = key
        self.plan = plan
        self.count = Count()
        self._relay = relay
        self._flows: list[_Flow] = []
        self._endpoint: DtlsEndpoint | None = None
        self._peer: _Source | None = None  # of DTLS
        self._partner: DatagramLeg | None = None
        self._passes = False
        self._captured = relay.capture is not None
        self._retransmission: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False
        self._handshake = Handshake(relay.admission)
        self._postponed: asyncio.TimerHandle | None = None
        self._last_received = self._last_sent = relay.loop.time()
        self._policer: Policer | None = None
        self._police()

    @property
    def established(self) -> bool:
        """Application datagrams may pass: the peer is known and, with DTLS, verified."""
        return bool(self._flows) and (not self.plan.secure or (self._endpoint is not None and self._endpoint.established))

    def idle_since(self, direction: str) -> float:
        """When datagrams last passed, monotonic seconds; before the first one, when the leg was created."""
        received, sent = self._last_received, self._last_sent
        return received if direction == "IN" else sent if direction == "OUT" else max(received, sent)

    # --- what the plan says ------------------------------------------------------------------------------------------

    def replan(self, plan: LegPlan) -> None:
        """Takes over a new plan. An association that depended on what changed is replaced (RFC 8842 §3.1)."""
        old = self.plan
        if old.association != plan.association or (old.rtp, old.rtcp, old.rtcp_mux) != (plan.rtp, plan.rtcp, plan.rtcp_mux):
            self._drop()
            self._ended = False
            if old.local != plan.local:
                self._relay.ports.release(old.local)
        self.plan = plan
        if plan.contract != old.contract:
            self._police()
        if plan.dscp != old.dscp:
            for flow in self._flows:
                mark(flow.socket, plan.dscp or 0)
        if plan.source != old.source or bool(plan.latch) != bool(old.latch):
            for flow in self._flows:
                flow.target, flow.source, flow.latched = self._signalled(flow.index), None, 0

    def _police(self) -> None:
        contract = self.plan.contract
        self._policer = Policer(contract, self._relay.loop.time()) if contract is not None else None

    def close(self) -> None:
        self._drop()
        self._link(None)

    def drive(self) -> None:
        """Does whatever the plan allows now; harmless to call again."""
        if not self._flows and not self._ended and self.plan.complete and self._postponed is None:
            self._begin()
        self._link(self._relay.datagram_partner_of(self.plan))

    def _begin(self) -> None:
        """A client's handshake begins with this, if one may begin now."""
        self._postponed = None
        if self.plan.secure and self.plan.tls is TlsRole.CLIENT and not self._handshake.begin(self._relay.loop.time()):
            self._postponed = self._relay.loop.call_later(RETRY, self._begin)
            return
        self._open()

    def _link(self, partner: DatagramLeg | None) -> None:
        if self._partner is not None and self._partner is not partner:
            self._partner._partner, self._partner._passes = None, False
        self._partner = partner
        self._passes = partner is not None and self.plan.receives and partner.plan.sends
        if partner is not None:
            partner._partner = self
            partner._passes = partner.plan.receives and self.plan.sends

    def _signalled(self, index: int) -> _Source | None:
        """Where datagrams go before any has come; nowhere when the controller wants them to go where some come from."""
        return None if self.plan.latch else _as_source(self.plan.rtcp if index else self.plan.remote)

    def _open(self) -> None:
        relay, plan = self._relay, self.plan
        credentials = plan.credentials if plan.secure else None
        if plan.secure and credentials is None:
            raise RuntimeError("a protected stream that has nothing to show")
        sockets = relay.ports.sockets(plan.local)
        for index, bound in enumerate(sockets[:1] if plan.rtcp_mux else sockets):
            flow = _Flow(index, bound, self._signalled(index))
            self._flows.append(flow)
            if plan.dscp is not None:
                mark(bound, plan.dscp)
            relay.loop.add_reader(bound, self._readable, flow)
        if credentials is not None and self._flows:
            client = plan.tls is TlsRole.CLIENT
            if client:
                self._peer = _as_source(plan.remote)
                self._limit_handshake()
            self._endpoint = DtlsEndpoint(
                credentials.dtls, plan.tls, plan.fingerprints, mtu=relay.config.limits.datagram,
                peer=_name(self._peer) if self._peer is not None else b"",
            )  # fmt: skip
            self._advance(self._peer)

    # --- datagrams ---------------------------------------------------------------------------------------------------

    def _readable(self, flow: _Flow) -> None:
        buffer, bound = self._relay.buffer, flow.socket
        now = self._last_received = self._relay.loop.time()
        for _ in range(BURST):
            try:
                size, source = bound.recvfrom_into(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # what an ICMP message said of something sent earlier
            if self._captured and not self.plan.secure:
                self._write_down("in", buffer[:size], flow.index, source)
            if self._policer is not None and self.established and not self._policer.admits(size, now):
                self.count.policed += 1
                self.count.dropped += 1
            elif self._endpoint is not None:
                self._receive_protected(buffer[:size], source)
            elif source == flow.source or self._admits(flow, source):
                self._pass_on(buffer[:size], flow.index)
            else:
                self.count.dropped += 1
            if not self._flows:
                return

    def _write_down(self, direction: Direction, datagram: memoryview | bytes, index: int, peer: _Source) -> None:
        host, port = self.plan.local
        if self._relay.capture is not None:
            self._relay.capture.datagram(direction, bytes(datagram), (host, port + index), (peer[0], peer[1]))

    def _admits(self, flow: _Flow, source: _Source) -> bool:
        """Whether a datagram may come from there: filter, latching, or else the address that the controller gave."""
        plan, address = self.plan, (source[0], source[1])
        if self._relay.ports.holds(address) and self._leads_back():
            return False   # ends that name our own ports on both sides would have a datagram go round for ever
        if plan.source is not None:
            # A filter speaks of the port of RTP, for which that of its RTCP stands in.
            stands_in = flow.index and plan.remote is not None and plan.rtcp is not None and plan.rtcp[1] == address[1]
            port = plan.remote[1] if stands_in and plan.remote is not None else address[1]
            if not plan.source.admits((address[0], port)):
                return False
        elif not plan.latch:
            signalled = plan.rtcp if flow.index else plan.remote
            if signalled is None or source[0] != signalled[0]:
                return False
        if plan.latch:
            if flow.latched >= plan.latch:
                return False
            flow.latched = plan.latch
            flow.target = source
            self._note("udp-latched", f"the peer sends from {spell(source)}", remote=spell(source))
        flow.source = source
        return True

    def _leads_back(self) -> bool:
        """Whether what goes on to the partner's peer comes to a port of ours again."""
        flows = self._partner._flows if self._partner is not None else []
        return any(flow.target is not None and self._relay.ports.holds((flow.target[0], flow.target[1])) for flow in flows)

    def _pass_on(self, datagram: memoryview | bytes, index: int) -> None:
        """To the partner's peer, or nowhere."""
        partner = self._partner
        if not self._passes or partner is None:
            self.count.dropped += 1
            return
        if self.plan.rtp:
            index = 0 if partner.plan.rtcp_mux else int(_is_rtcp(datagram)) if self.plan.rtcp_mux else index
        if partner._send(datagram, index):
            self.count.datagrams_received += 1
            self.count.received += len(datagram)
        else:
            self.count.dropped += 1

    def _send(self, datagram: memoryview | bytes, index: int) -> bool:
        """An application datagram to our peer; whether it went out."""
        endpoint = self._endpoint
        if endpoint is not None:
            if not endpoint.established or not 0 < len(datagram) <= endpoint.max_plain:
                return False
            endpoint.send(datagram)
            self._advance(self._peer)
        else:
            flow = self._flows[index] if index < len(self._flows) else None
            if flow is None or flow.target is None or not _sent(flow.socket, datagram, flow.target):
                return False
            if self._captured:
                self._write_down("out", datagram, index, flow.target)
        self._last_sent = self._relay.loop.time()
        self.count.datagrams_sent += 1
        self.count.sent += len(datagram)
        return True

    # --- DTLS --------------------------------------------------------------------------------------------------------

    def _receive_protected(self, datagram: memoryview, source: _Source) -> None:
        endpoint = self._endpoint
        assert endpoint is not None  # noqa: S101 - only called with one
        if source == self._peer:
            endpoint.receive(datagram, endpoint.peer)
        elif (
            self._peer is None and (self.plan.source is None or self.plan.source.admits((source[0], source[1])))
            and self._relay.admission.has_room(self._relay.loop.time())
        ):  # fmt: skip
            endpoint.receive(datagram, _name(source))
            if endpoint.peer:   # it has returned its cookie; who only asks for one costs nobody a handshake
                self._handshake.begin(self._relay.loop.time())
                self._peer = source
                self._limit_handshake()
        else:
            self.count.dropped += 1
            return
        self._advance(source)

    def _advance(self, to: _Source | None) -> None:
        """After the endpoint has taken something in, or its timer ran out."""
        endpoint = self._endpoint
        if endpoint is None or to is None:
            return
        for datagram in endpoint.take_network():
            _sent(self._flows[0].socket, datagram, to)  # one that is lost comes again
        if endpoint.events:
            events = endpoint.events[:]
            endpoint.events.clear()
            for event in events:
                if isinstance(event, Established):
                    self._verified(event)
                elif isinstance(event, Failed):
                    self._end(event.cause, event.alert)
                    return
                else:
                    self._pass_decrypted(endpoint)
                    self._end(Cause.PEER_CLOSED, "")
                    return
        self._pass_decrypted(endpoint)
        if not endpoint.established:
            self._arm(endpoint)

    def _pass_decrypted(self, endpoint: DtlsEndpoint) -> None:
        for datagram in endpoint.take_plain():
            self._pass_on(datagram, 0)

    def _arm(self, endpoint: DtlsEndpoint) -> None:
        if self._retransmission is not None:
            self._retransmission.cancel()
        wait = endpoint.next_timer()
        self._retransmission = self._relay.loop.call_later(wait, self._retransmit) if wait is not None else None

    def _retransmit(self) -> None:
        self._retransmission = None
        if self._endpoint is not None:
            self._endpoint.handle_timer()
            self._advance(self._peer)

    def _limit_handshake(self) -> None:
        wait = self._relay.config.timers.tls_handshake
        self._deadline = self._relay.loop.call_later(wait, self._end, Cause.HANDSHAKE_TIMEOUT, "")

    def _verified(self, event: Established) -> None:
        self._handshake.end()
        self._cancel_timers()
        self._relay.statistics.connections[self.plan.kind] += 1
        self._relay.statistics.handshakes[event.version] += 1
        self._note(
            "tls-established", f"{event.version} with {event.cipher}, the peer's certificate is the promised one",
            version=event.version, cipher=event.cipher, fingerprint=event.peer_fingerprint,
            own=self._endpoint.shown if self._endpoint is not None and self._relay.traces else "",
        )  # fmt: skip
        self._relay.established(self.key, Layer.DTLS)

    # --- ends --------------------------------------------------------------------------------------------------------

    def _end(self, cause: Cause, alert: str) -> None:
        """Nothing passes any more until the plan changes. The plain side stays as it is: it has no connection to lose."""
        failed = cause is not Cause.PEER_CLOSED
        self._note("tls-failed" if failed else "closed", f"{cause.text}{f' ({alert})' if alert else ''}", cause=cause.name,
                   alert=alert, expected=", ".join(map(str, self.plan.fingerprints)) if failed else "",
                   octets=str(self.count.received))  # fmt: skip
        self._shut()
        self._ended = True
        if failed:
            self._relay.statistics.failures[cause] += 1
        self._relay.report(self.key, cause)

    def _drop(self) -> None:
        """Ends whatever stands or is under way, in order, without a report."""
        if self._flows:
            self._note("closed", "released by the controller", octets=str(self.count.received))
        self._shut()

    def _shut(self) -> None:
        self._cancel_timers()
        self._handshake.end()
        if self._postponed is not None:
            self._postponed.cancel()
            self._postponed = None
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None and self._peer is not None and self._flows:
            endpoint.close()
            for datagram in endpoint.take_network():
                _sent(self._flows[0].socket, datagram, self._peer)
            endpoint.discard()
        for flow in self._flows:
            self._relay.loop.remove_reader(flow.socket)
        self._flows = []
        self._peer = None

    def _cancel_timers(self) -> None:
        for timer in (self._retransmission, self._deadline):
            if timer is not None:
                timer.cancel()
        self._retransmission = self._deadline = None

    def _note(self, kind: TraceKind, text: str, **facts: str) -> None:
        if self._relay.traces:
            known: Mapping[str, str] = {"remote": spell(self._peer or self.plan.remote), **facts}
            self._relay.note(kind, self, text, known)


def _is_rtcp(datagram: memoryview | bytes) -> bool:
    """By the packet type, which no RTP payload type of a shared port has (RFC 5761 §4)."""
    return len(datagram) > 1 and 192 <= datagram[1] <= 223


def _sent(bound: socket.socket, datagram: memoryview | bytes, to: _Source) -> bool:
    """False when the kernel does not take it: no room, too long, no route, no address of our family."""
    try:
        bound.sendto(datagram, to)
    except (OSError, TypeError):   # Python has the latter for an IPv6 address and an IPv4 socket
        return False
    return True


def _as_source(address: Address | None) -> _Source | None:
    """As the kernel spells it."""
    return (*address, 0, 0) if address is not None and ":" in address[0] else address


def _name(source: _Source) -> bytes:
    return f"{source[0]} {source[1]}".encode()
