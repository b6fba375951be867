"""The two ends of flow tests: a UE and a core, each a few lines of SIP text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pcscf.sip.message import Request, Response, response_to
from tests.support.flowbed import Bed, Peer

UE_FINGERPRINT = ":".join(f"{octet:02X}" for octet in range(0xA0, 0xC0))
SERVICE_ROUTE = "<sip:orig@198.51.100.2:5080;lr>"
IDENTITY = "<sip:alice@ims.example>"


def crlf(text: str) -> str:
    return "\r\n".join(line.strip() for line in text.strip().splitlines()) + "\r\n"


PROTECTED_OFFER = crlf(f"""
    v=0
    o=alice 2890844526 2890844526 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=message 9 TCP/TLS/MSRP *
    a=accept-types:message/cpim text/plain
    a=path:msrps://192.0.2.10:9/kjh37s;tcp
    a=msrp-cema
    a=setup:active
    a=fingerprint:SHA-256 {UE_FINGERPRINT}
    a=3ge2ae:requested
    a=x-unknown:stays
    """)
PROTECTED_ANSWER = PROTECTED_OFFER.replace("a=3ge2ae:requested\r\n", "")
PLAIN_ANSWER = crlf("""
    v=0
    o=bob 100 200 IN IP4 198.51.100.50
    s=-
    c=IN IP4 198.51.100.50
    t=0 0
    m=message 40100 TCP/MSRP *
    a=accept-types:text/plain
    a=path:msrp://198.51.100.50:40100/z9;tcp
    a=msrp-cema
    a=setup:passive
    """)
PLAIN_OFFER = PLAIN_ANSWER.replace("setup:passive", "setup:actpass")


def with_body(head: str, body: str = "") -> str:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return f"{crlf(head)}{kind}Content-Length: {len(body)}\r\n\r\n{body}"


@dataclass
class Ue:
    """A UE on the bed's TLS flow. `routes`: what it learned from Service-Route and Record-Route."""

    bed: Bed
    peer: Peer
    cseq: int = 0
    call_id: str = "call-1@192.0.2.10"
    invite_text: str = ""
    routes: list[str] = field(default_factory=list)
    invite_routes: list[str] = field(default_factory=list)
    lists: str = "msrp-tls;mediasec"

    def _via(self, branch: str) -> str:
        return f"SIP/2.0/{self.peer.flow.transport.upper()} 192.0.2.10:40001;branch=z9hG4bK{branch};rport"

    def send_register(self, *, expires: int = 600, more: str = "", branch: str = "") -> None:
        self.cseq += 1
        self.peer.send(with_body(f"""
            REGISTER sip:ims.example SIP/2.0
            Via: {self._via(branch or f"r{self.cseq}")}
            From: {IDENTITY};tag=ra
            To: {IDENTITY}
            Call-ID: reg@192.0.2.10
            CSeq: {self.cseq} REGISTER
            Max-Forwards: 70
            Contact: <sip:alice@192.0.2.10:40001;transport=tls>;expires={expires}
            {more}""".rstrip()))

    async def register(self, *, mediasec: bool = True, expires: int = 600) -> Request:
        """REGISTER, 401, REGISTER with Security-Verify, 200; the second REGISTER as the core saw it."""
        client = f"Security-Client: {self.lists}\nRequire: mediasec\nProxy-Require: mediasec" if mediasec else ""
        self.send_register(more=client, expires=expires)
        first = await self.bed.core.expect("REGISTER")
        challenge = response_to(first, 401, to_tag="core")
        challenge.add("WWW-Authenticate", 'Digest realm="ims.example", nonce="n"')
        self.bed.core.send(challenge)
        told = await self.peer.expect(401)
        verify = "".join(f"\nSecurity-Verify: {entry}" for entry in told.get_all("Security-Server"))
        self.send_register(more=client + verify, expires=expires)
        second = await self.bed.core.expect("REGISTER")
        self.bed.core.send(granted(second, expires))
        answer = await self.peer.expect(200)
        self.routes = answer.values("Service-Route")
        assert isinstance(second, Request)
        return second

    def invite(self, body: str = PROTECTED_OFFER, *, more: str = "", call: str = "call-1") -> None:
        self.cseq += 1
        self.call_id = f"{call}@192.0.2.10"
        self.invite_text = with_body(f"""
            INVITE sip:bob@ims.example SIP/2.0
            Via: {self._via(f"i{self.cseq}")}
            From: {IDENTITY};tag=ua
            To: <sip:bob@ims.example>
            Call-ID: {self.call_id}
            CSeq: {self.cseq} INVITE
            Max-Forwards: 70
            Contact: <sip:alice@192.0.2.10:40001;transport=tls>
            {more}""".rstrip(), body)
        self.peer.send(self.invite_text)

    def cancel(self) -> None:
        self.peer.send(with_body(f"""
            CANCEL sip:bob@ims.example SIP/2.0
            Via: {self._via(f"i{self.cseq}")}
            From: {IDENTITY};tag=ua
            To: <sip:bob@ims.example>
            Call-ID: {self.call_id}
            CSeq: {self.cseq} CANCEL
            Max-Forwards: 70"""))

    def in_dialog(self, method: str, answer: Response, body: str = "") -> None:
        """A request in the dialog that `answer` confirmed."""
        if method != "ACK":
            self.cseq += 1
        routes = "\n".join(f"Route: {route}" for route in reversed(answer.values("Record-Route")))
        target = answer.values("Contact")[0].strip("<>")
        self.peer.send(with_body(f"""
            {method} {target} SIP/2.0
            Via: {self._via(f"d{method}{self.cseq}")}
            {routes}
            From: {IDENTITY};tag=ua
            To: {answer.get("To")}
            Call-ID: {self.call_id}
            CSeq: {self.cseq} {method}
            Max-Forwards: 70""", body))

    def cancel_in_dialog(self, answer: Response) -> None:
        """CANCEL of the request that was sent last in the dialog that `answer` confirmed."""
        self.peer.send(with_body(f"""
            CANCEL {answer.values("Contact")[0].strip("<>")} SIP/2.0
            Via: {self._via(f"dINVITE{self.cseq}")}
            From: {IDENTITY};tag=ua
            To: {answer.get("To")}
            Call-ID: {self.call_id}
            CSeq: {self.cseq} CANCEL
            Max-Forwards: 70"""))

    def answer(self, request: Request, status: int = 200, body: str = "") -> None:
        answer = response_to(request, status, to_tag="ua")
        if body:
            answer.add("Contact", "<sip:alice@192.0.2.10:40001;transport=tls>")
            answer.set_body(body.encode(), "application/sdp")
        self.peer.send(answer)


