"""The gateway's contexts: executes H.248 commands on its model, answers them, and says what the relay must do.

Nothing here does I/O. Local addresses come from a `Ports` object at once (the reply must name them); everything else
that must happen comes out as effects, computed once per transaction as the difference between the leg plans before and
after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from pcscf.errors import H248Error
from pcscf.gateway import audit, items
from pcscf.gateway.change import Editor
from pcscf.gateway.config import Realm
from pcscf.gateway.credentials import Credentials
from pcscf.gateway.description import CHOOSE
from pcscf.gateway.limits import check_limit
from pcscf.gateway.model import (
    Close,
    Configure,
    Context,
    ControllerOrder,
    Effect,
    LegKey,
    LegPlan,
    Ports,
    Termination,
    Traffic,
)
from pcscf.gateway.notify import inactivity_period
from pcscf.gateway.settle import leg_plan
from pcscf.gateway.watch import Watch
from pcscf.h248 import packages
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    ContextProperties,
    Descriptor,
    ErrorDescriptor,
    Events,
    Media,
    Property,
    Services,
)

MAX_TERMINATIONS: Final = 2
"""Terminations per context: the access side and the core side."""

_MAX_ID: Final = 0xFFFFFFFD
_ROOT: Final = "root"
_IN_ALL_CONTEXTS: Final = frozenset(
    {CommandName.MODIFY, CommandName.SUBTRACT, CommandName.AUDIT_VALUE, CommandName.AUDIT_CAPABILITY}
)
_UNQUOTABLE: Final = str.maketrans({'"': "'", "\r": " ", "\n": " "})

_Work: TypeAlias = Callable[[Context, Termination, Command], tuple[Descriptor, ...]]


@dataclass(frozen=True, slots=True)
class TableSettings:
    """`credentials`: called for every stream that becomes protected. first_id: where context and termination ids start; a later
    start of the gateway takes another.
    """

    realms: tuple[Realm, ...]
    credentials: Callable[[], Credentials]
    first_id: int
    max_contexts: int
    minimum_hash: str = "sha-256"


class ContextTable:
    """All contexts of the gateway, and ROOT. One command after the other, as RFC 3525 §8 has it.

    inactivity_period: seconds of silence after which the controller wants it/ito of ROOT, None while it is not armed.
    """

    def __init__(self, settings: TableSettings, ports: Ports, traffic: Traffic) -> None:
        self.contexts: dict[int, Context] = {}
        self.root_events = Events()
        self.inactivity_period: float | None = None
        self.root_properties: dict[str, Property] = {}
        self._settings = settings
        self._ports = ports
        self._traffic = traffic
        self._realms = {realm.name.lower(): (number, realm) for number, realm in enumerate(settings.realms, 1)}
        self._next_context = self._next_termination = settings.first_id
        self._context_of: dict[str, int] = {}
        self._plans: dict[int, dict[LegKey, LegPlan]] = {}
        self._touched: set[int] = set()
        self._orders: list[Effect] = []
        self._editor = Editor(ports, settings.credentials, settings.minimum_hash)
        self.watch = Watch(traffic)

    def execute(self, actions: Sequence[Action], now: float) -> tuple[tuple[Action, ...], list[Effect]]:
        """Executes the actions of one transaction in order, up to the first command that fails and is not optional.

        Returns the actions of the reply, and the effects to be carried out before the reply is sent.
        """
        replies: list[Action] = []
        for action in actions:
            if not self._action(action, now, replies):
                break
        effects = [*self._changes(), *self._orders]
        self._orders.clear()
        return tuple(replies), effects

    def forget_all(self) -> list[Effect]:
        """Drops every context, as when the controller restarts without memory of them."""
        self._touched |= set(self.contexts)
        for context in list(self.contexts.values()):
            for termination in list(context.terminations.values()):
                self._remove(context, termination)
        self.contexts.clear()
        return self._changes()

    def termination(self, leg: LegKey) -> Termination | None:
        context = self.contexts.get(leg.context)
        return context.terminations.get(leg.termination.lower()) if context is not None else None

    # --- actions -----------------------------------------------------------------------------------------------------

    def _action(self, action: Action, now: float, replies: list[Action]) -> bool:
        """Appends the reply (several for context `*`); whether the transaction goes on."""
        if action.context == ContextId.ALL:
            return self._all_contexts(action, now, replies)
        done: list[Command] = []
        context: Context | None = None
        answered: ContextProperties | None = None
        try:
            context = self._context(action)
            answered = self._context_properties(context, action)
        except H248Error as error:
            number = int(ContextId.NULL) if action.context == ContextId.CHOOSE else action.context
            if context is not None and not context.terminations:
                del self.contexts[context.id]
            replies.append(Action(number, error=_error(error)))
            return False
        goes_on = True
        for command in action.commands:
            try:
                done += self._command(context, command, now)
            except H248Error as error:
                done.append(Command(command.name, command.terminations, (_error(error),)))
                if not command.optional:
                    goes_on = False
                    break
        number = int(ContextId.NULL)
        if context is not None:
            number = context.id
            self._touched.add(context.id)
            if not context.terminations:
                del self.contexts[context.id]
                if action.context == ContextId.CHOOSE:
                    number = int(ContextId.NULL)
        replies.append(Action(number, tuple(done), answered))
        return goes_on

    def _all_contexts(self, action: Action, now: float, replies: list[Action]) -> bool:
        """Context `*`: the command is carried out in every context that has a matching termination (RFC 3525 §8.2.2)."""
        for command in action.commands:
            if command.name not in _IN_ALL_CONTEXTS:
                replies.append(Action(ContextId.ALL, error=_error(_illegal())))
                return False
            found = 0
            for context in list(self.contexts.values()):
                try:
                    done = self._command(context, replace(command, wildcard_response=False), now)
                except H248Error as error:
                    if error.code in (430, 431, 435):
                        continue
                    replies.append(Action(context.id, (Command(command.name, command.terminations, (_error(error),)),)))
                    return False
                found += 1
                self._touched.add(context.id)
                if not context.terminations:
                    del self.contexts[context.id]
                if not command.wildcard_response:
                    replies.append(Action(context.id, tuple(done)))
            if not found:
                nothing = ErrorDescriptor(431, "No TerminationID matched a wildcard")
                replies.append(Action(ContextId.ALL, (Command(command.name, command.terminations, (nothing,)),)))
                if not command.optional:
                    return False
            elif command.wildcard_response:
                replies.append(Action(ContextId.ALL, (Command(command.name, command.terminations),)))
        return True

    def _context(self, action: Action) -> Context | None:
        """The context an action speaks of, created for `$`; None for the null context."""
        if action.context == ContextId.NULL:
            return None
        if action.context != ContextId.CHOOSE:
            context = self.contexts.get(action.context)
            if context is None:
                raise H248Error(411, "The transaction refers to an unknown ContextId")
            return context
        if not action.commands or action.commands[0].name is not CommandName.ADD:
            raise _illegal()
        if len(self.contexts) >= self._settings.max_contexts:
            raise H248Error(412, "No ContextIDs available")
        while self._next_context in self.contexts:
            self._next_context = _after(self._next_context)
        context = Context(self._next_context)
        self._next_context = _after(self._next_context)
        self.contexts[context.id] = context
        return context

    def _context_properties(self, context: Context | None, action: Action) -> ContextProperties | None:
        given = action.properties
        if context is None:
            return None
        if given is not None:
            if given.topology:
                raise H248Error(501, "Not Implemented: topology")
            context.priority = given.priority if given.priority is not None else context.priority
            context.emergency = given.emergency if given.emergency is not None else context.emergency
        return ContextProperties(context.priority, context.emergency) if action.audit is not None else None

    # --- commands ----------------------------------------------------------------------------------------------------

    def _command(self, context: Context | None, command: Command, now: float) -> list[Command]:
        if context is None:
            return [self._root_command(command)]
        match command.name:
            case CommandName.ADD:
                return [self._add(context, command, now)]
            case CommandName.MODIFY:
                return self._each(context, command, now, self._modify)
            case CommandName.SUBTRACT:
                return self._each(context, command, now, self._subtract)
            case CommandName.AUDIT_VALUE:
                return self._each(context, command, now, self._audited)
            case CommandName.AUDIT_CAPABILITY:
                return self._each(context, command, now, self._capabilities)
        raise H248Error(501, f"Not Implemented: {command.name.value}")

    def _each(self, context: Context, command: Command, now: float, work: _Work) -> list[Command]:
        """Carries a command out on every termination it names; a wildcarded response is one for all of them."""
        replies: list[Command] = []
        for name in command.terminations:
            for termination in self._named(context, name):
                termination.touched = now
                descriptors = work(context, termination, command)
                replies.append(Command(command.name, (termination.id,), descriptors))
        if command.wildcard_response:
            return [Command(command.name, command.terminations)]
        return replies

    def _named(self, context: Context, name: str) -> list[Termination]:
        key = name.lower()
        if CHOOSE in key:
            raise H248Error(430, "Unknown TerminationID")
        if "*" in key:
            found = [one for one in context.terminations.values() if key == "*" or _covers(key, one.id)]
            if not found:
                raise H248Error(431, "No TerminationID matched a wildcard")
            return found
        termination = context.terminations.get(key)
        if termination is None:
            if key in self._context_of:
                raise H248Error(435, "Termination ID is not in specified Context")
            raise H248Error(430, "Unknown TerminationID")
        return [termination]

    def _add(self, context: Context, command: Command, now: float) -> Command:
        name = command.termination.lower()
        if name in self._context_of:
            raise H248Error(433, "TerminationID is already in a Context")
        if len(context.terminations) >= MAX_TERMINATIONS:
            raise H248Error(434, "Max number of Terminations in a Context exceeded")
        media = next((one for one in command.descriptors if isinstance(one, Media)), None)
        if media is None or not media.streams:
            raise H248Error(441, "Missing Remote or Local Descriptor")
        number, realm = self._realm(media)
        termination = Termination(self._new_id(name, number), realm.name, now, now)
        try:
            returned = self._editor.apply(termination, command.descriptors)
        except H248Error:
            for stream in termination.streams.values():
                self._ports.release(stream.address)
            raise
        context.terminations[termination.id] = termination
        self._context_of[termination.id] = context.id
        self.watch.start(termination, context.id, now)
        return Command(CommandName.ADD, (termination.id,), (*returned, *self._audited(context, termination, command)))

    def _modify(self, context: Context, termination: Termination, command: Command) -> tuple[Descriptor, ...]:
        known = {stream.address for stream in termination.streams.values()}
        changed = termination.copy()
        try:
            returned = self._editor.apply(changed, command.descriptors)
        except H248Error:
            for stream in changed.streams.values():
                if stream.address not in known:
                    self._ports.release(stream.address)
            raise
        context.terminations[termination.id] = changed
        self.watch.start(changed, context.id, termination.touched)
        return (*returned, *self._audited(context, changed, command))

    def _subtract(self, context: Context, termination: Termination, command: Command) -> tuple[Descriptor, ...]:
        """Without an Audit descriptor the statistics are returned, with one what it names (RFC 3525 §7.2.3)."""
        if any(isinstance(one, Audit) for one in command.descriptors) or command.wildcard_response:
            answered = self._audited(context, termination, command)
        else:
            answered = (audit.statistics(context, termination, self._traffic),)
        self._remove(context, termination)
        return answered

    def _audited(self, context: Context, termination: Termination, command: Command) -> tuple[Descriptor, ...]:
        return audit.requested(context, termination, command, self._traffic)

    def _capabilities(self, context: Context, termination: Termination, command: Command) -> tuple[Descriptor, ...]:
        return audit.capabilities(self._settings.realms, command)

    def _remove(self, context: Context, termination: Termination) -> None:
        del context.terminations[termination.id]
        del self._context_of[termination.id]
        self.watch.stop(termination.id)
        for stream in termination.streams.values():
            if LegKey(context.id, termination.id, stream.id) not in self._plans.get(context.id, ()):
                self._ports.release(stream.address)

    def _root_command(self, command: Command) -> Command:
        """Commands in the null context: ROOT is the only termination that is ever there."""
        if command.termination.lower() != _ROOT:
            raise H248Error(431 if "*" in command.termination else 430, "Unknown TerminationID")
        answered: tuple[Descriptor, ...] = ()
        match command.name:
            case CommandName.AUDIT_VALUE:
                answered = audit.root_values(self.root_events, self.root_properties, command)
            case CommandName.AUDIT_CAPABILITY:
                answered = audit.capabilities(self._settings.realms, command)
            case CommandName.MODIFY:
                self._modify_root(command)
            case CommandName.SERVICE_CHANGE:
                services = next((one for one in command.descriptors if isinstance(one, Services)), Services())
                self._orders.append(ControllerOrder(services))
            case _:
                raise H248Error(501, f"Not Implemented: {command.name.value} on ROOT")
        return Command(command.name, command.terminations, answered)

    def _modify_root(self, command: Command) -> None:
        for descriptor in command.descriptors:
            if isinstance(descriptor, Events):
                items.check_events(descriptor)
            elif isinstance(descriptor, Media):
                for one in descriptor.termination_state or ():
                    items.check_property(one)
                    check_limit(one)
        for descriptor in command.descriptors:
            if isinstance(descriptor, Events):
                self.root_events = descriptor
                self.inactivity_period = inactivity_period(descriptor)
            elif isinstance(descriptor, Media):
                self.root_properties |= {items.canonical(one.name): one for one in descriptor.termination_state or ()}

    # --- names -------------------------------------------------------------------------------------------------------

    def _realm(self, media: Media) -> tuple[int, Realm]:
        for stream in media.streams:
            for one in stream.local_control.properties if stream.local_control is not None else ():
                if items.canonical(one.name) == packages.REALM:
                    found = self._realms.get(one.value.text.lower())
                    if found is None:
                        raise items.unsupported_value(packages.REALM, one.value.text)
                    return found
        return 1, self._settings.realms[0]

    def _new_id(self, name: str, interface: int) -> str:
        """ip/<group>/<interface>/<id>: the controller may fix the group, the rest is ours (TS 183 018 §5.17.1.10)."""
        parts = name.split("/")
        if name != CHOOSE and (len(parts) != 4 or parts[0] != "ip" or parts[3] != CHOOSE):
            raise H248Error(430, "Unknown TerminationID")
        group = parts[1] if name != CHOOSE and parts[1] != CHOOSE else "1"
        if not group.isdecimal() or int(group) > 0xFFFF:
            raise H248Error(430, "Unknown TerminationID")
        number = self._next_termination
        self._next_termination = _after(number)
        return f"ip/{group}/{interface}/{number}"

    # --- plans -------------------------------------------------------------------------------------------------------

    def _changes(self) -> list[Effect]:
        """The difference between the plans of the touched contexts before this transaction and now; what ended comes first."""
        closed: list[Effect] = []
        configured: list[Effect] = []
        for number in self._touched:
            before = self._plans.pop(number, {})
            now = self._plans_of(self.contexts[number]) if number in self.contexts else {}
            closed += [Close(leg, plan.local) for leg, plan in before.items() if leg not in now]
            configured += [Configure(leg, plan) for leg, plan in now.items() if before.get(leg) != plan]
            if now:
                self._plans[number] = now
        self._touched.clear()
        return closed + configured

    def _plans_of(self, context: Context) -> dict[LegKey, LegPlan]:
        found: dict[LegKey, LegPlan] = {}
        terminations = list(context.terminations.values())
        for termination in terminations:
            others = [one for one in terminations if one is not termination]
            for number, stream in termination.streams.items():
                partner = next((LegKey(context.id, one.id, number) for one in others if number in one.streams), None)
                found[LegKey(context.id, termination.id, number)] = leg_plan(
                    stream, partner, self._settings.minimum_hash, termination.events)
        return found


def _covers(pattern: str, name: str) -> bool:
    """Whether a TerminationID with wildcards (`*`, `ip/1/*/*`) matches; a `*` at the end covers the rest (RFC 3525 §6.2.2)."""
    wanted, parts = pattern.split("/"), name.split("/")
    if wanted[-1] == "*" and len(wanted) < len(parts):
        wanted += ["*"] * (len(parts) - len(wanted))
    return len(wanted) == len(parts) and all(one in ("*", part) for one, part in zip(wanted, parts, strict=True))


def _after(number: int) -> int:
    return number + 1 if number < _MAX_ID else 1


def _illegal() -> H248Error:
    return H248Error(421, "Unknown action or illegal combination of actions")


def _error(error: H248Error) -> ErrorDescriptor:
    """The text is a quoted string: it cannot hold a quote or a line end."""
    return ErrorDescriptor(error.code, error.what.translate(_UNQUOTABLE))
