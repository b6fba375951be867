"""What ties messages to a transaction: the keys by which it is found, and the messages made on its own branch or tag."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from pcscf.sip.headers import is_unique, split_values
from pcscf.sip.message import Message, Request
from pcscf.sip.parse import parse_datagram_untrusted
from pcscf.sip.transaction import Key, ServerTransaction

MAX_FORWARDS: Final = "70"


def server_key(request: Request, method: str) -> Key:
    """What a request and its retransmissions share (RFC 3261 §17.2.3).

    method: INVITE to find what an ACK or CANCEL is for. Without the magic cookie the key is made of the fields that
    RFC 2543 compares; for an INVITE the To tag is not among them: its ACK has the one of our response.
    Raises MalformedMessage.
    """
    via = request.top_via
    branch = via.branch
    if is_unique(branch):
        return branch, via.host, via.port, method
    to_tag = "" if method == "INVITE" else request.to_tag
    number = request.cseq[0]
    sent_by = (via.transport, via.host, via.port, branch)
    return request.uri, to_tag, request.from_tag, request.call_id, number, sent_by, method


def acknowledges(ack: Request, server: ServerTransaction) -> bool:
    """RFC 2543 matching: the To tag of an ACK is that of the response (RFC 3261 §17.2.3)."""
    return bool(server.response) and answered_tag(server) == ack.to_tag


def answered_tag(server: ServerTransaction) -> str:
    """The To tag of the last response, "" while there is none. Raises MalformedMessage."""
    return parse_datagram_untrusted(server.response).to_tag if server.response else ""


def own_tag(request: Request) -> str:
    """The same To tag for every response that the layer makes to one request, without keeping it (RFC 3261 §8.2.7)."""
    material = f"{request.call_id} {request.get('Via')}".encode("utf-8", "surrogateescape")
    return blake2b(material, digest_size=8).hexdigest()


def hop_by_hop(method: str, invite: Request, *, to: Message) -> Request:
    """The ACK to a failure (RFC 3261 §17.1.1.3) or the CANCEL (§9.1) of an INVITE of ours: one Via, the same branch."""
    request = Request(method, invite.uri, [("Via", split_values(invite.get("Via") or "")[0])])
    request.copy_lines(invite, "Route", "From")
    request.copy_lines(to, "To")
    request.copy_lines(invite, "Call-ID")
    request.add("CSeq", f"{invite.cseq[0]} {method}")
    request.add("Max-Forwards", MAX_FORWARDS)
    request.add("Content-Length", "0")
    return request
