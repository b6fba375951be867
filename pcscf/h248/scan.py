"""Lexical level of H.248 text (RFC 3525 Annex B.2): the token table and a scanner that knows line and column.

The scanner splits the whole text in one pass of one regular expression and keeps no positions; the position of a token is
found again, by the same expression, only when an error has to be told. Three things make one pass possible:

- the octets of Local and Remote are one token from the keyword to the closing brace, because what stands in there is SDP;
- `=` and an unquoted value are one token, so that a value spelt "L" or "Remote" is never taken for a descriptor;
- the end of the text is the token "", which no rule of the grammar accepts: a reader that checks each token stops there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

from pcscf.errors import H248SyntaxError

T = TypeVar("T")

SHORT: Final[dict[str, str]] = {
    "Add": "A", "Audit": "AT", "AuditCapability": "AC", "AuditValue": "AV", "Authentication": "AU", "Bothway": "BW",
    "Brief": "BR", "Buffer": "BF", "Context": "C", "ContextAttr": "CT", "ContextAudit": "CA", "ContextList": "CLT",
    "Delay": "DL", "DigitMap": "DM", "Direction": "SPADI", "Disconnected": "DC", "Duration": "DR", "Embed": "EM",
    "Emergency": "EG", "EmergencyOff": "EGO", "Error": "ER", "EventBuffer": "EB", "Events": "E", "Failover": "FL",
    "Forced": "FO", "Graceful": "GR", "HandOff": "HO", "IEPSCall": "IEPS", "ImmAckRequired": "IA", "Inactive": "IN",
    "InService": "IV", "InterruptByEvent": "IBE", "InterruptByNewSignalsDescr": "IBS", "Intersignal": "SPAIS",
    "Isolate": "IS", "KeepActive": "KA", "Local": "L", "LocalControl": "O", "LockStep": "SP", "Loopback": "LB",
    "Media": "M", "Method": "MT", "MgcIdToTry": "MG", "Mode": "MO", "Modem": "MD", "Modify": "MF", "Move": "MV",
    "Mux": "MX", "Notify": "N", "NotifyCompletion": "NC", "ObservedEvents": "OE", "Oneway": "OW", "OnewayBoth": "OWB",
    "OnewayExternal": "OWE", "OnOff": "OO", "OtherReason": "OR", "OutOfService": "OS", "Packages": "PG",
    "Pending": "PN", "Priority": "PR", "Profile": "PF", "Reason": "RE", "ReceiveOnly": "RC", "Remote": "R",
    "Reply": "P", "ReservedGroup": "RG", "ReservedValue": "RV", "Restart": "RS", "Segment": "SM", "SendOnly": "SO",
    "SendReceive": "SR", "ServiceChange": "SC", "ServiceChangeAddress": "AD", "ServiceChangeInc": "SIC",
    "Services": "SV", "ServiceStates": "SI", "SignalList": "SL", "Signals": "SG", "SignalType": "SY",
    "Statistics": "SA", "Stream": "ST", "Subtract": "S", "TerminationState": "TS", "Test": "TE", "TimeOut": "TO",
    "Topology": "TP", "Transaction": "T", "TransactionResponseAck": "K", "Version": "V",
}  # fmt: skip
"""Long token to short token."""

_LONG: Final[dict[str, str]] = {
    spelling: long for long, short in SHORT.items() for spelling in (long, short, long.lower(), short.lower())
}


def long_token(symbol: str) -> str | None:
    """The long spelling of a keyword in either form and any case; None for any other text."""
    return _LONG.get(symbol) or _LONG.get(symbol.lower())


SAFE_CHARS: Final = r"A-Za-z0-9+\-&!_/'?@^`~*$\\()%|."
"""SafeChar of the ABNF, for use inside a character class."""

LWSP: Final = r"[ \t\r\n]*+(?>(?:;[^\r\n]*+[ \t\r\n]*+)*)"
"""White space, ends of line and comments, matched without backtracking."""
_LOCAL_OR_REMOTE: Final = r"[LlRr](?>(?:[Oo][Cc][Aa][Ll]|[Ee][Mm][Oo][Tt][Ee])?)"
OCTETS: Final = r"[^}]*+(?>(?:(?<=\\)\}[^}]*+)*)"
"""What stands between the braces of Local or Remote: a brace that closes is not behind a backslash."""
_TOKEN: Final = re.compile(
    LWSP
    + "("
    + "|".join((
        r"[{},]",
        rf"=[{SAFE_CHARS}]++",  # this and the next are what comes most; the rules below would take them just the same
        rf"(?![LlRr])[{SAFE_CHARS}]++",
        rf"{_LOCAL_OR_REMOTE}{LWSP}\{{{OCTETS}(?:\}}|\Z)",
        rf"[{SAFE_CHARS}]++",
        rf"={LWSP}[{SAFE_CHARS}]*+",
        r'"[^"\x00-\x08\n-\x1f]*+"',
        r".",
        r"\Z",
    ))
    + ")",
    re.DOTALL,
)  # fmt: skip
_LEADING_LWSP: Final = re.compile(LWSP)
_END_OF_LINE: Final = re.compile(r"\r\n|\r|\n")


def skip_lwsp(text: str, at: int = 0) -> int:
    """Offset of the first character from `at` on that is neither white space nor comment."""
    match = _LEADING_LWSP.match(text, at)
    return match.end() if match else at


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1; CR, LF and CRLF each end a line."""
    line, start = 1, 0
    for end in _END_OF_LINE.finditer(text, 0, offset):
        line, start = line + 1, end.end()
    return line, offset - start + 1


