"""Replies of gateways: the good ones become Media, all others a definite error."""

from __future__ import annotations

import pytest

from pcscf.errors import GatewayUnavailable, InternalFailure
from pcscf.h248.message import Action, Command, CommandName, ContextId, ErrorDescriptor, Stream
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq import replies
from pcscf.mediasec.model import StreamMedia
from tests.unit.iq.plans import BFCP_TLS, GATEWAY_PRINT, answered_by_core, from_ue, protection

MID = "[192.0.2.1]:2945"
PRINT = f"a=fingerprint:sha-256 {GATEWAY_PRINT}\r\n"
ACCESS = "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\nm=message 40000 TCP/TLS -\r\n" + PRINT
CORE = "v=0\r\nc=IN IP4 192.0.2.2\r\nm=message 50000 TCP -\r\na=setup:active\r\n"


def add(termination: str, *locals_: str | None) -> Command:
    streams = tuple(Stream(number, local=local) for number, local in enumerate(locals_, 1))
    return Command(CommandName.ADD, (termination,), (MediaDescriptor(streams),))


def reply(*commands: Command, context: int = 77, error: ErrorDescriptor | None = None) -> tuple[Action, ...]:
    return (Action(context, commands, error=error),)


GOOD = reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", CORE))


def test_a_good_reply() -> None:
    media = replies.read_reserved_untrusted(MID, from_ue(), GOOD)
    assert (media.gateway, media.context) == (MID, 77)
    assert (media.access_termination, media.core_termination) == ("ip/1/1/1", "ip/1/2/2")
    assert media.access == {0: StreamMedia("192.0.2.1", 40000, (("sha-256", GATEWAY_PRINT),))}
    assert media.core == {0: StreamMedia("192.0.2.2", 50000)}
    assert (media.access_setup, media.core_setup) == ({0: "passive"}, {0: "active"})
    assert media.tls_clients == frozenset()


def test_the_tls_client_is_remembered() -> None:
    assert replies.read_reserved_untrusted(MID, from_ue("passive"), GOOD).tls_clients == {0}


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ((), "names 0 contexts"),
        (reply(context=ContextId.CHOOSE), "names 0 contexts"),
        (reply(context=ContextId.NULL), "names 0 contexts"),
        ((*GOOD, *reply(context=78)), "names 2 contexts"),
        (reply(), "has 0 Add"),
        (reply(add("ip/1/1/1", ACCESS)), "has 1 Add"),
        (reply(add("ip/1/1/1", ACCESS), add("IP/1/1/1", CORE)), "two terminations"),
        (reply(add("ip/1/$/$", ACCESS), add("ip/1/2/2", CORE)), "two terminations"),
        (reply(add("ip/1/1/1"), add("ip/1/2/2", CORE)), "no Local descriptor for stream 1"),
        (reply(add("ip/1/1/1", None), add("ip/1/2/2", CORE)), "no Local descriptor for stream 1"),
        (reply(add("ip/1/1/1", ACCESS.replace(PRINT, "")), add("ip/1/2/2", CORE)), "no fingerprint"),
        (reply(add("ip/1/1/1", ACCESS.replace("m=", "x=")), add("ip/1/2/2", CORE)), "no address and port"),
        (reply(add("ip/1/1/1", ACCESS.replace(GATEWAY_PRINT, "$")), add("ip/1/2/2", CORE)), "no usable fingerprint"),
        (reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", CORE.replace("50000", "$"))), "no usable port"),
        (reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", CORE.replace("50000", "0"))), "no usable port"),
        (reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", CORE.replace("50000", "65536"))), "no usable port"),
        (reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", CORE.replace("192.0.2.2", "$"))), "no usable address"),
        (reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", CORE.replace("192.0.2.2", "0.0.0.0"))), "no usable address"),
        (reply(add("ip/1/1/1", ACCESS), add("ip/1/2/2", "hello")), "no address and port"),
    ],
)
def test_every_bad_reply_is_a_definite_error(actions: tuple[Action, ...], said: str) -> None:
    with pytest.raises(InternalFailure, match=said):
        replies.read_reserved_untrusted(MID, from_ue(), actions)


def refused(code: int) -> ErrorDescriptor:
    return ErrorDescriptor(code, "no")


@pytest.mark.parametrize("code", [412, 432, 502, 510, 511, 526])
def test_a_full_or_busy_gateway_is_unavailable(code: int) -> None:
    error = replies.sip_error(refused(code), "reserve")
    assert isinstance(error, GatewayUnavailable)
    assert (error.status, str(code) in error.what) == (503, True)


@pytest.mark.parametrize("code", [400, 403, 411, 430, 441, 445, 449, 473, 474, 500, 501, 515, 999])
def test_any_other_error_is_an_internal_failure(code: int) -> None:
    error = replies.sip_error(refused(code), "reserve")
    assert isinstance(error, InternalFailure)
    assert error.status == 500


@pytest.mark.parametrize(
    "actions",
    [
        reply(add("ip/1/1/1", ACCESS), Command(CommandName.ADD, ("ip/1/$/$",), (refused(510),))),
        reply(add("ip/1/1/1", ACCESS), error=refused(510)),
        reply(error=refused(510)),
    ],
)
def test_a_reply_that_failed_part_way_tells_what_to_subtract(actions: tuple[Action, ...]) -> None:
    with pytest.raises(GatewayUnavailable, match="510 no"):
        replies.read_reserved_untrusted(MID, from_ue(), actions)
    assert replies.contexts_in(actions) == (77,)


def test_only_real_contexts_are_subtracted() -> None:
    actions = tuple(Action(context) for context in (ContextId.NULL, ContextId.CHOOSE, ContextId.ALL, 5, 6, 5))
    assert replies.contexts_in(actions) == (5, 6)


def test_error_text_cannot_break_the_line() -> None:
    error = replies.sip_error(ErrorDescriptor(500, "x\r\nVia: evil" + "y" * 500), "reserve")
    assert "\r" not in error.what
    assert "\n" not in error.what
    assert len(error.what) < 250


def test_configure_keeps_what_was_given_and_learns_what_is_new() -> None:
    media = replies.read_reserved_untrusted(MID, from_ue(), GOOD)
    settled = answered_by_core(from_ue())
    done = (Action(77, tuple(Command(CommandName.MODIFY, (name,)) for name in ("ip/1/1/1", "IP/1/2/2"))),)
    same = replies.read_configured_untrusted(media, settled, done)
    assert (same.access, same.core) == (media.access, media.core)
    more = from_ue("active", BFCP_TLS + protection("actpass"))
    fresh = (
        Action(
            77,
            (
                Command(CommandName.MODIFY, ("ip/1/1/1",), (MediaDescriptor((Stream(2, local=ACCESS),)),)),
                Command(CommandName.MODIFY, ("IP/1/2/2",), (MediaDescriptor((Stream(2, local=CORE),)),)),
            ),
        ),
    )
    grown = replies.read_configured_untrusted(same, more, fresh)
    assert grown.access[0] == media.access[0]
    assert (grown.access[1].port, grown.core[1].port) == (40000, 50000)
    with pytest.raises(InternalFailure, match="stream 2"):
        replies.read_configured_untrusted(same, more, done)


def test_a_refused_configure_raises() -> None:
    media = replies.read_reserved_untrusted(MID, from_ue(), GOOD)
    actions = (Action(77, (Command(CommandName.MODIFY, ("ip/1/1/1",), (refused(473),)),)),)
    with pytest.raises(InternalFailure, match="configure: 473"):
        replies.read_configured_untrusted(media, answered_by_core(from_ue()), actions)
