"""Whatever a controller asks, in whatever order: what the table, the ports and the plans say of each other stays true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import H248Error
from pcscf.gateway.description import parse_description_untrusted, resolve
from pcscf.gateway.model import Close, Configure
from pcscf.h248.message import Action, Command, CommandName, Event, LocalControl, Media, Mode, Signals, Stream
from tests.unit.gateway.test_context import CORE_LOCAL, CORE_REMOTE, IDENTITY, TLS_LOCAL, TLS_REMOTE, Gateway

contexts = st.sampled_from([0xFFFFFFFE, 0xFFFFFFFF, 0, 1001, 1002, 1003])
some = [f"ip/1/{interface}/{number}" for interface in (1, 2) for number in range(1001, 1006)]
terminations = st.sampled_from(["*", "ip/1/$/$", "$", "ROOT", "ip/*/*/*", *some])
descriptions = st.sampled_from([None, "", TLS_LOCAL, TLS_REMOTE, CORE_LOCAL, CORE_REMOTE, "v=0\n", "m=message $ UDP -"])
streams = st.builds(
    Stream, id=st.integers(1, 2), local_control=st.none() | st.builds(LocalControl, mode=st.sampled_from(Mode)),
    local=descriptions, remote=descriptions,
)  # fmt: skip
known_signals = [Event("tcpbcc/EstBNC"), Event("tlsbsc/EstBNC"), Event("tcpbcc/RelBNC")]
signals = st.builds(Signals, st.lists(st.sampled_from(known_signals), max_size=2).map(tuple))
descriptors = st.lists(st.builds(Media, st.lists(streams, max_size=2).map(tuple)) | signals, max_size=2).map(tuple)
commands = st.builds(
    Command,
    name=st.sampled_from(CommandName),
    terminations=terminations.map(lambda one: (one,)),
    descriptors=descriptors,
    optional=st.booleans(),
    wildcard_response=st.booleans(),
)
# adds come often, so that there is something to act upon
adds = st.builds(
    lambda local, remote: Command(CommandName.ADD, ("ip/1/$/$",), (Media((Stream(1, None, local, remote),)),)),
    st.sampled_from([TLS_LOCAL, CORE_LOCAL]), descriptions,
)  # fmt: skip
actions = st.builds(Action, contexts, st.lists(commands | adds, min_size=1, max_size=3).map(tuple))


@given(st.lists(st.lists(actions, min_size=1, max_size=3), max_size=12))
def test_ports_plans_and_terminations_agree(transactions: list[list[Action]]) -> None:
    gateway = Gateway(contexts=3, ports=5)
    seen: set[str] = set()
    for now, transaction in enumerate(transactions):
        replies, effects = gateway.table.execute(transaction, float(now))
        assert replies
        for effect in effects:
            if isinstance(effect, Close):
                del gateway.plans[effect.leg]
                gateway.ports.release(effect.local)
            elif isinstance(effect, Configure):
                gateway.plans[effect.leg] = effect.plan
        living = {
            (context.id, termination.id, stream.id): stream.address
            for context in gateway.table.contexts.values()
            for termination in context.terminations.values()
            for stream in termination.streams.values()
        }
        assert {tuple(leg): plan.local for leg, plan in gateway.plans.items()} == living
        assert gateway.ports.taken == set(living.values())
        assert len(set(living.values())) == len(living)
        for leg, plan in gateway.plans.items():
            if plan.partner is not None:
                assert gateway.plans[plan.partner].partner == leg
                assert plan.partner.context == leg.context
                assert plan.partner.stream == leg.stream
        for context in gateway.table.contexts.values():
            assert 1 <= len(context.terminations) <= 2
        added = {
            command.termination for reply in replies for command in reply.commands
            if command.name is CommandName.ADD and command.error is None
        }  # fmt: skip
        assert not added & seen
        seen |= added


@given(st.text(alphabet="vcmas=0IN P46$:/-.\r\n\tTCTLSMRfingerprtshup256AB127", max_size=200) | st.text(max_size=100))
def test_any_description_is_read_or_refused(text: str) -> None:
    try:
        read = parse_description_untrusted(text)
    except H248Error as error:
        assert error.code in (449, 474, 515)
    else:
        assert read.secure or not read.transport.lower().startswith("tcp/tls")


prints = st.sampled_from(["sha-256 $", "$", "sha-512 $", f"sha-256 {':'.join(['0A'] * 32)}"])
known_lines = ["a=setup:active", "a=path:msrp://x/1;tcp", "o=x 1 2 IN IP4 $", "b=AS:64", "a=connection:new"]
lines = st.lists(st.sampled_from(known_lines), max_size=4)
transports = st.sampled_from(["TCP", "TCP/TLS/MSRP", "udptl", "UDP/DTLS", "RTP/AVP"])
hosts = st.sampled_from(["192.0.2.1", "2001:db8::1"])


@given(lines, st.lists(prints, max_size=2), transports, hosts)
def test_what_is_resolved_has_nothing_left_to_choose(more: list[str], wanted: list[str], transport: str, host: str) -> None:
    text = "\n".join(["v=0", "c=IN IP4 $", f"m=message $ {transport} *", *more, *(f"a=fingerprint:{one}" for one in wanted)])
    try:
        wish = parse_description_untrusted(text)
    except H248Error as error:
        assert error.code == 474
        return
    resolved = resolve(wish, host, 4711, lambda name: (IDENTITY.fingerprint(name),))
    again = parse_description_untrusted(resolved.text)
    assert again == resolved
    assert again.target == (host, 4711)
    assert not again.chooses
    assert not again.secure or again.fingerprints
    for line in more:
        assert line in resolved.lines
