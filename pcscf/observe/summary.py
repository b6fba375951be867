"""Messages in one line for a person: what counts for registration, media security and the gateway, and nothing secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pcscf.errors import H248Error, MalformedMessage
from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import (
    Action,
    Command,
    ContextId,
    ErrorDescriptor,
    Media,
    ObservedEvent,
    ObservedEvents,
    Signals,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    same_name,
)
from pcscf.h248.packages import CHANGE_TYPE
from pcscf.sip.message import Message, Response

Summary = tuple[str, str, dict[str, Any]]   # text, flow key, facts

SECURITY_FIELDS = ("Security-Client", "Security-Server", "Security-Verify")
OPTION_FIELDS = ("Require", "Proxy-Require", "Supported", "Unsupported")
SECURITY_OPTIONS = frozenset({"mediasec", "sec-agree"})

_ATTRIBUTES = {"setup": "setup", "3ge2ae": "e2ae", "fingerprint": "fingerprint", "msrp-cema": "cema"}
_MEDIA_LINE = re.compile(r"^m=\S+ \S+ (\S+)", re.MULTILINE)
_CONTEXT_NAMES = {ContextId.NULL: "-", ContextId.CHOOSE: "$", ContextId.ALL: "*"}


def summarise_sip(message: Message) -> Summary:
    """Text, Call-ID and facts of a SIP message.

    facts: method, status (of responses), from, to, security (names of the Security-* fields and option tags in it), media (per
    m-line proto, port and where present setup, e2ae, fingerprint, cema), reason, warning.
    """
    facts: dict[str, Any] = _start(message)
    words = [str(facts.pop("start"))]
    security = _security(message)
    facts["security"] = [name for name, _ in security]
    words += [f"{name}: {value}" for name, value in security]
    facts["media"] = _media(message.body) if "sdp" in (message.get("Content-Type") or "").lower() else []
    words += [_media_text(media) for media in facts["media"]]
    for name in ("Reason", "Warning"):
        if (value := message.get(name)) is not None:
            facts[name.lower()] = value
            words.append(f"{name}: {value}")
    return " · ".join(words), message.call_id, facts


def _start(message: Message) -> dict[str, Any]:
    try:
        method = message.cseq[1]
        parties = {"from": message.from_.uri, "to": message.to.uri}
    except MalformedMessage:
        method, parties = "?", {}
    if isinstance(message, Response):
        start = f"{message.status} {message.reason} ({method})"
        return {"start": start, "method": method, "status": message.status, **parties}
    return {"start": message.start_line.removesuffix(f" {message.version}"), "method": method, **parties}


def _security(message: Message) -> list[tuple[str, str]]:
    found = [(name, ", ".join(entries)) for name in SECURITY_FIELDS if (entries := message.values(name))]
    for name in OPTION_FIELDS:
        tags = [tag for tag in message.values(name) if tag.lower() in SECURITY_OPTIONS]
        if tags:
            found.append((name, ", ".join(tags)))
    return found


def _media(body: bytes) -> list[dict[str, str]]:
    lines: list[dict[str, str]] = []
    session: dict[str, str] = {}
    for line in body.decode(errors="replace").splitlines():
        if line.startswith("m="):
            words = line[2:].split()
            if len(words) >= 3:
                lines.append({"media": words[0], "port": words[1], "proto": words[2], **session})
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name in _ATTRIBUTES:
                (lines[-1] if lines else session)[_ATTRIBUTES[name]] = value.strip()
    return lines


def _media_text(media: Mapping[str, str]) -> str:
    words = [f"m={media['media']} {media['port']} {media['proto']}"]
    if "setup" in media:
        words.append(f"setup:{media['setup']}")
    if "e2ae" in media:
        words.append(f"3ge2ae:{media['e2ae']}")
    if "fingerprint" in media:
        words.append(short_fingerprint(media["fingerprint"]))
    return " ".join(words)


def short_fingerprint(value: str) -> str:
    """`sha-256 AB:CD:…` by its first and last octets."""
    name, _, octets = value.strip().partition(" ")
    return f"{name} {octets}" if len(octets) <= 17 else f"{name} {octets[:8]}…{octets[-5:]}"


def summarise_h248(wire: bytes) -> Summary:
    """Text, flow key (`context n` where one is named, else "") and facts of an H.248 message.

    facts: kind (request, reply, pending, ack, error), transactions (`transaction n` each), contexts, commands (`Add ip/1`
    each), errors.
    """
    try:
        message = decode_untrusted(wire)
    except H248Error as error:
        return f"unreadable: {error.what}", "", {"kind": "error", "transactions": [], "contexts": [], "errors": [error.code]}
    if message.error is not None:
        text = f"Error {_error_text(message.error)}"
        return text, "", {"kind": "error", "transactions": [], "contexts": [], "errors": [message.error.code]}
    words: list[str] = []
    contexts: list[int] = []
    commands: list[str] = []
    errors: list[int] = []
    transactions: list[str] = []
    kind = "ack"
    for transaction in message.transactions:
        if isinstance(transaction, TransactionRequest):
            kind = "request"
            transactions.append(f"transaction {transaction.id}")
            words.append(_actions(transaction.actions, contexts, commands, errors))
        elif isinstance(transaction, TransactionReply):
            kind = "reply"
            transactions.append(f"transaction {transaction.id}")
            words.append("Reply " + _actions(transaction.actions, contexts, commands, errors))
            if transaction.error is not None:
                errors.append(transaction.error.code)
                words.append(f"Error {_error_text(transaction.error)}")
        elif isinstance(transaction, TransactionPending):
            kind = "pending"
            transactions.append(f"transaction {transaction.id}")
            words.append("Pending")
    if not words:
        words.append("TransactionResponseAck")
    facts = {"kind": kind, "transactions": transactions, "contexts": contexts, "commands": commands, "errors": errors}
    return " ".join(word.strip() for word in words), f"context {contexts[0]}" if contexts else "", facts


def _actions(actions: Iterable[Action], contexts: list[int], commands: list[str], errors: list[int]) -> str:
    words: list[str] = []
    for action in actions:
        if action.context in _CONTEXT_NAMES:
            name = _CONTEXT_NAMES[ContextId(action.context)]
        else:
            name = str(action.context)
            contexts.append(action.context)
        inner = [_command(command, errors) for command in action.commands]
        commands += [f"{command.name.value} {'/'.join(command.terminations)}" for command in action.commands]
        if action.error is not None:
            errors.append(action.error.code)
            inner.append(f"Error {_error_text(action.error)}")
        words.append(f"C={name} {{{', '.join(inner)}}}")
    return " ".join(words)


def _command(command: Command, errors: list[int]) -> str:
    words = [f"{command.name.value} {'/'.join(command.terminations)}"]
    for descriptor in command.descriptors:
        if isinstance(descriptor, ObservedEvents):
            words += [_observed(event) for event in descriptor.events]
        elif isinstance(descriptor, Signals):
            words += [signal.name for signal in descriptor.signals]
        elif isinstance(descriptor, Media):
            words += _transports(descriptor)
    if command.error is not None:
        errors.append(command.error.code)
        words.append(f"Error {_error_text(command.error)}")
    return " ".join(words)


def _observed(event: ObservedEvent) -> str:
    """Its name, and what became of the bearer that it tells of: "tcpbcc/BNCChange Est"."""
    change = next((one.value.text for one in event.parameters if same_name(one.name, CHANGE_TYPE)), "")
    return f"{event.name} {change[:20]}".rstrip()


def _transports(media: Media) -> list[str]:
    """The transports that the descriptions of a termination name, each once."""
    found = [
        match[1] for stream in media.streams for text in (stream.local, stream.remote)
        if text and (match := _MEDIA_LINE.search(text)) is not None
    ]
    return list(dict.fromkeys(found))


def _error_text(error: ErrorDescriptor) -> str:
    return f"{error.code} {error.text}".strip()
