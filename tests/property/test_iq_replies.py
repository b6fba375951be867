"""Whatever a gateway answers, the controller gets Media it can use or a SIP error."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import InternalFailure, SipError
from pcscf.h248.message import Action, Command, CommandName, ContextId, ErrorDescriptor, Stream
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq import replies as replies_module
from pcscf.iq.media import is_protected, legs
from pcscf.iq.replies import contexts_in, read_configured_untrusted, read_reserved_untrusted
from tests.unit.iq.plans import BFCP_TLS, GATEWAY_PRINT, answered_by_core, from_ue, protection

PLAN = from_ue("active", BFCP_TLS + protection("passive"))

lines = st.sampled_from(
    [
        "v=0", "s=-", "c=IN IP4 192.0.2.1", "c=IN IP6 2001:db8::1", "c=IN IP4 $", "c=", "c=IN IP4 224.0.0.1",
        "m=message 40000 TCP/TLS -", "m=message $ TCP -", "m=message 99999 TCP -", "m=", "a=setup:passive",
        f"a=fingerprint:sha-256 {GATEWAY_PRINT}", f"a=fingerprint:SHA-1 {GATEWAY_PRINT[:59]}", "a=fingerprint:$", "",
    ]
)  # fmt: skip
locals_ = st.one_of(
    st.none(), st.text(max_size=80), st.lists(lines, max_size=8).map("\r\n".join),
    st.just(f"v=0\r\nc=IN IP4 192.0.2.1\r\nm=message 40000 TCP/TLS -\r\na=fingerprint:sha-256 {GATEWAY_PRINT}\r\n"),
)  # fmt: skip
errors = st.builds(ErrorDescriptor, st.integers(0, 9999), st.text(max_size=40))
streams = st.builds(Stream, st.integers(0, 3), local=locals_)
descriptors = st.one_of(st.builds(MediaDescriptor, st.lists(streams, max_size=3).map(tuple)), errors)
names = st.sampled_from(["ip/1/1/1", "ip/1/2/2", "IP/1/1/1", "ip/1/$/$", "*", "ROOT", "x" * 70])
commands = st.builds(
    Command,
    st.sampled_from([CommandName.ADD, CommandName.MODIFY, CommandName.NOTIFY]),
    names.map(lambda name: (name,)),
    st.lists(descriptors, max_size=2).map(tuple),
)
contexts = st.sampled_from([77, 78, int(ContextId.NULL), int(ContextId.CHOOSE), int(ContextId.ALL)])
replies = st.lists(
    st.builds(Action, contexts, st.lists(commands, max_size=3).map(tuple), error=st.one_of(st.none(), errors)), max_size=2
).map(tuple)


def outcome(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except InternalFailure:
        return InternalFailure


@given(locals_.filter(bool), st.data())
def test_a_description_that_is_known_is_read_like_one_that_is_not(text: str, data: st.DataObject) -> None:
    spoilt = text
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(spoilt)))
        end = data.draw(st.integers(at, min(at + 3, len(spoilt))))
        twist = data.draw(st.sampled_from(["\n", "\r", "\x85", " ", "m=", "\nm=audio 7 x", "9", "c=IN IP4 192.0.2.9"]))
        spoilt = spoilt[:at] + twist + spoilt[end:]
    for each in (text, spoilt, text.replace("40000", "40002"), spoilt.replace("40000", "40002"), spoilt):
        assert outcome(replies_module._description_untrusted, each) == outcome(replies_module._read_untrusted, each)


@given(replies)
def test_reserve_ends_in_usable_media_or_a_sip_error(actions: tuple[Action, ...]) -> None:
    try:
        media = read_reserved_untrusted("[192.0.2.1]:2945", PLAN, actions)
    except SipError as error:
        assert "\n" not in error.what
        assert set(contexts_in(actions)) <= {77, 78}
        return
    assert media.context in contexts_in(actions)
    for line, access, core in legs(PLAN):
        for leg, side in ((access, media.access), (core, media.core)):
            assert not ip_address(side[line.index].address).is_multicast
            assert 0 < side[line.index].port < 65536
            assert bool(side[line.index].fingerprints) == is_protected(leg.transport)


@given(replies)
def test_configure_never_loses_a_stream(actions: tuple[Action, ...]) -> None:
    good = f"v=0\r\nc=IN IP4 192.0.2.1\r\nm=message 40000 TCP -\r\na=fingerprint:sha-256 {GATEWAY_PRINT}\r\n"
    both = MediaDescriptor((Stream(1, local=good), Stream(2, local=good)))
    reserved = (Action(77, tuple(Command(CommandName.ADD, (f"ip/1/{n}/{n}",), (both,)) for n in (1, 2))),)
    media = read_reserved_untrusted("[192.0.2.1]:2945", PLAN, reserved)
    try:
        settled = read_configured_untrusted(media, answered_by_core(PLAN), actions)
    except SipError:
        return
    assert (settled.access, settled.core) == (media.access, media.core)
