"""What happens to H.248 transactions, as the machine tells its user."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from pcscf.errors import H248SyntaxError
from pcscf.h248.message import Action, ErrorDescriptor
from pcscf.h248.peer import Peer
from pcscf.record import record


class RequestHandle(NamedTuple):
    """Names a received request; `version` is that of its header, which its reply repeats."""

    peer: Peer
    mid: str
    tid: int
    version: int


@record
class RequestReceived:
    """A request to execute and to answer with `reply`."""

    handle: RequestHandle
    mid: str
    peer: Peer
    actions: tuple[Action, ...]


@record
class ReplyReceived:
    """The one reply to request `tid`: its actions, or the error that refuses the whole transaction.

    No actions and no error: it is the reply that was hoped for.
    """

    tid: int
    peer: Peer
    actions: tuple[Action, ...]
    error: ErrorDescriptor | None


@record
class RequestFailed:
    """Request `tid` has no reply and will have none; `cause` says why."""

    tid: int
    peer: Peer
    cause: str


@record
class SyntaxRefused:
    """A message that is not H.248. The peer got the error, unless it was a reply that could not be read."""

    peer: Peer
    error: H248SyntaxError


@record
class StrangerRefused:
    """A request of somebody who may not ask. It got this error, and nothing of it is kept."""

    peer: Peer
    mid: str
    error: ErrorDescriptor


@record
class MessageError:
    """The peer refused a whole message (406: see `set_version`), or a request whose TransactionID it could not read."""

    peer: Peer
    error: ErrorDescriptor


Event: TypeAlias = RequestReceived | ReplyReceived | RequestFailed | SyntaxRefused | StrangerRefused | MessageError
