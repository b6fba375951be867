"""A gateway on virtual time: real contexts behind real Iq text, without media sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast

from pcscf.errors import H248Error
from pcscf.gateway.certificate import Fingerprint
from pcscf.gateway.config import Realm
from pcscf.gateway.context import ContextTable, TableSettings
from pcscf.gateway.credentials import Credentials
from pcscf.gateway.model import Configure, Wanted
from pcscf.gateway.statistics import Count
from pcscf.h248.message import (
    Action,
    Command,
    CommandName,
    ContextId,
    ErrorDescriptor,
    ObservedEvent,
    ObservedEvents,
    Property,
    Services,
    Value,
)
from pcscf.h248.transaction import H248Timers, RequestReceived, TransactionMachine

FINGERPRINT = Fingerprint("sha-256", ":".join(f"{octet:02X}" for octet in range(32)))
RSA_FINGERPRINT = Fingerprint("sha-256", ":".join(f"{octet:02X}" for octet in range(32, 64)))
CONTROLLER = ("127.0.0.1", 2944)
ADDRESS = ("127.0.0.2", 2944)
REALMS = (
    Realm("access", ("203.0.113.7", "2001:db8:7::7"), ((30000, 39999),)),
    Realm("core", ("198.51.100.7",), ((41000, 49999),)),
)


class _Ports:
    """Addresses out of thin air."""

    def __init__(self) -> None:
        self._free = {realm.name: itertools.count(realm.ports[0][0], 2) for realm in REALMS}

    def reserve(self, wanted: Wanted) -> tuple[str, int]:
        addresses = next(each.addresses for each in REALMS if each.name == wanted.realm)
        address = next((each for each in addresses if (":" in each) == (wanted.family == "IP6")), None)
        if address is None:
            raise H248Error(449, "Unsupported or Unknown Parameter or Property Value: no address of that family")
        return address, wanted.port or next(self._free[wanted.realm])

    def release(self, local: tuple[str, int]) -> None:
        """They come back to nobody."""

    def count(self, leg: Any) -> Count:
        return Count()

    def idle_since(self, leg: Any, direction: str) -> float:
        return 0.0


class _Certificates:
    """Fingerprints out of thin air as well."""

    def fingerprints(self, hash_name: str, *, datagram: bool) -> tuple[Fingerprint, ...]:
        if hash_name != "sha-256":
            return ()
        return (FINGERPRINT, RSA_FINGERPRINT) if datagram else (FINGERPRINT,)


class MemoryGateway(asyncio.DatagramProtocol):
    """Registers at once and does what it is told, unless `answer` says otherwise.

    answer(command names) -> None: as a good gateway; an ErrorDescriptor: refuse; "silence": say nothing.
    delay: seconds before a request is carried out.
    """

    def __init__(self, first_id: int = 1, weakest_hash: str = "sha-256") -> None:
        settings = TableSettings(REALMS, lambda: cast("Credentials", _Certificates()), first_id, 1000, weakest_hash)
        ports = _Ports()
        self.table = ContextTable(settings, ports, ports)
        self.machine = TransactionMachine(f"[{ADDRESS[0]}]:{ADDRESS[1]}", timers=H248Timers(), first_id=first_id)
        self.answer: Callable[[tuple[str, ...]], ErrorDescriptor | str | None] = lambda _commands: None
        self.asked: list[tuple[str, ...]] = []
        self.paths: list[tuple[str, str]] = []   # a=path of Local and Remote of each leg that was told both, as they came
        self.delay = 0.0
        self._transport: Any = None

    async def start(self, method: str = "Restart", reason: str = "901 Cold Boot") -> None:
        """Register; `Disconnected` for a gateway that was out of reach and has kept its contexts."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=ADDRESS)
        services = Services(method, reason, profile="iqprofile/1", version=2)
        self._request(Action(ContextId.NULL, (Command(CommandName.SERVICE_CHANGE, ("ROOT",), (services,)),)))

    def stop(self) -> None:
        self._transport.close()

    def notify_tls_failed(self, context: int, cause: str, general: str = "FP", package: str = "tlsbsc") -> None:
        """The TLS or DTLS connection on the access side ended; by default because the certificate of the peer did not match."""
        termination = next(
            each for each in self.table.contexts[context].terminations.values() if each.realm == "access")
        request_id = termination.events.request_id or 0
        stream = Property("Stream", Value(("1",)))
        events = (
            ObservedEvent(f"{package}/BNCChange", (stream, Property("Type", Value(("Rel",))))),
            ObservedEvent("g/cause", (
                stream, Property("Generalcause", Value((general,), quoted=True)),
                Property("Failurecause", Value((cause,), quoted=True)))),
        )
        notify = Command(CommandName.NOTIFY, (termination.id,), (ObservedEvents(request_id, events),))
        self._request(Action(context, (notify,)))

    def notify(self, context: int, event: str, **parameters: str) -> None:
        """An event on the access side."""
        termination = next(
            each for each in self.table.contexts[context].terminations.values() if each.realm == "access")
        said = tuple(Property(name, Value((value,))) for name, value in parameters.items())
        observed = ObservedEvents(termination.events.request_id or 0, (ObservedEvent(event, said),))
        self._request(Action(context, (Command(CommandName.NOTIFY, (termination.id,), (observed,)),)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.machine.receive(data, addr, self._now())
        self._work()

    def _request(self, action: Action) -> None:
        self.machine.request(CONTROLLER, (action,), self._now())
        self._work()

    def _work(self) -> None:
        for event in self.machine.take_events():
            if isinstance(event, RequestReceived):
                asyncio.get_running_loop().call_later(self.delay, self._serve, event)
        for data, peer in self.machine.take_output():
            self._transport.sendto(data, peer)

    def _serve(self, event: RequestReceived) -> None:
        commands = tuple(command.name.value for action in event.actions for command in action.commands)
        self.asked.append(commands)
        answer = self.answer(commands)
        if answer == "silence":
            return
        if isinstance(answer, ErrorDescriptor):
            self.machine.reply(event.handle, answer, self._now())
        else:
            replies, effects = self.table.execute(event.actions, self._now())
            plans = [effect.plan for effect in effects if isinstance(effect, Configure)]
            self.paths += [(plan.own_path, plan.peer_path) for plan in plans if plan.own_path and plan.peer_path]
            self.machine.reply(event.handle, replies, self._now())
        self._work()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
