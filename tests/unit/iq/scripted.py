"""A gateway by script, and a wire on virtual time: what is on it is H.248 text, encoded and decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    Descriptor,
    ErrorDescriptor,
    LocalControl,
    Message,
    Packages,
    Property,
    Stream,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    Value,
)
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.h248.transaction import H248Timers
from pcscf.iq.association import Heartbeat, Traits
from pcscf.iq.controller import Controller
from pcscf.iq.operations import Event, Limits
from pcscf.iq.procedures import Realms
from tests.unit.iq.plans import GATEWAY_PRINT

CONTROLLER = ("192.0.2.9", 2944)
Script = Callable[[TransactionRequest], "Answer"]
Answer = tuple[Action, ...] | ErrorDescriptor | TransactionPending | None


class ScriptedGateway:
    """Answers as a gateway should, each request once. `script` may answer instead (None: not at all)."""

    def __init__(self, host: str = "192.0.2.1", port: int = 40001) -> None:
        self.peer = (host, port)
        self.mid = f"[{host}]:2945"
        self.contexts: dict[int, list[str]] = {}
        self.seen: list[TransactionRequest] = []
        self.script: Script | None = None
        self.packages: tuple[str, ...] = ()
        self.realms: tuple[str, ...] = ()
        self._answered: dict[int, Answer] = {}
        self._next = 1000
        self._request = 0

    def request(self, text: str) -> bytes:
        """A request of the gateway's own: the text of its actions."""
        self._request += 1
        return f"MEGACO/2 {self.mid}\nTransaction = {self._request} {{ {text} }}".encode()

    def service_change(self, method: str = "Restart", reason: str = "901 Cold Boot", more: str = "") -> bytes:
        services = f'Method = {method}, Reason = "{reason}", Version = 2{more}'
        return self.request(f"Context = - {{ ServiceChange = ROOT {{ Services {{ {services} }} }} }}")

    def answers(self, data: bytes) -> list[bytes]:
        answers = []
        for transaction in decode_untrusted(data).transactions:
            if isinstance(transaction, TransactionRequest):
                self.seen.append(transaction)
                answer = self._answered.get(transaction.id) or (self.script or self.obey)(transaction)
                if answer is not None:
                    answers.append(self.encode(transaction.id, answer))
                if not isinstance(answer, TransactionPending):
                    self._answered[transaction.id] = answer
        return answers

    def encode(self, tid: int, answer: tuple[Action, ...] | ErrorDescriptor | TransactionPending) -> bytes:
        if isinstance(answer, TransactionPending):
            return encode_compact(Message(self.mid, (answer,)))
        if isinstance(answer, ErrorDescriptor):
            return encode_compact(Message(self.mid, (TransactionReply(tid, error=answer),)))
        return encode_compact(Message(self.mid, (TransactionReply(tid, answer),)))

    def obey(self, request: TransactionRequest) -> tuple[Action, ...] | ErrorDescriptor:
        """What a gateway without faults answers."""
        replies: list[Action] = []
        for action in request.actions:
            context = action.context
            if context == ContextId.ALL:
                replies += [
                    Action(each, tuple(Command(CommandName.AUDIT_VALUE, (name,)) for name in names))
                    for each, names in self.contexts.items()
                ]
                continue
            if context == ContextId.CHOOSE:
                self._next += 1
                context = self._next
                self.contexts[context] = []
            if context != ContextId.NULL and context not in self.contexts:
                replies.append(Action(context, error=ErrorDescriptor(411, "The transaction refers to an unknown ContextId")))
                break
            replies.append(Action(context, tuple(self._obey(context, command) for command in action.commands)))
        if not replies:
            return ErrorDescriptor(431, "No TerminationID matched a wildcard")
        return tuple(replies)

    def _obey(self, context: int, command: Command) -> Command:
        if command.name is CommandName.SUBTRACT:
            del self.contexts[context]
            return Command(command.name, command.terminations)
        if command.name not in (CommandName.ADD, CommandName.MODIFY):
            return Command(command.name, command.terminations, self._told(command))
        name = command.termination
        if command.name is CommandName.ADD:
            self._next += 1
            name = f"ip/1/1/{self._next}"
            self.contexts[context].append(name)
        given = [stream for each in command.descriptors if isinstance(each, MediaDescriptor) for stream in each.streams]
        chosen = tuple(
            Stream(stream.id, local=self._choose(stream.local, stream.id))
            for stream in given
            if stream.local and "$" in stream.local
        )
        return Command(command.name, (name,), (MediaDescriptor(chosen),) if chosen else ())

    def _told(self, command: Command) -> tuple[Descriptor, ...]:
        """What an audit of ROOT hears, where the test wants it to hear anything."""
        items = [item for each in command.descriptors if isinstance(each, Audit) for item in each.items]
        if "Packages" in items and self.packages:
            return (Packages(tuple((name, 1) for name in self.packages)),)
        if command.name is CommandName.AUDIT_CAPABILITY and self.realms:
            names = Property("ipdc/realm", Value(self.realms, form="or", quoted=True))
            return (MediaDescriptor((Stream(1, LocalControl(properties=(names,))),)),)
        return ()

    def _choose(self, local: str, stream: int) -> str:
        chosen = local.replace("c=IN IP4 $", f"c=IN IP4 {self.peer[0]}").replace(" $ ", f" {self._next % 20000 + stream} ")
        return chosen.replace("sha-256 $", f"sha-256 {GATEWAY_PRINT}")

    def asked(self, name: CommandName) -> list[TransactionRequest]:
        """The requests with such a command, repetitions left out."""
        found = {request.id: request for request in self.seen}
        return [
            request
            for request in found.values()
            if any(command.name is name for action in request.actions for command in action.commands)
        ]