class Scanner:
    """The tokens of `text` from offset `start` on.

    `code`, `transaction_id` and `in_reply` go into the error that `fail` raises: the reader sets them as it goes deeper.
    """

    __slots__ = ("at", "code", "in_reply", "start", "text", "tokens", "transaction_id")

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.start = start
        self.tokens: list[str] = _TOKEN.findall(text, start)
        self.tokens += ("", "")  # so that looking ahead never runs over the end
        self.at = 0
        self.code = 400
        self.transaction_id = 0
        self.in_reply = False

    def take(self) -> str:
        """The next token."""
        symbol = self.tokens[self.at]
        self.at += 1
        return symbol

    def peek(self) -> str:
        """The next token, left where it is."""
        return self.tokens[self.at]

    def expect(self, symbol: str) -> None:
        """Take one certain token."""
        if self.tokens[self.at] != symbol:
            self.at += 1
            self.fail(f"expected {symbol!r}")
        self.at += 1

    def value(self, what: str) -> str:
        """Take `=` and an unquoted value."""
        symbol = self.take()
        if symbol[:1] != "=":
            self.fail(f"expected '=' and {what}")
        text = unquoted(symbol)
        if not text:
            self.at += 1
            self.fail(f"expected {what}")
        return text

    def items(self, item: Callable[[], T]) -> list[T]:
        """Items separated by commas, up to and including the closing brace; the opening brace is taken already."""
        found = [item()]
        while True:
            symbol = self.tokens[self.at]
            self.at += 1
            if symbol == ",":
                found.append(item())
            elif symbol == "}":
                return found
            else:
                self.fail("expected ',' or '}'")

    def fail(self, what: str, *, code: int = 0) -> NoReturn:
        """Raise H248SyntaxError at the token that was taken last."""
        raise self.failure(what, code=code)

    def failure(self, what: str, *, code: int = 0) -> H248SyntaxError:
        """What `fail` raises."""
        index = self.at - 1
        offset = len(self.text)
        for number, match in enumerate(_TOKEN.finditer(self.text, self.start)):
            if number == index:
                offset = match.start(1)
                break
        line, column = line_and_column(self.text, offset)
        symbol = self.tokens[index]
        found = f", found {symbol[:20]!r}" if symbol else ", found the end of the message"
        return H248SyntaxError(
            code or self.code,
            what + found,
            line=line,
            column=column,
            transaction_id=self.transaction_id,
            in_reply=self.in_reply,
        )


def unquoted(symbol: str) -> str:
    """The value in a token that begins with `=`; "" when something else than SafeChars follows the sign."""
    value = symbol[1:]
    if value[:1] in " \t\r\n;":
        return value[skip_lwsp(value) :]
    return value


def tokens_of(text: str) -> list[str]:
    """The tokens of `text`, the end mark included; joining them again keeps their meaning."""
    found: list[str] = _TOKEN.findall(text)
    return found
