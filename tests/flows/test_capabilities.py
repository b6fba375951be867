"""Descriptions that are no offer and no answer (RFC 3264 §9): every octet passes but 3ge2ae, which is between UE and edge."""

from __future__ import annotations

import pytest

from pcscf.sip.message import Request, response_to
from tests.support.audit import run
from tests.support.ladder import BEGINS, ENDS, Ladder
from tests.support.parties import UE_FINGERPRINT, crlf
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")
PLAIN = crlf("""
    v=0
    o=- 1 1 IN IP4 192.0.2.10
    s= what I can do
    t=0 0
    m=message 0 TCP/TLS/MSRP *
    a=accept-types:text/plain   message/cpim
    a=path:msrps://192.0.2.10:9/x;tcp
    a=fingerprint:SHA-256 """ + UE_FINGERPRINT + """
    a=3ge2aextra:is another attribute
    m=image 0 UDP/TLS/UDPTL t38
    a=setup:actpass
    a=x-last
    """)
"""As it must leave."""
WISHING = PLAIN.replace("a=accept-types", "a=3ge2ae:requested\r\na=accept-types").replace(
    "a=setup", "a=3GE2AE: Applied\r\na=setup").replace("t=0 0", "t=0 0\r\na=3ge2ae:requested").replace(
    "a=x-last", "a=acap:7 3ge2ae:requested\r\na=x-last")
MIXED = "Content-Type: multipart/mixed;boundary=edge"


def _multipart(*sdps: str, boundary: str = "edge") -> str:
    parts = [f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}" for sdp in sdps]
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"


def test_the_samples() -> None:
    assert WISHING.lower().count("3ge2ae:") == 4
    assert "3ge2ae:" not in PLAIN


@pytest.mark.parametrize("method", ["OPTIONS", "INFO", "MESSAGE"])
@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("place", ALL)
def test_within_a_session(place: str, who: str, method: str) -> None:
    other = "callee" if who == "caller" else "caller"

    async def story(play: Play) -> None:
        ladder = Lax(play, {"capabilities": WISHING, "several": _multipart(WISHING, WISHING)})
        await ladder.climb(f"""{BEGINS}
            {who}: {method} (capabilities)
            {other}: 200 (capabilities)
            """)
        assert ladder.description(other, method) == ladder.description(who, "200") == PLAIN
        await ladder.climb(f"""
            {who}: {method} (several) {{{MIXED}}}
            {other}: 200 (several) {{{MIXED}}}
            """)
        assert ladder.description(other, method) == ladder.description(who, "200") == _multipart(PLAIN, PLAIN)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_refusal_that_says_what_would_do(place: str) -> None:
    """RFC 3261 §21.4.26: a 488 describes what is possible."""

    async def story(play: Play) -> None:
        ladder = Lax(play, {"capabilities": WISHING})
        await ladder.climb("caller: INVITE (offer)\ncallee: 488 (capabilities)")
        assert ladder.description("caller", "488") == PLAIN
        await ladder.climb(f"{BEGINS}\ncallee: UPDATE (offer)\ncaller: 488 (capabilities)\n")
        assert ladder.description("callee", "488") == PLAIN
        await ladder.climb(ENDS)

    run(story, place)


def test_outside_sessions() -> None:
    async def story(play: Play) -> None:
        request = _options(play)
        request.set_body(WISHING.encode(), "application/sdp")
        play.caller.send(request)
        got = await play.callee.expect("OPTIONS")
        assert got.body.decode() == PLAIN
        assert isinstance(got, Request)
        answer = response_to(got, 200, to_tag="x")
        answer.set_body(WISHING.encode(), "application/sdp")
        play.callee.peer.send(answer)
        assert (await play.caller.expect(200)).body.decode() == PLAIN

    run(story, "from-ue")


def test_what_may_hide_it_is_refused_or_goes_as_a_whole() -> None:
    """Signed parts cannot be changed: fail closed."""
    signed = _multipart(WISHING).encode()

    async def story(play: Play) -> None:
        request = _options(play)
        request.set_body(signed, "multipart/signed;boundary=edge")
        play.caller.send(request)
        await play.caller.expect(415)
        play.caller.send(_options(play))
        got = await play.callee.expect("OPTIONS")
        assert isinstance(got, Request)
        answer = response_to(got, 200, to_tag="x")
        answer.set_body(signed, "multipart/signed;boundary=edge")
        play.callee.peer.send(answer)
        assert (await play.caller.expect(200)).body == b""

    run(story, "from-ue")


def _options(play: Play) -> Request:
    request = play.caller.opening(play.target, play.routes)
    options = Request("OPTIONS", request.uri)
    for name, value in request.headers:
        options.add(name, value.replace("INVITE", "OPTIONS"))
    return options


class Lax(Ladder):
    """Here a certificate may be seen in the core: it is a capability like any other."""

    shows_certificates = True
