"""What a gateway asks of its controller, ServiceChange and Notify, and their replies (RFC 3525 §7.2.7, §7.2.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pcscf.h248.message import Action, Command, CommandName, ContextId, ErrorDescriptor, Services, same_name
from pcscf.iq.association import Association, Gateway, Peer
from pcscf.iq.notifications import (
    MAX_CAUSE,
    BearerReleased,
    Connected,
    MediaStopped,
    Notification,
    Overloaded,
    TerminationHeartbeat,
    load_untrusted,
    notifications_untrusted,
)
from pcscf.iq.supervision import ROOT

UNKNOWN_CONTEXT: Final = ErrorDescriptor(411, "The transaction refers to an unknown ContextId")
NOT_REGISTERED: Final = 505
"""The error of whoever has no association: a command came before the reply to the registration, or without one."""
UNSUPPORTED: Final = ErrorDescriptor(443, "Unsupported or unknown command")


@dataclass(slots=True)
class Answer:
    """The reply to one request, and what it means for sessions.

    released       connections of our sessions that broke or are up, terminations without media
    unowned        contexts that the gateway asked about and that have no session
    is_unregistered  it may register, and has not: it believes in an association that we do not have
    """

    reply: tuple[Action, ...] | ErrorDescriptor
    gateway: Gateway | None = None
    released: list[BearerReleased | MediaStopped | Connected] = field(default_factory=list)
    unowned: list[int] = field(default_factory=list)
    is_unregistered: bool = False


def answer_untrusted(association: Association, mid: str, peer: Peer, actions: tuple[Action, ...], now: float) -> Answer:
    """Answer a request of `mid`, heard from `peer`. Strangers and the unregistered get one error for all of it."""
    services = _root_service_change(actions)
    if services is not None:
        changed = association.service_change(mid, peer, services, now)
        if isinstance(changed, ErrorDescriptor):
            return Answer(changed)
        descriptors = (changed,) if changed != Services() else ()
        return Answer((Action(ContextId.NULL, (Command(CommandName.SERVICE_CHANGE, (ROOT,), descriptors),)),))
    gateway = association.heard(mid, peer, now)
    if isinstance(gateway, ErrorDescriptor):
        return Answer(gateway, is_unregistered=gateway.code == NOT_REGISTERED)
    answer = Answer((), gateway)
    replies = []
    for action in actions:
        if action.context == ContextId.NULL:
            _note_load(gateway, action, now)
        reply = _answer_action(gateway, action, answer)
        replies.append(reply)
        if reply.error is not None or any(command.error for command in reply.commands):
            break
    answer.reply = tuple(replies)
    return answer


def _root_service_change(actions: tuple[Action, ...]) -> Services | None:
    """The Services of a request whose first command is ServiceChange on ROOT."""
    if not actions or not actions[0].commands:
        return None
    command = actions[0].commands[0]
    if command.name is not CommandName.SERVICE_CHANGE or not same_name(command.termination, ROOT):
        return None
    return next((each for each in command.descriptors if isinstance(each, Services)), Services())


def _answer_action(gateway: Gateway, action: Action, answer: Answer) -> Action:
    context = action.context
    is_session = ContextId.NULL < context < ContextId.CHOOSE
    if is_session and context not in gateway.contexts and context not in gateway.releasing:
        if any(isinstance(event, TerminationHeartbeat) for event in _notified(action)):
            answer.unowned.append(context)
        return Action(context, error=UNKNOWN_CONTEXT)
    replies: list[Command] = []
    for command in action.commands:
        if command.name is CommandName.NOTIFY:
            replies.append(Command(command.name, command.terminations))
        elif command.name is CommandName.SERVICE_CHANGE:
            answer.released += _out_of_service(gateway, context, command)
            replies.append(Command(command.name, command.terminations))
        else:
            replies.append(Command(command.name, command.terminations, (UNSUPPORTED,)))
            if not command.optional:
                break
    if context in gateway.contexts:
        answer.released += [event for event in _notified(action) if isinstance(event, BearerReleased | MediaStopped | Connected)]
    return Action(context, tuple(replies))


def _note_load(gateway: Gateway, action: Action, now: float) -> None:
    for command in action.commands:
        if command.name is CommandName.NOTIFY:
            for said in load_untrusted(command):
                if isinstance(said, Overloaded):
                    gateway.throttle.overloaded(now)
                else:
                    gateway.throttle.congested(said.reduction)
                gateway.counts["overload notified"] += 1


def _notified(action: Action) -> Iterator[Notification]:
    for command in action.commands:
        if command.name is CommandName.NOTIFY:
            yield from notifications_untrusted(action.context, command)


def _out_of_service(gateway: Gateway, context: int, change: Command) -> Iterator[BearerReleased]:
    """Termination Out-of-Service: the terminations of our sessions that a Forced ServiceChange takes away."""
    services = next((each for each in change.descriptors if isinstance(each, Services)), None)
    if services is None or services.method.lower() != "forced":
        return
    contexts = [context] if context in gateway.contexts else list(gateway.contexts)
    reason = services.reason if services.reason.isprintable() else repr(services.reason)
    for known in contexts:
        for termination in gateway.contexts[known]:
            if any(_matches(termination, pattern) for pattern in change.terminations):
                yield BearerReleased(known, termination, None, "", f"termination out of service: {reason}"[:MAX_CAUSE])


def _matches(termination: str, pattern: str) -> bool:
    """Whether a TerminationID is meant by a pattern with `*` in place of fields (TS 183 018 §5.17.1.10)."""
    if pattern == "*":
        return True
    fields, wanted = termination.lower().split("/"), pattern.lower().split("/")
    return len(fields) == len(wanted) and all(want in {"*", have} for have, want in zip(fields, wanted, strict=True))
