"""What the transaction layer tells its user (RFC 3261 §5: the transaction user)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pcscf.sip.flow import Flow
from pcscf.sip.message import Request, Response
from pcscf.sip.transaction import ClientTransaction, ServerTransaction, Transaction


@dataclass(slots=True)
class NewRequest:
    """A request that no transaction has seen. Never an ACK or a CANCEL."""

    server: ServerTransaction


@dataclass(slots=True)
class Ack:
    """The ACK to a 2xx: it belongs to no transaction, the transaction user forwards it (RFC 3261 §16.11)."""

    request: Request
    source: Flow


@dataclass(slots=True)
class Cancelled:
    """A CANCEL (`request`) met an INVITE still without final response. The CANCEL has been answered 200 already."""

    server: ServerTransaction
    request: Request


@dataclass(slots=True)
class ResponseReceived:
    """Every provisional response, one failure, or every 2xx of an INVITE with its retransmissions (RFC 6026 §7.2)."""

    client: ClientTransaction
    response: Response


@dataclass(slots=True)
class TimedOut:
    """Timer B or F, or 64*T1 after a CANCEL that ended nothing (RFC 3261 §9.1). Terminated follows."""

    client: ClientTransaction


@dataclass(slots=True)
class TransportFailed:
    """The request could not be delivered or its connection broke. Terminated follows."""

    client: ClientTransaction


@dataclass(slots=True)
class ResponseUndeliverable:
    """The way back of a request is gone. An INVITE stays to absorb retransmissions (RFC 6026 §7.1)."""

    server: ServerTransaction


@dataclass(slots=True)
class Unacknowledged:
    """Timer H: nobody acknowledged the failure of an INVITE. Terminated follows."""

    server: ServerTransaction


@dataclass(slots=True)
class Terminated:
    transaction: Transaction


Event: TypeAlias = (
    NewRequest
    | Ack
    | Cancelled
    | ResponseReceived
    | TimedOut
    | TransportFailed
    | ResponseUndeliverable
    | Unacknowledged
    | Terminated
)
