"""The messages of calls, read by a few regular expressions: what is not quite usual is left to the grammar's reader.

Usual are requests, replies and confirmations whose actions hold commands and nothing else; a command has one termination, and
Media that holds streams with LocalControl, Local and Remote in this order. This reader knows no errors and no positions: it
gives up. Whatever it reads, the grammar's reader reads the same. What sessions share, the events, signals and local controls,
is read by the grammar once and then known by its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from pcscf.errors import H248SyntaxError
from pcscf.h248.descriptors import DescriptorReader
from pcscf.h248.message import (
    Action,
    Command,
    CommandName,
    ContextId,
    Descriptor,
    LocalControl,
    Media,
    Stream,
    Transaction,
    TransactionAck,
    TransactionReply,
    TransactionRequest,
)
from pcscf.h248.scan import OCTETS, SAFE_CHARS, SHORT, Scanner
from pcscf.h248.values import MAX_UINT32, octets

T = TypeVar("T")

MAX_TRANSACTIONS: Final = 10
"""Transactions in one message (TS 29.334 §5.10)."""
MAX_TERMINATION_ID: Final = 64
MAX_KNOWN: Final = 1024
"""Texts that are known."""
MAX_KNOWN_CHARACTERS: Final = 512

CONTEXTS: Final = {"-": int(ContextId.NULL), "$": int(ContextId.CHOOSE), "*": int(ContextId.ALL)}
_RESERVED: Final = frozenset(CONTEXTS.values())
_COMMANDS: Final = {
    prefix + spelling: (name, "O-" in prefix, "W-" in prefix)
    for name in CommandName
    for spelling in (name.value, SHORT[name.value])
    for prefix in ("", "O-", "W-", "O-W-")
}
_SPECIAL: Final = (
    frozenset({CommandName.SERVICE_CHANGE}),
    frozenset({CommandName.SERVICE_CHANGE, CommandName.AUDIT_VALUE, CommandName.AUDIT_CAPABILITY}),
)
"""Commands that have rules of their own in a request, in a reply."""

_W: Final = r"[ \t\r\n]*+"  # a comment is not usual
_TRANSACTION: Final = re.compile(rf"{_W}(?:(P|Reply)|T|Transaction){_W}={_W}([0-9]{{1,10}}){_W}\{{")
_CONFIRMATION: Final = re.compile(rf"{_W}(?:K|TransactionResponseAck){_W}\{{{_W}([0-9]{{1,10}}){_W}\}}")
_END: Final = re.compile(rf"{_W}\Z")
_ACTION: Final = re.compile(rf"{_W}(?:C|Context){_W}={_W}([0-9]{{1,10}}|[$*\-]){_W}\{{")
_STREAM_RULE: Final = (
    rf"(?:ST|Stream){_W}={_W}(?P<stream>[0-9]{{1,5}}){_W}\{{{_W}"
    rf"(?>(?:(?:O|LocalControl){_W}(?P<control>\{{[^{{}};\\]*+\}}){_W})?)"
    rf"(?>(?:(?(control),{_W})L(?:ocal)?{_W}\{{{_W}(?P<local>{OCTETS})\}}{_W})?)"
    rf"(?>(?:(?(local),{_W}|(?(control),{_W}))R(?:emote)?{_W}\{{{_W}(?P<remote>{OCTETS})\}}{_W})?)"
    rf"\}}{_W}"
)
_STREAM: Final = re.compile(rf"{_W}{_STREAM_RULE}([,}}])")
_COMMAND: Final = re.compile(
    rf"{_W}([A-Za-z\-]++){_W}={_W}([{SAFE_CHARS}]{{1,{MAX_TERMINATION_ID}}}+){_W}"
    rf"(?:([,}}])|\{{{_W}(?>(?:(?:M|Media){_W}\{{{_W}{_STREAM_RULE}(?:\}}{_W}\}}{_W}([,}}])|([,}}])))?))"
)
"""A command as a whole where it has no descriptor, or Media with one stream and no other; else its beginning."""
_REPEATED: Final = re.compile(
    rf"{_W}((?:E|Events|SG|Signals|AT|Audit){_W}(?>(?:={_W}[0-9]++{_W})?)\{{(?>(?:[^{{}};\"\\]++|\{{[^{{}};\"\\]*+\}})*)\}}){_W}([,}}])"
)
_SEPARATOR: Final = re.compile(rf"{_W}([,}}])")

_controls: dict[str, LocalControl] = {}
_descriptors: dict[str, Descriptor] = {}


class _UnusualError(Exception):
    """Not an error of the message: it is to be read by the grammar."""


def usual_transactions(text: str, start: int) -> tuple[Transaction, ...] | None:
    """All transactions of a message, the first of which begins at `start`; None where one of them is not usual."""
    try:
        return _Reader(text, start).transactions()
    except _UnusualError:
        return None


class _Reader:
    """`at` is where the next piece begins."""

    __slots__ = ("at", "text")

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.at = start

    def transactions(self) -> tuple[Transaction, ...]:
        found: list[Transaction] = []
        while True:
            transaction = _TRANSACTION.match(self.text, self.at)
            if transaction is not None:
                self.at = transaction.end()
                is_reply, digits = transaction.groups()
                if is_reply:
                    found.append(TransactionReply(_uint32(digits), self.actions(in_reply=True)))
                else:
                    found.append(TransactionRequest(_uint32(digits), self.actions(in_reply=False)))
            elif (confirmation := _CONFIRMATION.match(self.text, self.at)) is not None:
                self.at = confirmation.end()
                number = _uint32(confirmation[1])
                found.append(TransactionAck(((number, number),)))
            else:
                raise _UnusualError
            if len(found) > MAX_TRANSACTIONS:
                raise _UnusualError
            if self.at == len(self.text) or _END.match(self.text, self.at):
                return tuple(found)

    def actions(self, *, in_reply: bool) -> tuple[Action, ...]:
        found: list[Action] = []
        while True:
            action = _ACTION.match(self.text, self.at)
            if action is None:
                raise _UnusualError
            self.at = action.end()
            symbol = action[1]
            context = CONTEXTS[symbol] if symbol in CONTEXTS else _uint32(symbol)
            if context in _RESERVED and symbol not in CONTEXTS:
                raise _UnusualError
            found.append(Action(context, self.commands(in_reply=in_reply)))
            if self.separator() == "}":
                return tuple(found)

    def separator(self) -> str:
        separator = _SEPARATOR.match(self.text, self.at)
        if separator is None:
            raise _UnusualError
        self.at = separator.end()
        return separator[1]

    def commands(self, *, in_reply: bool) -> tuple[Command, ...]:
        """Up to and including the brace that closes the action."""
        special = _SPECIAL[in_reply]
        found: list[Command] = []
        while True:
            command = _COMMAND.match(self.text, self.at)
            if command is None:
                raise _UnusualError
            self.at = command.end()
            name, termination, following, number, control, local, remote, after_media, after_stream = command.groups()
            head = _COMMANDS.get(name)
            if head is None or head[0] in special:
                raise _UnusualError
            descriptors: tuple[Descriptor, ...] = ()
            if number is not None:
                stream = _stream(number, control, local, remote)
                if after_media is not None:
                    descriptors, following = (Media((stream,)),), after_media
                else:
                    descriptors = self.descriptors(self.media(stream, after_stream))
                    following = self.separator()
            elif following is None:
                descriptors = self.descriptors(None)
                following = self.separator()
            found.append(Command(head[0], (termination,), descriptors, head[1], head[2]))
            if following == "}":
                return tuple(found)

    def media(self, first: Stream, following: str) -> Media:
        """Up to and including its closing brace."""
        found = [first]
        while following == ",":
            stream = _STREAM.match(self.text, self.at)
            if stream is None:
                raise _UnusualError
            self.at = stream.end()
            number, control, local, remote, following = stream.groups()
            found.append(_stream(number, control, local, remote))
        return Media(tuple(found))

    def descriptors(self, first: Media | None) -> tuple[Descriptor, ...]:
        """Up to and including the brace that closes the command."""
        found: list[Descriptor] = []
        if first is not None:
            found.append(first)
            if self.separator() == "}":
                return tuple(found)
        while True:
            repeated = _REPEATED.match(self.text, self.at)
            if repeated is None:
                raise _UnusualError
            self.at = repeated.end()
            written, following = repeated.groups()
            found.append(_descriptors.get(written) or _read(written, _descriptors, DescriptorReader.descriptor))
            if following == "}":
                return tuple(found)


def _stream(number: str, control: str | None, local: str | None, remote: str | None) -> Stream:
    known = None
    if control is not None:
        known = _controls.get(control) or _read(control, _controls, DescriptorReader.local_control)
    elif local is None and remote is None:
        raise _UnusualError
    if int(number) > 0xFFFF:
        raise _UnusualError
    return Stream(int(number), known, _sdp(local), _sdp(remote))


def _sdp(text: str | None) -> str | None:
    """What `octets` makes of a text without its leading white space."""
    if text is None or (text[-1:] == "\n" and "\\" not in text):
        return text
    return octets(f"{{{text}}}")


def _uint32(digits: str) -> int:
    number = int(digits)
    if number > MAX_UINT32:
        raise _UnusualError
    return number


def _read(text: str, known: dict[str, T], read: Callable[[DescriptorReader], T]) -> T:
    """What the grammar makes of the whole of a text that was not known."""
    scanner = Scanner(text, 0)
    try:
        result = read(DescriptorReader(scanner))
    except H248SyntaxError:
        raise _UnusualError from None
    if scanner.peek():
        raise _UnusualError
    if len(text) <= MAX_KNOWN_CHARACTERS:
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[text] = result
    return result
