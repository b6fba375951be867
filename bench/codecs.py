"""The pure parts, one operation at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from bench.measure import Figure, micros_of
from bench.messages import ANSWER, FINGERPRINT, IN_DIALOG, INVITE, OFFER, RESERVE, RESERVED
from pcscf.config.policy import MediaPolicy
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import TransactionReply, TransactionRequest
from pcscf.h248.peer import ConnectionPeer, Peer
from pcscf.h248.transaction import Event, H248Timers, ReplyReceived, RequestReceived, TransactionMachine
from pcscf.mediasec.model import Agreed, Direction, StreamMedia
from pcscf.mediasec.plan import decide, settle
from pcscf.mediasec.rewrite import rewrite_answer, rewrite_offer
from pcscf.sdp.lines import parse_sdp_untrusted
from pcscf.sip.events import NewRequest
from pcscf.sip.flow import Flow
from pcscf.sip.headers import KEPT
from pcscf.sip.layer import TransactionLayer
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import check_request, parse_datagram_untrusted
from pcscf.sip.transaction import Timers

FLOW = Flow("tls", "gm-tls", ("203.0.113.1", 5061), ("192.0.2.10", 40001), 1)
AGREED = Agreed(frozenset({"msrp-tls"}), frozenset({"msrp-tls"}))
ACCESS_MEDIA = {0: StreamMedia("203.0.113.7", 30010, (("sha-256", FINGERPRINT),))}
CORE_MEDIA = {0: StreamMedia("198.51.100.7", 41010)}


def figures() -> Iterator[Figure]:
    yield from _sip()
    yield from _sdp()
    yield from _h248()


def _sip() -> Iterator[Figure]:
    invite = INVITE.format(number=1).encode()
    bye = IN_DIALOG.format(method="BYE", number=1, cseq=2, routes="Route: <sip:203.0.113.1:5061;lr>").encode()
    parsed = parse_datagram_untrusted(invite)
    answer = response_to(_request(invite), 200, to_tag="far")
    answer.set_body(ANSWER.encode(), "application/sdp")
    answer_octets = answer.to_bytes()

    yield Figure("SIP", "parse an INVITE", micros_of(lambda: parse_datagram_untrusted(invite)), 8)
    yield Figure("SIP", "parse its 200", micros_of(lambda: parse_datagram_untrusted(answer_octets)), 8)
    yield Figure("SIP", "parse and check a BYE", micros_of(lambda: check_request(_request(bye))))
    yield Figure("SIP", "parse and check an INVITE", micros_of(lambda: check_request(_request(invite))))
    strangers = cycle([INVITE.format(number=number).encode() for number in range(2, 2 * KEPT)])
    yield Figure("SIP", "parse and check one unlike those before", micros_of(lambda: check_request(_request(next(strangers)))))
    yield Figure("SIP", "serialise an INVITE", micros_of(parsed.to_bytes), 4)
    yield Figure("SIP", "one step of the transaction layer", _layer_step(_request(bye)), 5)


def _layer_step(request: Request) -> float:
    """A server transaction from its request to its end: three steps, one of which serialises the response."""
    layer = TransactionLayer(lambda _destination: Timers())
    response: Response = response_to(request, 200, to_tag="far")

    def life() -> None:
        layer.receive(request, FLOW, 0.0)
        for event in layer.take_events():
            if isinstance(event, NewRequest):
                layer.respond(event.server, response, 0.0)
        layer.take_output()
        layer.handle_timer(0.0)
        layer.take_events()

    life()
    if len(layer):
        raise RuntimeError("the transaction did not end")
    return micros_of(life, steps=3)


def _sdp() -> Iterator[Figure]:
    policy = MediaPolicy()
    offer_octets, answer_octets = OFFER.encode(), ANSWER.encode()
    offer = parse_sdp_untrusted(offer_octets)
    plan = decide(policy, AGREED, offer, Direction.OFFER_FROM_UE)

    def offered() -> bytes:
        received = parse_sdp_untrusted(offer_octets)
        decided = decide(policy, AGREED, received, Direction.OFFER_FROM_UE)
        return rewrite_offer(decided, received, CORE_MEDIA).to_bytes()

    def answered() -> bytes:
        received = parse_sdp_untrusted(answer_octets)
        return rewrite_answer(settle(plan, received), received, ACCESS_MEDIA).to_bytes()

    yield Figure("SDP", "parse an offer", micros_of(lambda: parse_sdp_untrusted(offer_octets)))
    yield Figure("SDP", "parse, decide and rewrite an offer", micros_of(offered), 30)
    yield Figure("SDP", "parse, settle and rewrite an answer", micros_of(answered), 30)


def _h248() -> Iterator[Figure]:
    reserve, reserved = decode_untrusted(RESERVE), decode_untrusted(RESERVED)
    yield Figure("H.248", "decode a reply to Add, Add", micros_of(lambda: decode_untrusted(RESERVED)), 20)
    yield Figure("H.248", "decode Add, Add", micros_of(lambda: decode_untrusted(RESERVE)), 20)
    yield Figure("H.248", "encode Add, Add", micros_of(lambda: encode_compact(reserve)), 20)
    yield Figure("H.248", "encode a reply to Add, Add", micros_of(lambda: encode_compact(reserved)), 20)
    ask, answer = reserve.transactions[-1], reserved.transactions[-1]
    if not isinstance(ask, TransactionRequest) or not isinstance(answer, TransactionReply):
        raise TypeError("not a request and its reply")
    yield Figure("H.248", "a transaction with Add, Add, both ends, datagrams", _transaction(ask, answer, ("192.0.2.1", 2944)))
    connected = ConnectionPeer("192.0.2.1", 2944)
    yield Figure("H.248", "a transaction with Add, Add, both ends, a connection", _transaction(ask, answer, connected))


def _transaction(ask: TransactionRequest, answer: TransactionReply, peer: Peer) -> float:
    """From the request to its reply, with codec, duplicates and confirmations. 100 a second are remembered for LONG-TIMER."""
    controller, gateway = (TransactionMachine(f"[192.0.2.{number}]:2944", timers=H248Timers(), first_id=1) for number in (1, 2))
    now = 0.0

    def carry(one: TransactionMachine, other: TransactionMachine) -> list[Event]:
        for data, _ in one.take_output():
            other.receive(data, peer, now)
        return other.take_events()

    def life() -> None:
        nonlocal now
        now += 0.01
        controller.request(peer, ask.actions, now)
        for event in carry(controller, gateway):
            if isinstance(event, RequestReceived):
                gateway.reply(event.handle, answer.actions, now)
        if not any(isinstance(event, ReplyReceived) for event in carry(gateway, controller)):
            raise RuntimeError("the transaction did not end")
        controller.handle_timer(now)
        gateway.handle_timer(now)

    return micros_of(life)


def _request(data: bytes) -> Request:
    message = parse_datagram_untrusted(data)
    if not isinstance(message, Request):
        raise TypeError("not a request")
    return message
