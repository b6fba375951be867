"""Messages to H.248 text (RFC 3525 Annex B.2): compact for the wire, pretty for people.

Both are one writer with two token tables; the pretty form is the long-token text laid out afterwards, so the two cannot differ
in content. SDP stands at column 0, each line ended, the closing brace at the start of the next line. String values are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    ContextProperties,
    ErrorDescriptor,
    Event,
    Events,
    LocalControl,
    Media,
    Message,
    ObservedEvents,
    OtherDescriptor,
    Packages,
    Property,
    Ranges,
    Services,
    Signals,
    Statistics,
    Stream,
    Transaction,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    Value,
)
from pcscf.h248.scan import SAFE_CHARS, SHORT, tokens_of
from pcscf.h248.values import PARAMETER_KEYWORDS

T = TypeVar("T")

MAX_SHARED: Final = 256
"""Records whose text is kept."""

_AUDIT_VALUE: Final = CommandName.AUDIT_VALUE
_AUDIT_CAPABILITY: Final = CommandName.AUDIT_CAPABILITY
_SAFE_VALUE: Final = re.compile(rf"[{SAFE_CHARS}]+")
_NOT_IN_QUOTES: Final = re.compile(r'["\x00-\x08\n-\x1f]')
_AUDIT_WORD: Final = re.compile(rf"=[{SAFE_CHARS}]++|(?<![\w/-])[A-Za-z]\w*+(?![/-])")
_CONTEXTS: Final = {int(ContextId.NULL): "-", int(ContextId.CHOOSE): "$", int(ContextId.ALL): "*"}
_PUNCTUATION: Final = frozenset("{},[]=:#<>")
_KEYWORD_VALUES: Final = frozenset({"SignalType", "NotifyCompletion"})
_REQUEST_ID_ALL: Final = 0xFFFFFFFF
_CONTEXT_TOKENS: Final = frozenset({"c", "context"})


def encode_compact(message: Message) -> bytes:
    """The message with short tokens and no white space but the necessary. ValueError: a value that no quotes can hold."""
    return (_head("!", message) + _COMPACT.body(message)).encode("utf-8", "surrogateescape")


def encode_pretty(message: Message) -> bytes:
    """The message with long tokens, one item a line. ValueError: a value that no quotes can hold."""
    text = _head("MEGACO", message) + _lay_out(_PRETTY.body(message))
    return text.encode("utf-8", "surrogateescape")


def write_actions(actions: Iterable[Action]) -> str:
    """The actions of a request in compact form, as they stand between the braces of its transaction. ValueError as above."""
    return _COMPACT.request_actions(actions)


def write_reply(tid: int, actions: str) -> str:
    """A reply in compact form; `actions` as `write_reply_actions` has written them."""
    return _COMPACT.reply(tid, actions)


def write_reply_actions(actions: Iterable[Action]) -> str:
    """The actions of a reply in compact form. ValueError as above."""
    return _COMPACT.reply_actions(actions)


def encode_request(mid: str, version: int, confirmed: Ranges, tid: int, actions: str) -> bytes:
    """What `encode_compact` makes of a request, behind a confirmation if any; `actions` as `write_actions` has written them."""
    confirmation = _COMPACT.confirmation(confirmed) if confirmed else ""
    return f"!/{version} {mid}\n{confirmation}{_COMPACT.request(tid, actions)}".encode("utf-8", "surrogateescape")


def _head(protocol: str, message: Message) -> str:
    head = f"{protocol}/{message.version} {message.mid}\n"
    return f"Authentication={message.authentication} {head}" if message.authentication else head


@lru_cache(maxsize=1024)
def _is_safe(text: str) -> bool:
    return _SAFE_VALUE.fullmatch(text) is not None


def _quoted(text: str) -> str:
    if _NOT_IN_QUOTES.search(text):
        raise ValueError(f"a quoted string cannot hold {text!r}")
    return f'"{text}"'


def _single(text: str, quoted: bool) -> str:
    return text if not quoted and _is_safe(text) else _quoted(text)


def _value(value: Value) -> str:
    values = value.values
    if not values:
        return ""
    if value.form == "single":
        text = values[0]
        return value.relation + (text if not value.quoted and _is_safe(text) else _quoted(text))
    if value.form == "block":
        return "{" + values[0] + "}"
    written = [_single(text, value.quoted) for text in values]
    if value.form == "range":
        return f"=[{written[0]}:{written[1]}]"
    return f"=[{','.join(written)}]" if value.form == "and" else f"={{{','.join(written)}}}"


def _octets(sdp: str) -> str:
    if not sdp:
        return "{}"
    if "}" in sdp:
        sdp = sdp.replace("}", "\\}")
    return f"{{\n{sdp}}}" if sdp[-1] in "\r\n" else f"{{\n{sdp}\n}}"


def _error_text(text: str) -> str:
    """A quoted string cannot hold quotes or ends of line; what an error says is still understood without them."""
    return _NOT_IN_QUOTES.sub("'", text)


class _Writer:
    """Writes with one token table; `names` maps long tokens to the tokens to write.

    What sessions share (see pcscf.iq.procedures) is written once: `_shared` has the text of a record that is this very object.
    """

    __slots__ = ("_descriptors", "_shared", "names")

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self._shared: dict[int, tuple[object, str]] = {}
        self._descriptors: dict[type, Callable[[Any], str]] = {
            Media: self.media,
            Events: self.events,
            Signals: self.signals,
            ErrorDescriptor: self.error,
            Audit: self.audit,
            ObservedEvents: self.observed_events,
            Services: self.services,
            Statistics: self.statistics_descriptor,
            Packages: self.packages,
            OtherDescriptor: self.other,
        }

    def body(self, message: Message) -> str:
        if message.error is not None:
            return self.error(message.error)
        return "".join(map(self.transaction, message.transactions))

    def transaction(self, transaction: Transaction) -> str:
        names = self.names
        if isinstance(transaction, TransactionRequest):
            return self.request(transaction.id, self.request_actions(transaction.actions))
        if isinstance(transaction, TransactionReply):
            content = (
                self.error(transaction.error)
                if transaction.error is not None
                else self.reply_actions(transaction.actions)
            )
            immediate = f"{names['ImmAckRequired']}," if transaction.immediate_ack_required else ""
            return self.reply(transaction.id, immediate + content)
        if isinstance(transaction, TransactionPending):
            return f"{names['Pending']}={transaction.id}{{}}"
        return self.confirmation(transaction.ranges)

    def confirmation(self, ranges: Ranges) -> str:
        written = ",".join([f"{first}-{last}" if last != first else str(first) for first, last in ranges])
        return f"{self.names['TransactionResponseAck']}{{{written}}}"

    def request(self, tid: int, actions: str) -> str:
        return f"{self.names['Transaction']}={tid}{{{actions}}}"

    def request_actions(self, actions: Iterable[Action]) -> str:
        return ",".join([self.action(action, self.command) for action in actions])

    def reply(self, tid: int, content: str) -> str:
        return f"{self.names['Reply']}={tid}{{{content}}}"

    def reply_actions(self, actions: Iterable[Action]) -> str:
        return ",".join([self.action(action, self.command_reply) for action in actions])

    def error(self, error: ErrorDescriptor) -> str:
        text = f'"{_error_text(error.text)}"' if error.text else ""
        return f"{self.names['Error']}={error.code}{{{text}}}"

    def action(self, action: Action, command: Callable[[Command], str]) -> str:
        """`command` writes a command of a request, or one of a reply."""
        items = self.context_properties(action.properties) if action.properties is not None else []
        if action.audit is not None:
            items.append(self.names["ContextAudit"] + self.audit_items(action.audit))
        items += map(command, action.commands)
        if action.error is not None:
            items.append(self.error(action.error))
        head = f"{self.names['Context']}={_CONTEXTS.get(action.context, action.context)}"
        return f"{head}{{{','.join(items)}}}" if items else head

    def context_properties(self, properties: ContextProperties) -> list[str]:
        names = self.names
        items: list[str] = []
        if properties.topology:
            entries = [self.topology_entry(entry) for entry in properties.topology]
            items.append(f"{names['Topology']}{{{','.join(entries)}}}")
        if properties.priority is not None:
            items.append(f"{names['Priority']}={properties.priority}")
        if properties.emergency is not None:
            items.append(names["Emergency" if properties.emergency else "EmergencyOff"])
        attributes = []
        for item in properties.other:
            if item.name == "IEPSCall":
                items.append(names["IEPSCall"] + _value(item.value))
            else:
                attributes.append(names.get(item.name, item.name) + _value(item.value))
        if attributes:
            items.append(f"{names['ContextAttr']}{{{','.join(attributes)}}}")
        return items

    def topology_entry(self, entry: tuple[str, ...]) -> str:
        stream = f",{self.names['Stream']}={entry[3]}" if len(entry) > 3 else ""
        return f"{entry[0]},{entry[1]},{self.names[entry[2]]}{stream}"

    def command_reply(self, command: Command) -> str:
        if command.name is _AUDIT_VALUE or command.name is _AUDIT_CAPABILITY:
            terminations = command.terminations
            if command.descriptors and terminations[0].lower() in _CONTEXT_TOKENS and command.error is None:
                raise ValueError(f"an audit reply about {terminations[0]!r} would be read as one about a context (RFC 3525 B.2)")
            if len(terminations) > 1:
                return f"{self.command_name(command)}={self.names['Context']}{{{','.join(terminations)}}}"
        return self.command(command)

    def command(self, command: Command) -> str:
        terminations, writers = command.terminations, self._descriptors
        written = terminations[0] if len(terminations) == 1 else f"[{','.join(terminations)}]"
        head = f"{self.command_name(command)}={written}"
        if not command.descriptors:
            return head
        return f"{head}{{{','.join([writers[type(each)](each) for each in command.descriptors])}}}"

    def command_name(self, command: Command) -> str:
        name = self.names[command.name._value_]  # `value` is a function call
        if command.optional or command.wildcard_response:
            name = ("O-" if command.optional else "") + ("W-" if command.wildcard_response else "") + name
        return name

    def shared(self, item: T, write: Callable[[T], str]) -> str:
        """What `write` makes of a record that many messages carry."""
        known = self._shared.get(id(item))
        if known is not None and known[0] is item:
            return known[1]
        text = write(item)
        if len(self._shared) >= MAX_SHARED:
            self._shared.clear()
        self._shared[id(item)] = item, text
        return text

    def events(self, events: Events) -> str:
        return self.shared(events, self.write_events)

    def write_events(self, events: Events) -> str:
        number = events.request_id
        if number is None:
            return self.names["Events"]
        written = ",".join(map(self.event, events.events))
        return f"{self.names['Events']}={'*' if number == _REQUEST_ID_ALL else number}{{{written}}}"

    def signals(self, signals: Signals) -> str:
        return f"{self.names['Signals']}{{{','.join(map(self.event, signals.signals))}}}"

    def audit(self, audit: Audit) -> str:
        return self.names["Audit"] + self.audit_items(audit)

    def packages(self, packages: Packages) -> str:
        written = ",".join([f"{name}-{version}" for name, version in packages.packages])
        return f"{self.names['Packages']}{{{written}}}" if written else self.names["Packages"]

    def other(self, other: OtherDescriptor) -> str:
        return self.names[other.name] + other.text

    def media(self, media: Media) -> str:
        streams = media.streams
        if len(streams) == 1 and streams[0].explicit and media.termination_state is None:
            names, stream = self.names, streams[0]
            return f"{names['Media']}{{{names['Stream']}={stream.id}{{{','.join(self.stream(stream))}}}}}"
        items: list[str] = []
        if media.termination_state is not None:
            written = ",".join([self.state_property(item) for item in media.termination_state])
            items.append(f"{self.names['TerminationState']}{{{written}}}")
        for stream in media.streams:
            parameters = self.stream(stream)
            if stream.explicit:
                items.append(f"{self.names['Stream']}={stream.id}{{{','.join(parameters)}}}")
            else:
                items += parameters
        return f"{self.names['Media']}{{{','.join(items)}}}" if items else self.names["Media"]

    def state_property(self, item: Property) -> str:
        if item.name == "ServiceStates":
            return f"{self.names['ServiceStates']}={self.names.get(item.value.text, item.value.text)}"
        if item.name == "EventBufferControl":
            return f"{self.names['Buffer']}={self.names.get(item.value.text, item.value.text)}"
        return item.name + _value(item.value)

    def stream(self, stream: Stream) -> list[str]:
        names = self.names
        items: list[str] = []
        if stream.local_control is not None:
            items.append(self.shared(stream.local_control, self.local_control))
        if stream.local is not None:
            items.append(names["Local"] + _octets(stream.local))
        if stream.remote is not None:
            items.append(names["Remote"] + _octets(stream.remote))
        if stream.statistics is not None:
            items.append(self.statistics(stream.statistics))
        return items

    def local_control(self, control: LocalControl) -> str:
        names = self.names
        items: list[str] = []
        if control.mode is not None:
            items.append(f"{names['Mode']}={names[control.mode._value_]}")
        if control.reserved_value is not None:
            items.append(f"{names['ReservedValue']}={'ON' if control.reserved_value else 'OFF'}")
        if control.reserved_group is not None:
            items.append(f"{names['ReservedGroup']}={'ON' if control.reserved_group else 'OFF'}")
        items += [item.name + _value(item.value) for item in control.properties]
        return f"{names['LocalControl']}{{{','.join(items)}}}"

    def event(self, event: Event) -> str:
        return event.name + self.parameters(event.parameters) if event.parameters else event.name

    def parameters(self, parameters: Iterable[Property]) -> str:
        names = self.names
        written: list[str] = []
        for item in parameters:
            value = item.value
            if item.name in _KEYWORD_VALUES:
                value = Value(tuple(names.get(word, word) for word in value.values), value.relation, value.form, value.quoted)
            name = names[item.name] if item.name in PARAMETER_KEYWORDS else item.name
            written.append(name + _value(value))
        return f"{{{','.join(written)}}}" if written else ""

    def observed_events(self, observed: ObservedEvents) -> str:
        written = []
        for event in observed.events:
            stamp = event.timestamp + ":" if event.timestamp else ""
            written.append(stamp + event.name + self.parameters(event.parameters))
        number = "*" if observed.request_id == _REQUEST_ID_ALL else observed.request_id
        return f"{self.names['ObservedEvents']}={number}{{{','.join(written)}}}"

    def statistics_descriptor(self, statistics: Statistics) -> str:
        return self.statistics(statistics.statistics)

    def statistics(self, statistics: tuple[Property, ...]) -> str:
        written = ",".join([item.name + _value(item.value) for item in statistics])
        return f"{self.names['Statistics']}{{{written}}}" if written else self.names["Statistics"]

    def audit_items(self, audit: Audit) -> str:
        names = self.names
        if not audit.items:
            return "{}"
        return "{" + ",".join([_AUDIT_WORD.sub(lambda m: names.get(m[0], m[0]), item) for item in audit.items]) + "}"

    def services(self, services: Services) -> str:
        names = self.names
        items: list[str] = []
        if services.method:
            items.append(f"{names['Method']}={names.get(services.method, services.method)}")
        if services.reason:
            items.append(f"{names['Reason']}={_quoted(services.reason)}")
        if services.delay is not None:
            items.append(f"{names['Delay']}={services.delay}")
        if services.address:
            items.append(f"{names['ServiceChangeAddress']}={services.address}")
        if services.mgc_id_to_try:
            items.append(f"{names['MgcIdToTry']}={services.mgc_id_to_try}")
        if services.profile:
            items.append(f"{names['Profile']}={services.profile}")
        if services.version is not None:
            items.append(f"{names['Version']}={services.version}")
        if services.timestamp:
            items.append(services.timestamp)
        items += [names.get(item.name, item.name) + _value(item.value) for item in services.extensions]
        return f"{names['Services']}{{{','.join(items)}}}"


_COMPACT: Final = _Writer(SHORT)
_PRETTY: Final = _Writer({long: long for long in SHORT})


def _lay_out(text: str) -> str:
    """`text` with one item a line, indented by its depth; values in brackets stay on one line, octets as they are."""
    parts: list[str] = []
    depth = 0
    in_value = False
    previous = ""
    for symbol in tokens_of(text):
        if not symbol:
            break
        if in_value:
            parts.append(" " + symbol if _are_words(previous, symbol) else symbol)
            in_value = symbol not in "]}"
        elif symbol == "[" or (symbol == "{" and previous == "="):
            parts.append(symbol)
            in_value = True
        elif symbol[0] == "=":
            parts.append(" = " + symbol[1:])
        elif symbol == "{":
            depth += 1
            parts.append(" {\n" + "  " * depth)
        elif symbol == "}":
            depth -= 1
            if previous == "{":
                parts[-1] = " { }"
            else:
                parts.append("\n" + "  " * depth + "}")
        elif symbol == ",":
            parts.append(",\n" + "  " * depth)
        elif symbol[-1] == "}":
            parts.append(symbol.replace("{", " {", 1))
        elif previous and not depth:
            parts.append("\n" + symbol)
        else:
            parts.append(" " + symbol if _are_words(previous, symbol) else symbol)
        previous = symbol
    return "".join(parts) + "\n"


def _are_words(previous: str, symbol: str) -> bool:
    """Whether two tokens in a row must not touch: only descriptors that Iq does not use have such."""
    return bool(previous) and previous[-1] not in _PUNCTUATION and symbol[0] not in _PUNCTUATION
