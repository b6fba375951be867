"""H.248 messages as plain data (RFC 3525 Annex B.2, H.248.1 v2), in the standard's terms; nothing here reads or writes text.

Names of packages, items and terminations compare case-insensitively (RFC 3525 §B.2): use `same_name`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TypeAlias

from pcscf.record import record


class ContextId(IntEnum):
    """The three reserved context identifiers, written `-`, `$` and `*`."""

    NULL = 0
    CHOOSE = 0xFFFFFFFE
    ALL = 0xFFFFFFFF


class Mode(Enum):
    """Stream mode, written long and short by the codec."""

    SEND_ONLY = "SendOnly"
    RECEIVE_ONLY = "ReceiveOnly"
    SEND_RECEIVE = "SendReceive"
    INACTIVE = "Inactive"
    LOOPBACK = "Loopback"

    __hash__ = object.__hash__  # members are compared by identity; that of Enum hashes the name, in Python


class CommandName(Enum):
    ADD = "Add"
    MOVE = "Move"
    MODIFY = "Modify"
    SUBTRACT = "Subtract"
    AUDIT_VALUE = "AuditValue"
    AUDIT_CAPABILITY = "AuditCapability"
    NOTIFY = "Notify"
    SERVICE_CHANGE = "ServiceChange"

    __hash__ = object.__hash__


def same_name(one: str, other: str) -> bool:
    """Whether two package, item or termination names are the same (case-insensitive, RFC 3525 §B.2)."""
    return one.lower() == other.lower()


@record
class Value:
    """A property or parameter value: `relation` is = # < >; `form` tells how several values were bracketed.

    form: "single" one value; "and" [a,b]; "or" {a,b}; "range" [a:b]; "block": the tokens of a `{…}` kept as they came
    (an embedded descriptor, which Iq does not use). No values at all: a parameter without a value, such as KeepActive.
    quoted: per value, whether it stood (or must stand) in quotes: String values are quoted, the others are not.
    """

    values: tuple[str, ...]
    relation: str = "="
    form: str = "single"
    quoted: bool = False

    @property
    def text(self) -> str:
        return self.values[0] if self.values else ""


@record
class Property:
    """`name` is "package/item", or a bare parameter name inside an event or signal."""

    name: str
    value: Value


@record
class LocalControl:
    mode: Mode | None = None
    reserved_value: bool | None = None
    reserved_group: bool | None = None
    properties: tuple[Property, ...] = ()


@record
class Stream:
    """One stream of a Media descriptor. local/remote: None = absent (keep), "" = empty (release), else SDP text.

    explicit: whether it is written as `Stream = id {…}`; False = the parameters stand directly in Media (id 1 is meant).
    """

    id: int = 1
    local_control: LocalControl | None = None
    local: str | None = None
    remote: str | None = None
    statistics: tuple[Property, ...] | None = None
    explicit: bool = True


@record
class Media:
    streams: tuple[Stream, ...] = ()
    termination_state: tuple[Property, ...] | None = None  # ServiceStates and EventBufferControl as bare names


@record
class Event:
    """A requested event: name "package/event", its parameters (Stream=n included as a bare "Stream")."""

    name: str
    parameters: tuple[Property, ...] = ()


@record
class Events:
    request_id: int | None = None
    events: tuple[Event, ...] = ()


@record
class ObservedEvent:
    name: str
    parameters: tuple[Property, ...] = ()
    timestamp: str = ""  # yyyymmddThhmmssss


@record
class ObservedEvents:
    request_id: int
    events: tuple[ObservedEvent, ...] = ()


@record
class Signals:
    """Signals by name "package/signal"; parameters as Property. A signal list is kept flat, in order."""

    signals: tuple[Event, ...] = ()


@record
class Audit:
    """Items by their long token ("Media", "Packages", …); empty = Audit{}."""

    items: tuple[str, ...] = ()


@record
class Packages:
    packages: tuple[tuple[str, int], ...] = ()  # (name, version)


@record
class Statistics:
    statistics: tuple[Property, ...] = ()


@record
class Services:
    """ServiceChange parameters. `reason` is the quoted text ("901 Cold Boot"). Absent = None or ""."""

    method: str = ""
    reason: str = ""
    delay: int | None = None
    address: str = ""
    mgc_id_to_try: str = ""
    profile: str = ""
    version: int | None = None
    timestamp: str = ""
    extensions: tuple[Property, ...] = ()


@record
class ErrorDescriptor:
    code: int
    text: str = ""


@record
class OtherDescriptor:
    """A descriptor of H.248.1 that Iq does not use (Modem, Mux, DigitMap, EventBuffer): its long token, its tokens as they came.

    It is kept so that the one command that carries it can be answered with 444 or read past.
    """

    name: str
    text: str = ""


Descriptor: TypeAlias = (
    Media | Events | ObservedEvents | Signals | Audit | Packages | Statistics | Services | ErrorDescriptor | OtherDescriptor
)


@record
class Command:
    """A command request or a command reply (the same shape on the wire).

    terminations: usually one; a list only in v3. optional: "O-"; wildcard_response: "W-".
    """

    name: CommandName
    terminations: tuple[str, ...]
    descriptors: tuple[Descriptor, ...] = ()
    optional: bool = False
    wildcard_response: bool = False

    @property
    def termination(self) -> str:
        return self.terminations[0]

    @property
    def error(self) -> ErrorDescriptor | None:
        for descriptor in self.descriptors:
            if isinstance(descriptor, ErrorDescriptor):
                return descriptor
        return None


@record
class ContextProperties:
    """emergency None = absent. topology: (from, to, "Bothway"|"Isolate"|"Oneway"…[, stream in v3])."""

    priority: int | None = None
    emergency: bool | None = None
    topology: tuple[tuple[str, ...], ...] = ()
    other: tuple[Property, ...] = ()


@record
class Action:
    """What happens in one context: of a request, or of a reply (then `error` may stand after the commands)."""

    context: int
    commands: tuple[Command, ...] = ()
    properties: ContextProperties | None = None
    audit: Audit | None = None  # ContextAudit
    error: ErrorDescriptor | None = None


@record
class TransactionRequest:
    id: int
    actions: tuple[Action, ...]


@record
class TransactionReply:
    """A reply: actions, or one error for the whole transaction."""

    id: int
    actions: tuple[Action, ...] = ()
    error: ErrorDescriptor | None = None
    immediate_ack_required: bool = False


@record
class TransactionPending:
    id: int


Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""TransactionIDs: (first, last), both included."""


@record
class TransactionAck:
    """TransactionResponseAck."""

    ranges: Ranges


Transaction: TypeAlias = TransactionRequest | TransactionReply | TransactionPending | TransactionAck


@record
class Message:
    """One H.248 message. `mid` as written: [127.0.0.1]:2944, <gw.example>, agw/1 …; either transactions or one error."""

    mid: str
    transactions: tuple[Transaction, ...] = ()
    error: ErrorDescriptor | None = None
    version: int = 2
    authentication: str = ""
