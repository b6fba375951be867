"""What the descriptors of an Add or Modify do to a termination (RFC 3525 §7.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pcscf.errors import H248Error
from pcscf.gateway import items
from pcscf.gateway.certificate import Fingerprint
from pcscf.gateway.credentials import Credentials
from pcscf.gateway.description import CHOOSE, Description, parse_description_untrusted, resolve
from pcscf.gateway.model import Address, Ports, Stream, TcpRole, Termination, Wanted
from pcscf.gateway.settle import check_remote, contract, dscp, source_filter, tcp_role
from pcscf.h248 import packages
from pcscf.h248.message import Audit, Descriptor, Event, Events, Media, Mode, Property, Signals
from pcscf.h248.message import Stream as StreamDescriptor


class Editor:
    """Applies descriptors. Nothing is undone here: the caller works on a copy and gives back what a failed command reserved.

    `credentials`: called for every stream that becomes protected.
    """

    def __init__(self, ports: Ports, credentials: Callable[[], Credentials], minimum_hash: str) -> None:
        self._ports = ports
        self._credentials = credentials
        self._minimum_hash = minimum_hash

    def apply(self, termination: Termination, descriptors: Sequence[Descriptor]) -> list[Descriptor]:
        """Applies the descriptors of an Add or Modify; returns the Media descriptor with what the gateway chose."""
        chosen: list[StreamDescriptor] = []
        signals: list[Event] = []
        changed: set[int] = set()
        for descriptor in descriptors:
            match descriptor:
                case Media():
                    for given in descriptor.streams:
                        changed.add(given.id)
                        if self._change_stream(termination, given):
                            local = termination.streams[given.id].local.text
                            chosen.append(StreamDescriptor(given.id, local=local, explicit=given.explicit))
                case Events():
                    items.check_events(descriptor)
                    termination.events = descriptor
                case Signals():
                    signals += descriptor.signals
                case Audit():
                    pass
                case _:
                    raise H248Error(444, "Unsupported or unknown Descriptor")
        asked = self._signals(termination, signals) if signals else set()
        for stream_id in changed | asked:
            stream = termination.streams.get(stream_id)
            if stream is None:
                continue
            remote = stream.remote.setup if stream.remote is not None else ""
            if stream.local.datagram:
                continue  # a=setup is about DTLS there, whose role EstBNC says
            stream.tcp = tcp_role(stream.local.setup, remote, asked=stream.triggers > 0)
            if stream_id in asked and stream.tcp is TcpRole.ACCEPT:
                raise H248Error(473, "Conflicting values: EstBNC on a stream where the gateway is passive")
        return [Media(tuple(chosen))] if chosen else []

    def _change_stream(self, termination: Termination, given: StreamDescriptor) -> bool:
        """Takes a Stream descriptor over; whether the Local descriptor must be returned. Empty Local releases the stream."""
        known = before = termination.streams.get(given.id)
        if given.local == "":
            termination.streams.pop(given.id, None)
            return False
        wish = parse_description_untrusted(given.local) if given.local is not None else None
        remote = parse_description_untrusted(given.remote) if given.remote else None
        if known is None:
            if wish is None:
                raise H248Error(441, "Missing Remote or Local Descriptor")
            address = self._reserve(termination.realm, wish)
            known = termination.streams[given.id] = Stream(given.id, wish, address)
            returns = True
        else:
            returns = wish is not None and wish.chooses
            if wish is not None and (wish.datagram, wish.rtp) != (known.local.datagram, known.local.rtp):
                raise H248Error(473, f"Conflicting values: {wish.transport} on a port for {known.local.transport}")
        if wish is not None:
            if wish.secure is not known.local.secure:
                known.tls_client = False   # protection begins anew, and so does its role
            known.local = self._resolved(wish, known)
        if given.remote is not None:
            known.remote = remote
        # A description that does not name the association says nothing of it.
        known.tls_ids = (
            (wish.tls_id if wish is not None else "") or known.tls_ids[0],
            (remote.tls_id if remote is not None else "") or known.tls_ids[1],
        )
        if remote is not None and remote.is_new and before is not None:
            # Its TLS role is said anew as well: EstBNC of this command, or server (RFC 8856 §8).
            known.generation += 1
            known.tls_client = False
        if known.remote is not None:
            check_remote(known.local, known.remote, self._minimum_hash)
        control = given.local_control
        if control is not None:
            self._control(termination, known, control.mode, control.properties)
        return returns

    def _reserve(self, realm: str, wish: Description) -> Address:
        address = "" if wish.address == CHOOSE else wish.address
        port = None if wish.port == CHOOSE else int(wish.port)
        return self._ports.reserve(Wanted(realm, wish.family, address, port, wish.datagram, wish.rtp))

    def _resolved(self, wish: Description, stream: Stream) -> Description:
        address = stream.address
        if wish.address not in ("", CHOOSE, address[0]) or wish.port not in (CHOOSE, str(address[1])):
            raise H248Error(473, "Conflicting values: the address in Local is not the reserved one")
        if not (wish.secure or wish.wanted or wish.fingerprints):
            stream.credentials = None   # what protects it later is new
            return resolve(wish, address[0], address[1], _none)
        if stream.credentials is None:
            stream.credentials = self._credentials()
        own = partial(stream.credentials.fingerprints, datagram=wish.datagram)
        for one in wish.fingerprints:
            if one not in own(one.hash):
                raise H248Error(473, "Conflicting values: the fingerprint in Local is not that of the gateway")
        return resolve(wish, address[0], address[1], own)

    def _control(
        self, termination: Termination, stream: Stream, mode: Mode | None, properties: Sequence[Property]
    ) -> None:
        if mode is Mode.LOOPBACK:
            raise H248Error(517, "Unsupported or invalid mode: Loopback")
        stream.mode = mode if mode is not None else stream.mode
        if not properties:
            return
        merged = dict(stream.properties)
        for one in properties:
            name = items.check_property(one)
            if name == packages.REALM and one.value.text.lower() != termination.realm.lower():
                raise H248Error(473, "Conflicting values: the realm of a termination is fixed")
            merged[name] = one
        source_filter(merged, stream.remote)
        dscp(merged)
        contract(merged)
        stream.properties = merged

    def _signals(self, termination: Termination, signals: Sequence[Event]) -> set[int]:
        """Carries out the signals of one command; the streams on which a TCP connection was asked for."""
        asked: set[int] = set()
        for signal in signals:
            action = items.check_signal(signal)
            for stream in _signalled(termination, signal):
                match action:
                    case items.SignalAction.ESTABLISH_TCP:
                        stream.triggers += 1
                        asked.add(stream.id)
                    case items.SignalAction.ESTABLISH_TLS:
                        stream.tls_client = True
                    case items.SignalAction.RELEASE:
                        stream.remote = None
                        stream.tls_client = False
                        stream.generation += 1
                    case items.SignalAction.LATCH:
                        stream.latch = _latch(stream.latch, signal)
        return asked


def _none(_hash: str) -> tuple[Fingerprint, ...]:
    return ()


def _latch(before: int, signal: Event) -> int:
    """What `LegPlan.latch` becomes (H.248.37). Raises H248Error 449 for a mode that is none."""
    mode = (items.parameter(signal.parameters, packages.LATCH_MODE) or "LATCH").upper()
    if mode not in ("OFF", "LATCH", "RELATCH"):
        raise items.unsupported_value(packages.LATCH_MODE, mode)
    return {"OFF": 0, "LATCH": max(before, 1), "RELATCH": before + 1}[mode]


def _signalled(termination: Termination, signal: Event) -> list[Stream]:
    """The streams a signal is for: the one it names, or all."""
    named = items.parameter(signal.parameters, packages.STREAM)
    if named is None:
        return list(termination.streams.values())
    stream = termination.streams.get(int(named)) if named.isdecimal() else None
    if stream is None:
        raise items.unsupported_value("Stream", named)
    return [stream]


