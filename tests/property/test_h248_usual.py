"""The reader of usual messages reads nothing in another way than the grammar's reader, and reads what calls are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import H248SyntaxError
from pcscf.h248 import decode
from pcscf.h248.codec import decode_untrusted, encode_compact, encode_pretty
from pcscf.h248.decode import usual_transactions
from pcscf.h248.message import Action, Command, CommandName, Message, TransactionAck, TransactionReply, TransactionRequest
from pcscf.iq import procedures
from pcscf.iq.procedures import Realms
from tests.interop.h248_messages import MESSAGES
from tests.property.test_h248_codec import PIECES, messages
from tests.unit.iq.plans import from_core, from_ue
from tests.unit.iq.scripted import ScriptedGateway

# What makes a usual message unusual, and what looks as if it did.
TWISTS = [
    *PIECES, "O-", "W-", "K{1-2}", "IA,", "C=-{", "C=4294967295{", "Context = 7 {", "context=7{", "mf=a", "SC=ROOT", "AV=C{",
    "A=$", "a=$", "Media{Stream = 1 {", "L{v=0\n}", "R{}", "O{MO=IN}", "Events = 1 {a/b{x=1},a/c}", "E=1{a/b{", "E", "SG",
    "AT{M}", "=4294967296", "= ",
]  # fmt: skip


def outcome(data: bytes) -> Message | tuple[object, ...]:
    try:
        return decode_untrusted(data)
    except H248SyntaxError as error:
        return error.code, str(error), error.line, error.column, error.transaction_id, error.in_reply


def by_grammar(data: bytes) -> Message | tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "usual_transactions", lambda _text, _start: None)
        patch.setattr(decode, "_headers", {})
        return outcome(data)


@given(messages)
def test_any_message_is_read_alike(message: Message) -> None:
    for data in (encode_compact(message), encode_pretty(message)):
        assert outcome(data) == by_grammar(data) == message


def calls() -> list[bytes]:
    """Requests and replies of calls, compact and pretty."""
    gateway = ScriptedGateway()
    found: list[Message] = []
    for number, plan in enumerate((from_ue(), from_core()), 1):
        context = 0
        for is_first in (True, False):
            actions = procedures.reserve(plan, Realms()) if is_first else procedures.release(context)
            request = TransactionRequest(number, actions)
            answer = gateway.obey(request)
            assert isinstance(answer, tuple)
            context = answer[0].context
            found += [Message("[192.0.2.9]:2944", (TransactionAck(((7, 7),)), request))]
            found += [Message(gateway.mid, (TransactionReply(number, answer),))]
    found.append(Message(gateway.mid, (TransactionReply(9, (Action(7, (Command(CommandName.MODIFY, ("ip/1/1/1",)),)),)),)))
    return [write(message) for message in found for write in (encode_compact, encode_pretty)]


CALLS = calls()
SPOILT = [*CALLS, *(encode_compact(message) for message in MESSAGES.values())]


@pytest.mark.parametrize("data", CALLS)
def test_calls_are_usual(data: bytes) -> None:
    text = data.decode()
    assert usual_transactions(text, text.index("\n")) == decode_untrusted(data).transactions


@given(st.sampled_from(SPOILT), st.data())
def test_a_spoilt_message_is_read_or_refused_alike(octets: bytes, data: st.DataObject) -> None:
    spoilt = bytearray(octets)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(spoilt)))
        end = data.draw(st.integers(at, min(at + 5, len(spoilt))))
        spoilt[at:end] = data.draw(st.sampled_from(TWISTS)).encode()
    assert outcome(bytes(spoilt)) == by_grammar(bytes(spoilt))


@given(st.lists(st.sampled_from(TWISTS), max_size=30).map("".join))
def test_any_tokens_are_read_or_refused_alike(text: str) -> None:
    data = f"!/2 agw\nT=1{{C=1{{{text}".encode()
    assert outcome(data) == by_grammar(data)


SEPARATORS = ["\n", "\r\n", " ", " ;x\n", ";x\r", "\n\n", "\r", "\n;x\n", " \0\n", "/2\n"]


@given(st.sampled_from(CALLS), st.sampled_from(SEPARATORS))
def test_a_header_line_that_is_known_is_read_alike(data: bytes, separator: str) -> None:
    header, _, body = data.partition(b"\n")
    whole = header + separator.encode() + body
    assert outcome(whole) == outcome(whole) == by_grammar(whole)
