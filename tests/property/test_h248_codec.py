"""What holds for every H.248 message and for any octets at all."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import H248SyntaxError
from pcscf.h248.codec import decode_untrusted, encode_compact, encode_pretty
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    ContextProperties,
    ErrorDescriptor,
    Event,
    Events,
    LocalControl,
    Media,
    Message,
    Mode,
    ObservedEvent,
    ObservedEvents,
    Packages,
    Property,
    Services,
    Signals,
    Statistics,
    Stream,
    TransactionAck,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    Value,
)
from tests.interop.h248_messages import MESSAGES

ALPHANUMERIC = string.ascii_letters + string.digits
uint16 = st.integers(0, 0xFFFF)
uint32 = st.integers(0, 0xFFFFFFFF)
transaction_ids = st.integers(1, 0xFFFFFFFF)
# A leading "q" keeps a name from being a keyword, which has another meaning wherever a name may stand.
names = st.text(ALPHANUMERIC + "_", max_size=12).map("q".__add__)
packaged_names = st.builds("{}/{}".format, names, st.one_of(names, st.just("*")))
# A termination that is called as the Context token is cannot be told from a context in the reply to an audit.
terminations = st.one_of(
    st.sampled_from(["ROOT", "*", "$", "ip/1/$/$", "ip/*/*/*", "L", "Remote"]),
    st.text(ALPHANUMERIC + "_/*$", min_size=1, max_size=64).filter(lambda text: text.lower() not in {"c", "context"}),
)
safe_values = st.text(ALPHANUMERIC + "+-&!_/'?@^`~*$\\()%|.", min_size=1, max_size=20)
strings = st.text(st.characters(codec="utf-8", exclude_characters='"', min_codepoint=32) | st.just("\t"), max_size=20)
times = st.from_regex(r"[0-9]{8}T[0-9]{8}", fullmatch=True)


def tuples(items: st.SearchStrategy[object], *, least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, min_size=least, max_size=most).map(tuple)


def several(texts: st.SearchStrategy[str], quoted: bool) -> st.SearchStrategy[Value]:
    return st.one_of(
        st.builds(Value, st.tuples(texts), st.sampled_from("=#<>"), st.just("single"), st.just(quoted)),
        st.builds(Value, tuples(texts, least=1), st.just("="), st.sampled_from(["and", "or"]), st.just(quoted)),
        st.builds(Value, st.tuples(texts, texts), st.just("="), st.just("range"), st.just(quoted)),
    )


values = st.one_of(several(safe_values, quoted=False), several(strings, quoted=True))
properties = st.builds(Property, packaged_names, values)
flags = st.just(Value(()))
parameters = st.one_of(
    st.builds(Property, names, st.one_of(values, flags)),
    st.builds(Property, st.just("Stream"), uint16.map(lambda number: Value((str(number),)))),
    st.builds(Property, st.just("SignalType"), st.sampled_from(["OnOff", "TimeOut", "Brief"]).map(lambda t: Value((t,)))),
)
events = st.builds(Event, packaged_names, tuples(parameters))
sdp = st.one_of(
    st.just(""),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=60)
    .filter(lambda text: bool(text.strip(" \t")))
    .map(lambda text: text.lstrip(" \t") + "\r\n"),
)
controls = st.builds(
    LocalControl,
    st.none() | st.sampled_from(Mode),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    tuples(properties, least=1),
)
statistics = st.builds(
    Property, packaged_names, st.one_of(flags, several(safe_values, quoted=False).filter(lambda v: v.relation == "="))
)
streams = st.builds(Stream, uint16, controls, st.none() | sdp, st.none() | sdp, st.none() | tuples(statistics))
direct_streams = st.builds(
    Stream, st.just(1), st.none(), sdp, st.none() | sdp, st.none() | tuples(statistics), st.just(value=False)
)
states = st.one_of(properties, st.builds(Property, st.just("ServiceStates"), st.just(Value(("InService",)))))
media = st.builds(
    Media,
    st.one_of(tuples(streams), st.tuples(direct_streams)),
    st.none() | tuples(states, least=1),
)
errors = st.builds(ErrorDescriptor, st.integers(0, 9999), strings)
services = st.builds(
    Services,
    method=st.sampled_from(["Restart", "Graceful", "HandOff", "X-own"]),
    reason=strings.filter(bool),
    delay=st.none() | uint32,
    address=st.sampled_from(["", "2945", "[192.0.2.1]:2944", "<agw.example.net>"]),
    profile=st.just("") | st.builds("{}/{}".format, names, st.integers(1, 9)),
    version=st.none() | st.integers(1, 3),
    timestamp=st.just("") | times,
    extensions=tuples(st.builds(Property, st.just("X-abc"), values), most=1),
)
audit_items = st.sampled_from(["Media", "Packages", "Media{TerminationState{ServiceStates}}", "Statistics"])
audits = st.builds(Audit, st.lists(audit_items, max_size=3, unique=True).map(tuple))
descriptors = st.one_of(
    media,
    st.just(Events()),
    st.builds(Events, uint32, tuples(events, least=1)),
    st.builds(Signals, tuples(events)),
    st.builds(
        ObservedEvents, uint32, tuples(st.builds(ObservedEvent, packaged_names, tuples(parameters), st.just("") | times), least=1)
    ),
    audits,
    st.builds(Packages, tuples(st.tuples(names, st.integers(1, 99)))),
    st.builds(Statistics, tuples(statistics)),
    errors,
)
plain_names = st.sampled_from([name for name in CommandName if name is not CommandName.SERVICE_CHANGE])
commands = st.one_of(
    st.builds(Command, plain_names, st.tuples(terminations), tuples(descriptors), st.booleans(), st.booleans()),
    st.builds(Command, st.just(CommandName.SERVICE_CHANGE), st.tuples(terminations), st.tuples(services)),
)
contexts = st.one_of(st.integers(1, 0xFFFFFFFD), st.sampled_from([int(context) for context in ContextId]))
context_properties = st.builds(
    ContextProperties,
    uint16,
    st.none() | st.booleans(),
    tuples(st.tuples(terminations, terminations, st.sampled_from(["Bothway", "Isolate", "Oneway"]))),
    tuples(properties),
)
actions = st.builds(Action, contexts, tuples(commands, least=1), st.none() | context_properties, st.none() | audits)
reply_actions = st.builds(Action, contexts, tuples(commands), st.none(), st.none(), st.none() | errors)
transactions = st.one_of(
    st.builds(TransactionRequest, transaction_ids, tuples(actions, least=1)),
    st.builds(TransactionReply, transaction_ids, tuples(reply_actions, least=1), st.none(), st.booleans()),
    st.builds(TransactionReply, transaction_ids, st.just(()), errors, st.booleans()),
    st.builds(TransactionPending, transaction_ids),
    st.builds(TransactionAck, tuples(st.tuples(uint32, uint32).map(sorted).map(tuple), least=1)),
)
mids = st.sampled_from(["[192.0.2.1]:2944", "[2001:db8::1]", "<agw.example.net>:2944", "agw/1", "MTP{00ff}"])
messages = st.one_of(
    st.builds(Message, mids, tuples(transactions, least=1), st.none(), st.integers(1, 3)),
    st.builds(Message, mids, st.just(()), errors, st.integers(1, 3)),
)


@given(messages)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert decode_untrusted(encode_compact(message)) == message
    assert decode_untrusted(encode_pretty(message)) == message


def _decode(data: bytes) -> Message | None:
    try:
        return decode_untrusted(data)
    except H248SyntaxError as error:
        assert error.line >= 1
        assert error.column >= 1
        return None


@given(st.binary(max_size=400))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    _decode(data)
    _decode(b"!/2 agw " + data)


PIECES = [
    "{", "}", ",", "=", "[", "]", ":", '"', "\\", ";", "\n", " ", "#", "*", "$", "-", "1", "/", "a/b", '"x"', "}}", "= {",
    "L{", "\\}", "T=1{C=1{", "P=1{C=1{", "MF=a/1{", "M{", "ST=1{", "O{", "E=1{", "SG{", "AT{", "SV{", "OE=1{", "K{", "ER=400{",
    "PN=1{}", "DM", "MD[", "MX", "EM{", "SL=1{", "TP{", "CT{", "CA{", "MG=", "AD=", "AV=C{", "SA", "PG{", "TS{",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_tokens_are_read_or_refused(text: str) -> None:
    message = _decode(f"!/3 agw {text}".encode())
    if message is not None:
        assert decode_untrusted(encode_compact(message)) == message
        assert decode_untrusted(encode_pretty(message)) == message


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_a_spoilt_message_is_read_or_refused(name: str, data: st.DataObject) -> None:
    octets = bytearray(encode_compact(MESSAGES[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets)))
        end = data.draw(st.integers(at, min(at + 5, len(octets))))
        octets[at:end] = data.draw(st.sampled_from(PIECES)).encode()
    message = _decode(bytes(octets))
    if message is not None:
        assert decode_untrusted(encode_compact(message)) == message
        assert decode_untrusted(encode_pretty(message)) == message
