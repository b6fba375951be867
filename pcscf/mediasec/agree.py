"""Security-Client, -Server and -Verify: what UE and network agree about media (RFC 3329, TS 24.229 §7.2A.7).

One list carries mechanisms for signalling and for media. Those for media have the parameter `mediasec`, a flag; without
it the name of a media mechanism means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from pcscf.errors import MalformedMessage
from pcscf.mediasec.model import Agreed

__all__ = [
    "OPTION_TAGS",
    "Agreed",
    "SecurityMechanism",
    "Verdict",
    "client_media_mechanisms",
    "parse_mechanisms_untrusted",
    "server_list",
    "verify",
]

MAX_MECHANISMS = 64
MAX_PARAMETERS = 32
OPTION_TAGS = frozenset({"sec-agree", "mediasec"})  # of Require and Proxy-Require; both end at the P-CSCF

_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_VALUE = re.compile(r'[A-Za-z0-9.!%*_+`\'~\[\]:-]+|"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class SecurityMechanism:
    """One element of a list: `name` and parameter names in lower case, values as written, "" for a flag."""

    name: str
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def is_media(self) -> bool:
        """Whether the mechanism protects media: it has the flag `mediasec`."""
        return ("mediasec", "") in self.parameters

    @property
    def compared(self) -> tuple[str, frozenset[tuple[str, str]]]:
        """What must be equal in Security-Verify: all but the preference `q`; only quoted values have case."""
        return self.name, frozenset(
            (name, value if value.startswith('"') else value.lower()) for name, value in self.parameters if name != "q"
        )


class Verdict(Enum):
    """What a Security-Verify says about the Security-Server that the UE received.

    MATCH               the UE saw what we sent
    MEDIA_PART_MISSING  the signalling part is right, the media part was not mirrored at all
    ALTERED             added, removed, reordered or changed: someone may have weakened the list on its way
    NOTHING_SENT        there is a Security-Verify, but no Security-Server to compare it with
    """

    MATCH = "match"
    MEDIA_PART_MISSING = "media-part-missing"
    ALTERED = "altered"
    NOTHING_SENT = "nothing-sent"


def parse_mechanisms_untrusted(values: Sequence[str]) -> list[SecurityMechanism]:
    """The mechanisms of all header lines in order; each value is one or a comma-separated list of them (RFC 3329 §2.2).

    Raises MalformedMessage.
    """
    mechanisms = [_mechanism(element) for value in values for element in _split(value, ",")]
    if len(mechanisms) > MAX_MECHANISMS:
        raise MalformedMessage(f"{len(mechanisms)} security mechanisms, more than {MAX_MECHANISMS}")
    return mechanisms


def _mechanism(text: str) -> SecurityMechanism:
    name, *parameters = _split(text, ";")
    if not _TOKEN.fullmatch(name):
        raise MalformedMessage(f"'{name}' is not the name of a security mechanism")
    if len(parameters) > MAX_PARAMETERS:
        raise MalformedMessage(f"security mechanism '{name}' has more than {MAX_PARAMETERS} parameters")
    return SecurityMechanism(name.lower(), tuple([_parameter(name, parameter) for parameter in parameters]))


def _parameter(mechanism: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name, value = name.rstrip(), value.lstrip()
    if not _TOKEN.fullmatch(name) or (equals and not _VALUE.fullmatch(value)):
        raise MalformedMessage(f"'{text}' is not a parameter of security mechanism '{mechanism}'")
    return name.lower(), value


def _split(text: str, separator: str) -> list[str]:
    """The elements of a list without blanks; separators in quoted strings do not count. None may be empty."""
    elements = text.split(separator) if '"' not in text else _split_quoted(text, separator)
    elements = [element.strip() for element in elements]
    if not all(elements):
        raise MalformedMessage(f"'{text}' has an empty element")
    return elements


def _split_quoted(text: str, separator: str) -> list[str]:
    elements: list[str] = []
    start = 0
    quoted = escaped = False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif quoted:
            escaped = character == "\\"
        elif character == separator:
            elements.append(text[start:place])
            start = place + 1
    return [*elements, text[start:]]


def client_media_mechanisms(mechanisms: Iterable[SecurityMechanism]) -> frozenset[str]:
    """The names of the media mechanisms in a Security-Client, those that we do not know included."""
    return frozenset(mechanism.name for mechanism in mechanisms if mechanism.is_media)


def server_list(mechanisms: Sequence[str]) -> list[str]:
    """The Security-Server that announces `mechanisms`, one value per header line.

    Without q: there are UEs that do not mirror it (RFC 3329 §2.2 makes it optional).
    """
    return [f"{name};mediasec" for name in mechanisms]


def verify(verify_values: Sequence[str], sent_values: Sequence[str]) -> Verdict:
    """Compare the values of Security-Verify with those of the Security-Server that the UE was sent.

    The order counts, a duplicate is an alteration, `q` is ignored; signalling and media mechanisms compare separately,
    because UEs interleave them in orders of their own (RFC 3329 §2.3.1). Raises MalformedMessage for `verify_values`.
    """
    verified = parse_mechanisms_untrusted(verify_values)
    sent = parse_mechanisms_untrusted(sent_values)
    if not sent:
        return Verdict.NOTHING_SENT if verified else Verdict.MATCH
    if _part(verified, media=False) != _part(sent, media=False):
        return Verdict.ALTERED
    mirrored = _part(verified, media=True)
    if mirrored == _part(sent, media=True):
        return Verdict.MATCH
    return Verdict.ALTERED if mirrored else Verdict.MEDIA_PART_MISSING


def _part(mechanisms: list[SecurityMechanism], *, media: bool) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    return [mechanism.compared for mechanism in mechanisms if mechanism.is_media == media]