class Wire:
    """A controller and its gateways. A message takes no time unless `delay` says how many seconds (None: it is lost).

    copies: how often a message arrives. absent: gateways that have not registered yet.
    """

    def __init__(
        self,
        *gateways: ScriptedGateway,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        heartbeat: Heartbeat | None = None,
        traits: Mapping[str, Traits] | None = None,
        absent: tuple[ScriptedGateway, ...] = (),
    ) -> None:
        self.now = 0.0
        self.gateways = {gateway.peer: gateway for gateway in (*gateways, *absent)}
        self.delay: Callable[[bytes, bool], float | None] = lambda _data, _from_controller: 0.0
        self.copies: Callable[[bytes, bool], int] = lambda _data, _from_controller: 1
        self.events: list[Event] = []
        self.controller = Controller(
            "[192.0.2.9]:2944",
            admits=lambda _mid, address: address.startswith("192.0.2."),
            realms=Realms(),
            timers=H248Timers(),
            heartbeat=heartbeat or Heartbeat(),
            limits=limits,
            first_id=5000,
            traits=traits,
        )
        self._flying: list[tuple[float, int, bytes, ScriptedGateway, bool]] = []
        self._count = 0
        for gateway in gateways:
            self.say(gateway, gateway.service_change())
        self.run(0.0)
        self.take(Event)

    def say(self, gateway: ScriptedGateway, data: bytes) -> None:
        """The gateway sends."""
        self._fly(gateway, data, from_controller=False)

    def run(self, until: float) -> None:
        """Let time pass, up to and including `until`."""
        while True:
            self._collect()
            due = min(self._flying, default=None)
            timer = self.controller.next_timer()
            when = min(each for each in (due[0] if due else None, timer, until + 1.0) if each is not None)
            if when > until:
                self.now = until
                return
            self.now = max(self.now, when)
            if due is not None and due[0] <= self.now:
                self._flying.remove(due)
                self._arrive(*due[2:])
            else:
                self.controller.handle_timer(self.now)

    def take(self, *kinds: object) -> list[Event]:
        """The events so far, association events and all."""
        events, self.events = self.events, []
        return events

    def _collect(self) -> None:
        for data, peer in self.controller.take_output():
            gateway = self.gateways.get(peer)
            if gateway is not None:
                self._fly(gateway, data, from_controller=True)
        self.events += self.controller.take_events()

    def _fly(self, gateway: ScriptedGateway, data: bytes, *, from_controller: bool) -> None:
        for _ in range(self.copies(data, from_controller)):
            delay = self.delay(data, from_controller)
            if delay is not None:
                self._count += 1
                self._flying.append((self.now + delay, self._count, data, gateway, from_controller))

    def _arrive(self, data: bytes, gateway: ScriptedGateway, to_gateway: bool) -> None:
        if not to_gateway:
            self.controller.receive(data, gateway.peer, self.now)
            return
        for answer in gateway.answers(data):
            self._fly(gateway, answer, from_controller=False)