def granted(register: Request, expires: int = 600) -> Response:
    answer = response_to(register, 200, to_tag="core")
    contact = register.values("Contact")[0].partition(";expires")[0]
    answer.add("Contact", f"{contact};expires={expires}")
    answer.add("Service-Route", SERVICE_ROUTE)
    answer.add("P-Associated-URI", IDENTITY)
    return answer


def answered(invite: Request, status: int = 200, body: str = PLAIN_ANSWER, tag: str = "far") -> Response:
    """What the far end in the core says to an INVITE."""
    answer = response_to(invite, status, to_tag=tag)
    if status < 300:
        answer.copy_lines(invite, "Record-Route")
        answer.add("Contact", "<sip:bob@198.51.100.2:5080>")
    if body:
        answer.set_body(body.encode(), "application/sdp")
    return answer


def from_far(invite: Request, method: str, cseq: int = 1, tag: str = "far", more: str = "", body: str = "") -> str:
    """A request of the far end in the dialog of `invite`."""
    routes = "\n".join(f"Route: {route}" for route in invite.values("Record-Route"))
    target = invite.values("Contact")[0].strip("<>")
    return with_body(f"""
        {method} {target} SIP/2.0
        Via: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bKfar{method}{cseq}
        {routes}
        From: {invite.get("To")};tag={tag}
        To: {invite.get("From")}
        Call-ID: {invite.call_id}
        CSeq: {cseq} {method}
        Max-Forwards: 70
        {more}""".rstrip(), body)


def call_ue(bed: Bed, body: str = PLAIN_OFFER, *, call: str = "in-1", contact: int = 0) -> None:
    """The core calls a registered contact along the Path it learned; several contacts of a call are its forks."""
    binding = bed.store.bindings()[contact]
    bed.core.send(with_body(f"""
        INVITE {binding.contact} SIP/2.0
        Via: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bK{call}{f".{contact}" if contact else ""}
        Route: <sip:{binding.token}@198.51.100.1:5070;lr>
        From: <sip:bob@ims.example>;tag=far
        To: {IDENTITY}
        Call-ID: {call}@core
        CSeq: 1 INVITE
        Max-Forwards: 70
        P-Asserted-Identity: <sip:bob@ims.example>
        P-Charging-Vector: icid-value=secret
        Contact: <sip:bob@198.51.100.2:5080>""", body))


async def bed_with_ue(**settings: Any) -> tuple[Bed, Ue]:
    """A running bed with a registered UE."""
    bed = Bed(**settings)
    await bed.start()
    ue = Ue(bed, bed.ue, lists=", ".join(f"{each};mediasec" for each in bed.mechanisms))
    await ue.register()
    return bed, ue
