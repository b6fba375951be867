"""A P-CSCF's desk for tests: ports whose far side only writes down what it is told, and requests in a line or two."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, cast

from pcscf.config.policy import MediaPolicy
from pcscf.iq.media import Media
from pcscf.mediasec.model import Agreed
from pcscf.procedures.binding import Binding
from pcscf.procedures.ports import MediaPort, Ports, SipPort
from pcscf.procedures.session import Session
from pcscf.procedures.site import Interface, Side, Site
from pcscf.procedures.token import Tokens
from pcscf.runtime.store import MemoryStore
from pcscf.sip.flow import Flow, Hop
from pcscf.sip.message import Request, Response
from pcscf.sip.parse import parse_datagram_untrusted
from pcscf.sip.transaction import ServerTransaction, Timers

GM = ("203.0.113.1", 5061)
MW = ("198.51.100.1", 5070)
MW6 = ("2001:db8::1", 5060)
FLOW = Flow("tls", "gm-tls", GM, ("192.0.2.10", 40001), 1)
INTERFACES = {
    "gm-tls": Interface("gm-tls", Side.ACCESS, "access", "tls", *GM, ("msrp-tls",)),
    "mw-tcp": Interface("mw-tcp", Side.CORE, "core", "tcp", *MW),
    "mw-udp": Interface("mw-udp", Side.CORE, "core", "udp", *MW),
    "mw-udp6": Interface("mw-udp6", Side.CORE, "core", "udp", *MW6),
}


@dataclass
class Recorder:
    """The SIP port as far as answers of our own and next hops go."""

    answers: list[Response] = field(default_factory=list)
    alive: set[Flow] = field(default_factory=set)

    def respond(self, _server: ServerTransaction, response: Response) -> None:
        self.answers.append(response)

    def is_alive(self, flow: Flow) -> bool:
        return flow in self.alive

    async def locate(self, uri: str, realm: str) -> Hop:
        return Hop("udp", realm, uri, 5060)


def ports(recorder: Recorder | None = None, records: list[tuple[str, dict[str, Any]]] | None = None) -> Ports:
    counter = itertools.count(1)
    written = records if records is not None else []
    return Ports(
        sip=cast(SipPort, recorder or Recorder()), media=cast(MediaPort, None), store=MemoryStore(),
        site=Site(
            name="pcscf.ims.example", network="visited.example", interfaces=INTERFACES, core_realm="core",
            core_hop="sip:198.51.100.2:5080", policy=lambda *_: MediaPolicy(), addresses=frozenset({GM, MW, MW6})),
        tokens=Tokens(b"secret", lambda size: next(counter).to_bytes(size, "big")), now=lambda: 0.0,
        later=lambda _delay, _call: None, record=lambda event, **facts: written.append((event, facts)))


def request(*lines: str, uri: str = "sip:bob@ims.example", method: str = "MESSAGE", hops: str | None = "70") -> Request:
    """A request with these header lines after the mandatory ones."""
    fixed = [
        f"{method} {uri} SIP/2.0", "Via: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKu1", "From: <sip:alice@ims.example>;tag=a",
        "To: <sip:bob@ims.example>", "Call-ID: c1", f"CSeq: 7 {method}",
    ]
    more = [] if hops is None else [f"Max-Forwards: {hops}"]
    message = parse_datagram_untrusted("\r\n".join([*fixed, *more, *lines, "", ""]).encode())
    assert isinstance(message, Request)
    return message


def server(message: Request) -> ServerTransaction:
    return ServerTransaction(("k", message.method), message, FLOW, Timers(), 0.0)


def binding(*identities: str, **more: Any) -> Binding:
    return Binding(
        token="b1", flow=FLOW, address_of_record="sip:alice@ims.example", contact="sip:alice@192.0.2.10", user_agent="",
        policy=MediaPolicy(), identities=identities, **more)


def session(token: str = "s1", binding: str = "b1", media: Media | None = None) -> Session:
    return Session(
        token=token, binding=binding, caller=Side.ACCESS, flow=FLOW, call_id="c1", invite_cseq=1, policy=MediaPolicy(),
        agreed=Agreed(), media=media)
