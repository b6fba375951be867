"""The messages of calls, read without the ceremony of the grammar: what is not quite usual is left to `decode`.

Usual are requests, replies and confirmations whose actions hold commands and nothing else, each with one termination. This
reader tells no errors and knows no positions: it walks the tokens by index and gives up. Whatever it reads, the grammar's
reader reads the same.
"""

from __future__ import annotations

from typing import Final

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
from pcscf.h248.scan import LONG, SHORT, unquoted
from pcscf.h248.values import MAX_UINT32, is_number, octets

MAX_TRANSACTIONS: Final = 10
"""Transactions in one message (TS 29.334 §5.10)."""
MAX_TERMINATION_ID: Final = 64

CONTEXTS: Final = {"-": int(ContextId.NULL), "$": int(ContextId.CHOOSE), "*": int(ContextId.ALL)}
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
_RESERVED: Final = frozenset(CONTEXTS.values())


class _UnusualError(Exception):
    """Not an error of the message: it is to be read by the grammar."""


def usual_transactions(reader: DescriptorReader) -> tuple[Transaction, ...] | None:
    """All transactions of a message; None where one of them is not usual. The scanner is left anywhere."""
    try:
        return _Walk(reader).transactions()
    except (_UnusualError, H248SyntaxError):
        return None


class _Walk:
    """`at` is the index of the next token."""

    __slots__ = ("at", "reader", "tokens")

    def __init__(self, reader: DescriptorReader) -> None:
        self.reader = reader
        self.tokens = reader.scanner.tokens
        self.at = 0

    def transactions(self) -> tuple[Transaction, ...]:
        tokens = self.tokens
        found: list[Transaction] = []
        while True:
            keyword = LONG.get(tokens[self.at])
            if keyword == "Reply":
                number = self.opening()
                found.append(TransactionReply(number, self.actions(in_reply=True)))
            elif keyword == "TransactionResponseAck":
                found.append(self.confirmation())
            elif keyword == "Transaction":
                number = self.opening()
                found.append(TransactionRequest(number, self.actions(in_reply=False)))
            elif tokens[self.at] == "" and found:
                return tuple(found)
            else:
                raise _UnusualError
            if len(found) > MAX_TRANSACTIONS:
                raise _UnusualError

    def opening(self) -> int:
        """The number of a keyword that is followed by `= number {`."""
        tokens, at = self.tokens, self.at
        if tokens[at + 2] != "{":
            raise _UnusualError
        self.at = at + 3
        return _number(tokens[at + 1])

    def confirmation(self) -> TransactionAck:
        """One TransactionID: each request confirms the reply before."""
        tokens, at = self.tokens, self.at
        if tokens[at + 1] != "{" or tokens[at + 3] != "}":
            raise _UnusualError
        self.at = at + 4
        number = _number("=" + tokens[at + 2])
        return TransactionAck(((number, number),))

    def actions(self, *, in_reply: bool) -> tuple[Action, ...]:
        tokens = self.tokens
        found: list[Action] = []
        while True:
            at = self.at
            if LONG.get(tokens[at]) != "Context" or tokens[at + 2] != "{":
                raise _UnusualError
            symbol = tokens[at + 1]
            context = CONTEXTS.get(_value(symbol), -1)
            if context < 0 and (context := _number(symbol)) in _RESERVED:
                raise _UnusualError
            self.at = at + 3
            found.append(Action(context, self.commands(in_reply=in_reply)))
            symbol = tokens[self.at]
            self.at += 1
            if symbol == "}":
                return tuple(found)
            if symbol != ",":
                raise _UnusualError

    def commands(self, *, in_reply: bool) -> tuple[Command, ...]:
        """Up to and including the brace that closes the action."""
        tokens = self.tokens
        found: list[Command] = []
        while True:
            at = self.at
            head = _COMMANDS.get(tokens[at])
            if head is None:
                raise _UnusualError
            name, optional, wildcard = head
            termination = _value(tokens[at + 1])
            if len(termination) > MAX_TERMINATION_ID or name in _SPECIAL[in_reply]:
                raise _UnusualError
            self.at = at + 2
            symbol = tokens[at + 2]
            descriptors: tuple[Descriptor, ...] = ()
            if symbol == "{":
                descriptors = self.descriptors()
                symbol = tokens[self.at]
            self.at += 1
            found.append(Command(name, (termination,), descriptors, optional, wildcard))
            if symbol == "}":
                return tuple(found)
            if symbol != ",":
                raise _UnusualError

    def descriptors(self) -> tuple[Descriptor, ...]:
        """With both braces around them."""
        tokens = self.tokens
        found: list[Descriptor] = []
        while True:
            self.at += 1
            keyword = LONG.get(tokens[self.at])
            if keyword == "Media":
                found.append(self.media())
            else:
                scanner = self.reader.scanner
                scanner.at = self.at
                found.append(self.reader.remembered_descriptor())
                self.at = scanner.at
            symbol = tokens[self.at]
            if symbol == "}":
                self.at += 1
                return tuple(found)
            if symbol != ",":
                raise _UnusualError

    def media(self) -> Media:
        """Streams that are written as such."""
        tokens = self.tokens
        if tokens[self.at + 1] != "{":
            raise _UnusualError
        self.at += 2
        found: list[Stream] = []
        while True:
            if LONG.get(tokens[self.at]) != "Stream":
                raise _UnusualError
            number = self.opening()
            if number > 0xFFFF:
                raise _UnusualError
            found.append(self.stream(number))
            symbol = tokens[self.at]
            self.at += 1
            if symbol == "}":
                return Media(tuple(found))
            if symbol != ",":
                raise _UnusualError

    def stream(self, number: int) -> Stream:
        tokens, at = self.tokens, self.at
        control: LocalControl | None = None
        local: str | None = None
        remote: str | None = None
        while True:
            symbol = tokens[at]
            at += 1
            if len(symbol) > 1 and symbol[-1] == "}":
                if symbol[0] in "Ll":
                    if local is not None:
                        raise _UnusualError
                    local = octets(symbol)
                else:
                    if remote is not None:
                        raise _UnusualError
                    remote = octets(symbol)
            elif control is None and LONG.get(symbol) == "LocalControl":
                scanner = self.reader.scanner
                scanner.at = at
                control = self.reader.remembered_control()
                at = scanner.at
            else:
                raise _UnusualError
            symbol = tokens[at]
            at += 1
            if symbol == "}":
                self.at = at
                return Stream(number, control, local, remote)
            if symbol != ",":
                raise _UnusualError


def _value(symbol: str) -> str:
    """The value in a token that begins with `=`."""
    if symbol[:1] != "=" or not (value := unquoted(symbol)):
        raise _UnusualError
    return value


def _number(symbol: str) -> int:
    value = _value(symbol)
    if not is_number(value, 10) or (number := int(value)) > MAX_UINT32:
        raise _UnusualError
    return number
