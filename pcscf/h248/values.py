"""Reading names, numbers, values and parameters (RFC 3525 Annex B.2: parmValue, eventParameter, sigParameter, octetString)."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from functools import lru_cache
from typing import Final, NoReturn

from pcscf.h248.message import Property, Value
from pcscf.h248.scan import SAFE_CHARS, Scanner, long_token, skip_lwsp, unquoted

MAX_NESTING: Final = 32
"""Braces within braces where the grammar itself sets no bound."""
MAX_UINT32: Final = 0xFFFFFFFF

NAME: Final = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_ITEM_NAME: Final = re.compile(NAME)
_PACKAGED_NAME: Final = re.compile(rf"(?:{NAME}|\*)/(?:{NAME}|\*)")
_LONGEST_NAME: Final = 129
PARAMETER_KEYWORDS: Final = frozenset({
    "Stream", "KeepActive", "Duration", "SignalType", "NotifyCompletion", "DigitMap", "Embed", "Direction", "Intersignal",
})  # fmt: skip
"""Parameters of events and signals that have a long and a short token; every other name is the package's own."""
_VALUE_BEGINS: Final = frozenset(re.findall(f"[{SAFE_CHARS}]", string.printable))
_FLAG: Final = Value(())


@lru_cache(maxsize=1024)
def _matches_packaged_name(symbol: str) -> bool:
    return _PACKAGED_NAME.fullmatch(symbol) is not None


def is_packaged_name(symbol: str) -> bool:
    """Whether `token` is package/item; either may be `*`."""
    return len(symbol) <= _LONGEST_NAME and _matches_packaged_name(symbol)


@lru_cache(maxsize=1024)
def _known_parameter_name(symbol: str) -> str:
    long = long_token(symbol)
    if long in PARAMETER_KEYWORDS:
        return long
    return symbol if _ITEM_NAME.fullmatch(symbol) else ""


def parameter_name(symbol: str) -> str:
    """The name of an event or signal parameter, a keyword in its long form; "" when it is none."""
    return _known_parameter_name(symbol) if len(symbol) <= _LONGEST_NAME else ""


def is_number(text: str, digits: int) -> bool:
    """Whether `text` is a decimal number of at most so many digits."""
    return text.isdecimal() and text.isascii() and len(text) <= digits


def octets(symbol: str) -> str:
    """The SDP in a Local or Remote token, "" when empty: leading white space dropped, the last line ended, `\\}` made `}`."""
    opening = symbol.index("{")
    if ";" in symbol[:opening]:  # a comment before the brace may hold braces
        opening = skip_lwsp(symbol, len(symbol) - len(symbol.lstrip("LlOoCcAaRrEeMmTt")))
    text = symbol[opening + 1 : -1].lstrip(" \t\r\n")
    if not text:
        return ""
    if text[-1] not in "\r\n":
        tail = text.rstrip(" \t")
        text = tail if tail[-1] in "\r\n" else text + ("\r\n" if "\r\n" in text else "\n")
    return text.replace("\\}", "}") if "\\}" in text else text


class ValueReader:
    """What every rule of the grammar needs: numbers, strings, values with their relation, parameters."""

    __slots__ = ("scanner",)

    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner

    def uint32(self, text: str) -> int:
        """The number in `text`, which was taken last."""
        if not is_number(text, 10) or (number := int(text)) > MAX_UINT32:
            self.scanner.fail("expected a number of 32 bits")
        return number

    def uint16(self, text: str) -> int:
        """The number in `text`, which was taken last."""
        number = self.uint32(text)
        if number > 0xFFFF:
            self.scanner.fail("expected a number of 16 bits")
        return number

    def twice(self, what: str) -> NoReturn:
        self.scanner.fail(f"{what} twice", code=456)

    def quoted(self, symbol: str) -> str:
        """What stands between the quotes of `token`, which was taken last."""
        if len(symbol) < 2 or symbol[0] != '"':
            self.scanner.fail("expected a quoted string")
        return symbol[1:-1]

    def value(self) -> Value:
        """A relation and its value or values."""
        scanner = self.scanner
        symbol = scanner.take()
        relation = symbol[:1]
        if relation == "=":
            text = unquoted(symbol)
            if text:
                return Value((text,))
            symbol = scanner.take()
            if symbol in ("[", "{"):
                return self._values(symbol)
        elif relation and relation in "#<>":
            symbol = scanner.take()
        else:
            scanner.fail("expected a relation and a value")
        text, quoted = self._single(symbol)
        return Value((text,), relation, "single", quoted)

    def _single(self, symbol: str) -> tuple[str, bool]:
        if symbol[:1] == '"':
            return self.quoted(symbol), True
        if symbol[:1] not in _VALUE_BEGINS or symbol[-1] == "}":
            self.scanner.fail("expected a value")
        return symbol, False

    def _values(self, opening: str) -> Value:
        scanner = self.scanner
        form, closing = ("and", "]") if opening == "[" else ("or", "}")
        text, quoted = self._single(scanner.take())
        found = [text]
        separator = scanner.take()
        if separator == ":" and opening == "[":
            text, also_quoted = self._single(scanner.take())
            scanner.expect("]")
            return Value((*found, text), form="range", quoted=quoted or also_quoted)
        while separator == ",":
            text, also_quoted = self._single(scanner.take())
            quoted = quoted or also_quoted
            found.append(text)
            separator = scanner.take()
        if separator != closing:
            scanner.fail(f"expected ',' or {closing!r}")
        return Value(tuple(found), form=form, quoted=quoted)

    def parameters(self) -> tuple[Property, ...]:
        """The parameters of an event or a signal, in braces or absent."""
        scanner = self.scanner
        if scanner.peek() != "{":
            return ()
        scanner.take()
        return tuple(scanner.items(self._parameter))

    def _parameter(self) -> Property:
        scanner = self.scanner
        name = parameter_name(scanner.take())
        if not name:
            scanner.fail("expected a parameter name")
        following = scanner.peek()
        if following == "{":
            scanner.take()
            return Property(name, Value((self.block(),), form="block"))
        if following in (",", "}"):
            return Property(name, _FLAG)
        value = self.value()
        if name in ("SignalType", "NotifyCompletion"):
            value = replace(value, values=tuple(long_token(word) or word for word in value.values))
        return Property(name, value)

    def statistics(self) -> tuple[Property, ...]:
        """Statistics with or without values, in braces or absent."""
        if self.scanner.peek() != "{":
            return ()
        self.scanner.take()
        return tuple(self.scanner.items(self._statistic))

    def _statistic(self) -> Property:
        symbol = self.scanner.take()
        if not is_packaged_name(symbol):
            self.scanner.fail("expected package/statistic")
        return Property(symbol, self.value() if self.scanner.peek()[:1] == "=" else _FLAG)

    def block(self) -> str:
        """The tokens up to the brace that closes the block, each followed by a blank; the opening brace is taken already."""
        scanner = self.scanner
        depth = 1
        parts: list[str] = []
        while True:
            symbol = scanner.take()
            if symbol == "}":
                depth -= 1
                if not depth:
                    return "".join(parts)
            elif symbol == "{":
                depth += 1
                if depth > MAX_NESTING:
                    scanner.fail(f"more than {MAX_NESTING} braces deep")
            elif not symbol or symbol[-1] == "}":
                scanner.fail("expected '}'")
            elif symbol[0] == "=":
                symbol = "=" + unquoted(symbol)
            parts.append(symbol + " ")
