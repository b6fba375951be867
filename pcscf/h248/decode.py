"""H.248 text to messages (RFC 3525 Annex B.2, H.248.1 v2 and v3): pretty or compact, tokens long or short in any mix.

Values keep the spelling they came in; keywords become their long token. What Iq does not use is read too: descriptors as
`OtherDescriptor`, embedded ones as a `Value` of the form "block". Segmented messages (v3) are refused with 501.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, NoReturn

from pcscf.errors import H248SyntaxError
from pcscf.h248.descriptors import DescriptorReader
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextProperties,
    Descriptor,
    ErrorDescriptor,
    Message,
    Property,
    Services,
    Transaction,
    TransactionAck,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
)
from pcscf.h248.mid import MID, is_mid
from pcscf.h248.scan import LWSP, SHORT, Scanner, line_and_column, long_token, unquoted
from pcscf.h248.usual import CONTEXTS, MAX_TERMINATION_ID, MAX_TRANSACTIONS, usual_transactions
from pcscf.h248.values import is_packaged_name

MAX_MESSAGE: Final = 65536
"""Octets of one message."""
_SEPARATOR: Final = rf"(?=[ \t\r\n;]){LWSP}"
_HEADER: Final = re.compile(
    rf"{LWSP}(?>(?:(?i:Authentication|AU){LWSP}={LWSP}(?P<authentication>0[xX][0-9A-Fa-f]{{8}}:0[xX][0-9A-Fa-f]{{8}}"
    rf":0[xX][0-9A-Fa-f]{{24,64}}){_SEPARATOR})?)"
    rf"(?>(?:(?i:MEGACO|!)/(?P<version>\d{{1,2}}){_SEPARATOR}(?>(?:(?P<mid>{MID.pattern})(?>(?P<body>{_SEPARATOR})?))?))?)"
)
MAX_HEADERS: Final = 1024
MAX_HEADER: Final = 128
USUAL_HEADER: Final = 256
"""Octets in which a header ends, but for a sender that has something to hide."""
_headers: dict[str, tuple[int, str]] = {}
"""Header lines that were read, with their version and mId: a peer says the same line each time."""
_ACK: Final = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")

_COMMANDS: Final = {
    prefix + spelling.lower(): (name, "o-" in prefix, "w-" in prefix)
    for name in CommandName
    for spelling in (name.value, SHORT[name.value])
    for prefix in ("", "o-", "w-", "o-w-")
}
_ANSWERS: Final = frozenset({"Reply", "Pending", "TransactionResponseAck", "Segment"})
_AUDITS: Final = (CommandName.AUDIT_VALUE, CommandName.AUDIT_CAPABILITY)
_TOPOLOGY: Final = frozenset({"Bothway", "Isolate", "Oneway", "OnewayBoth", "OnewayExternal"})


def decode_untrusted(data: bytes) -> Message:
    """One message from the network.

    Raises H248SyntaxError: 400 header or mId, 406 version, 403 transaction, 422 action, 442 command, 443 unknown command,
    444 unknown descriptor, 446 unknown parameter, 456 twice the same parameter, 413 more than 10 transactions, 501 segmentation.
    """
    if len(data) > MAX_MESSAGE:
        raise H248SyntaxError(400, f"message of {len(data)} octets is too long", line=1, column=1)
    text = data.decode("utf-8", "surrogateescape")
    if "\0" in text:
        _fail(text, text.index("\0"), "NUL octet")
    end = text.find("\n") + 1
    known = _headers.get(text[:end])
    if known is None:
        start, version, mid, authentication = _header(text)
        if 0 < end <= MAX_HEADER and not authentication and text[end - 1 : start].isspace():
            if len(_headers) >= MAX_HEADERS:
                _headers.clear()
            _headers[text[:end]] = version, mid
    else:
        start, authentication = end, ""
        version, mid = known
    transactions = usual_transactions(text, start)
    if transactions is not None:
        return Message(mid, transactions, None, version, authentication)
    return _MessageReader(Scanner(text, start), version).message(mid, authentication)


def sender_untrusted(data: bytes) -> str | None:
    """The mId of a message, the same that `decode_untrusted` reads, whatever the rest of it is; None where there is none."""
    for octets in (data[:USUAL_HEADER], data):
        text = octets.decode("utf-8", "surrogateescape")
        known = _headers.get(text[: text.find("\n") + 1])
        if known is not None:
            return known[1]
        try:
            return _header(text)[2]
        except H248SyntaxError:
            continue
    return None


def _header(text: str) -> tuple[int, int, str, str]:
    """Where the body begins, version, mId and authentication."""
    header = _HEADER.match(text)
    if header is None or header["version"] is None:
        _fail(text, header.end() if header else 0, "expected MEGACO/<version> or !/<version>")
    version = int(header["version"])
    if not 1 <= version <= 3:
        _fail(text, header.start("version"), f"version {version} is not supported", code=406)
    mid = header["mid"]
    if mid is None or not is_mid(mid):
        _fail(text, header.end() if mid is None else header.start("mid"), "expected a message identifier")
    if header["body"] is None:
        _fail(text, header.end(), "expected white space after the message identifier")
    return header.end(), version, mid, header["authentication"] or ""


def _fail(text: str, offset: int, what: str, *, code: int = 400) -> NoReturn:
    line, column = line_and_column(text, offset)
    raise H248SyntaxError(code, what, line=line, column=column)


class _MessageReader(DescriptorReader):
    """Recursive descent from the message down to the commands; the grammar itself bounds the depth."""

    __slots__ = ("version",)

    def __init__(self, scanner: Scanner, version: int) -> None:
        super().__init__(scanner)
        self.version = version

    def message(self, mid: str, authentication: str) -> Message:
        scanner = self.scanner
        if long_token(scanner.peek()) == "Error":
            scanner.take()
            scanner.in_reply = True
            error = self.error()
            if scanner.take():
                scanner.fail("expected the end of the message")
            return Message(mid, (), error, self.version, authentication)
        transactions = [self.transaction()]
        while scanner.peek():
            if len(transactions) == MAX_TRANSACTIONS:
                scanner.take()
                scanner.transaction_id = 0
                scanner.in_reply = False
                scanner.fail(f"more than {MAX_TRANSACTIONS} transactions", code=413)
            transactions.append(self.transaction())
        return Message(mid, tuple(transactions), None, self.version, authentication)

    # --- transactions

    def transaction(self) -> Transaction:
        scanner = self.scanner
        scanner.code = 400
        scanner.transaction_id = 0
        keyword = long_token(scanner.take())
        scanner.in_reply = keyword in _ANSWERS
        match keyword:
            case "Transaction":
                number = self._transaction_id()
                scanner.expect("{")
                return TransactionRequest(number, tuple(scanner.items(self._request_action)))
            case "Reply":
                return self.reply()
            case "Pending":
                number = self._transaction_id()
                scanner.expect("{")
                scanner.expect("}")
                return TransactionPending(number)
            case "TransactionResponseAck":
                scanner.expect("{")
                return TransactionAck(tuple(scanner.items(self._ack_range)))
            case "Segment":
                raise scanner.failure("segmentation is not supported", code=501)
            case _:
                raise scanner.failure("expected a transaction")

    def _transaction_id(self) -> int:
        scanner = self.scanner
        symbol = scanner.value("a TransactionID")
        if "/" in symbol:
            scanner.fail("segmentation is not supported", code=501)
        number = self.uint32(symbol)
        scanner.transaction_id = number
        scanner.code = 403
        return number

    def reply(self) -> TransactionReply:
        scanner = self.scanner
        number = self._transaction_id()
        scanner.expect("{")
        immediate = long_token(scanner.peek()) == "ImmAckRequired"
        if immediate:
            scanner.take()
            scanner.expect(",")
        if long_token(scanner.peek()) == "Error":
            scanner.take()
            error = self.error()
            scanner.expect("}")
            return TransactionReply(number, (), error, immediate)
        return TransactionReply(number, tuple(scanner.items(self._reply_action)), None, immediate)

    def _ack_range(self) -> tuple[int, int]:
        match = _ACK.fullmatch(self.scanner.take())
        if match is None:
            self.scanner.fail("expected a TransactionID or a range of them")
        first = self.uint32(match[1])
        last = self.uint32(match[2]) if match[2] else first
        if last < first:
            self.scanner.fail("the range ends before it begins")
        return first, last

    # --- actions

    def _request_action(self) -> Action:
        context = self._context()
        self.scanner.expect("{")
        return self._action(context, in_reply=False)

    def _reply_action(self) -> Action:
        context = self._context()
        if self.scanner.peek() != "{":
            return Action(context)
        self.scanner.take()
        return self._action(context, in_reply=True)

    def _context(self) -> int:
        scanner = self.scanner
        if long_token(scanner.take()) != "Context":
            scanner.fail("expected Context")
        symbol = scanner.value("a ContextID")
        reserved = CONTEXTS.get(symbol)
        if reserved is not None:
            return reserved
        context = self.uint32(symbol)
        if context in CONTEXTS.values():
            scanner.fail("a reserved ContextID is written as - $ or *", code=422)
        return context

    def _action(self, context: int, *, in_reply: bool) -> Action:
        scanner = self.scanner
        scanner.code = 422
        commands: list[Command] = []
        properties: ContextProperties | None = None
        audit: Audit | None = None
        error: ErrorDescriptor | None = None
        while True:
            symbol = scanner.take()
            head = _COMMANDS.get(symbol.lower())
            if head is not None:
                commands.append(self.command(head, in_reply=in_reply))
            elif (keyword := long_token(symbol)) == "Error" and in_reply:
                error = self.error()
            elif commands:
                scanner.fail("unknown command", code=443)
            elif keyword == "ContextAudit":
                audit = Audit(self.audit_items())
            else:
                properties = self._context_property(keyword, properties or ContextProperties())
            symbol = scanner.take()
            if symbol == "}":
                scanner.code = 403
                return Action(context, tuple(commands), properties, audit, error)
            if symbol != "," or error is not None:
                scanner.fail("expected ',' or '}'" if error is None else "expected '}'")

    def _context_property(self, keyword: str | None, known: ContextProperties) -> ContextProperties:
        scanner = self.scanner
        match keyword:
            case "Priority":
                return replace(known, priority=self.uint16(scanner.value("a priority")))
            case "Emergency":
                return replace(known, emergency=True)
            case "EmergencyOff":
                return replace(known, emergency=False)
            case "Topology":
                return replace(known, topology=known.topology + self._topology())
            case "IEPSCall":
                return replace(known, other=(*known.other, Property("IEPSCall", self.value())))
            case "ContextAttr":
                scanner.expect("{")
                return replace(known, other=known.other + tuple(scanner.items(self._context_attribute)))
            case _:
                raise scanner.failure("unknown command", code=443)

    def _context_attribute(self) -> Property:
        symbol = self.scanner.take()
        if long_token(symbol) == "ContextList":
            return Property("ContextList", self.value())
        if not is_packaged_name(symbol):
            self.scanner.fail("expected a property name")
        return Property(symbol, self.value())

    def _topology(self) -> tuple[tuple[str, ...], ...]:
        scanner = self.scanner
        scanner.expect("{")
        found: list[tuple[str, ...]] = []
        while True:
            one = self._termination(scanner.take())
            scanner.expect(",")
            other = self._termination(scanner.take())
            scanner.expect(",")
            direction = long_token(scanner.take())
            if direction not in _TOPOLOGY:
                scanner.fail("expected a topology direction")
            entry: tuple[str, ...] = (one, other, direction)
            separator = scanner.take()
            if separator == "," and long_token(scanner.peek()) == "Stream":
                scanner.take()
                entry = (*entry, str(self.uint16(scanner.value("a StreamID"))))
                separator = scanner.take()
            found.append(entry)
            if separator == "}":
                return tuple(found)
            if separator != ",":
                scanner.fail("expected ',' or '}'")

    # --- commands

    def command(self, head: tuple[CommandName, bool, bool], *, in_reply: bool) -> Command:
        scanner = self.scanner
        scanner.code = 442
        name, optional, wildcard = head
        terminations = self._terminations()
        descriptors: list[Descriptor] = []
        if scanner.peek() == "{":
            scanner.take()
            if in_reply and name in _AUDITS and long_token(terminations[0]) == "Context":
                terminations, descriptors = self._audited_terminations()
            else:
                descriptors = scanner.items(self.descriptor)
        if name is CommandName.SERVICE_CHANGE and not in_reply:
            self._check_service_change(descriptors)
        scanner.code = 422
        return Command(name, terminations, tuple(descriptors), optional, wildcard)

    def _terminations(self) -> tuple[str, ...]:
        """One TerminationID, or a list of them (v3)."""
        scanner = self.scanner
        symbol = scanner.take()
        if symbol[:1] != "=":
            scanner.fail("expected '=' and a TerminationID")
        text = unquoted(symbol)
        if text:
            return (self._termination(text),)
        if self.version < 3:
            scanner.take()
            scanner.fail("expected a TerminationID")
        scanner.expect("[")
        found = [self._termination(scanner.take())]
        while (symbol := scanner.take()) == ",":
            found.append(self._termination(scanner.take()))
        if symbol != "]":
            scanner.fail("expected ',' or ']'")
        return tuple(found)

    def _termination(self, text: str) -> str:
        if not text or len(text) > MAX_TERMINATION_ID or text[0] in '{},[]=:#<>";' or text[-1] == "}":
            self.scanner.fail(f"expected a TerminationID of at most {MAX_TERMINATION_ID} characters")
        return text

    def _audited_terminations(self) -> tuple[tuple[str, ...], list[Descriptor]]:
        """The reply to an audit of a whole context: `AuditValue = Context { t1, t2 }`, or an error in it."""
        scanner = self.scanner
        if long_token(scanner.peek()) == "Error":
            return ("Context",), scanner.items(self.descriptor)
        return tuple(scanner.items(lambda: self._termination(scanner.take()))), []

    def _check_service_change(self, descriptors: list[Descriptor]) -> None:
        services = next((d for d in descriptors if isinstance(d, Services)), None)
        if services is None or not services.method or not services.reason:
            self.scanner.fail("a ServiceChange request needs Services with Method and Reason")
