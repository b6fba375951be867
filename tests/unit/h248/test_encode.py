from collections.abc import Callable

import pytest

from pcscf.h248.codec import decode_untrusted, encode_compact, encode_pretty
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextProperties,
    Descriptor,
    ErrorDescriptor,
    Event,
    Events,
    LocalControl,
    Media,
    Message,
    Mode,
    OtherDescriptor,
    Property,
    Services,
    Signals,
    Stream,
    TransactionReply,
    TransactionRequest,
    Value,
)
from tests.interop.h248_messages import MESSAGES


def message_with(*descriptors: Descriptor) -> Message:
    action = Action(1, (Command(CommandName.MODIFY, ("a/1",), descriptors),))
    return Message("agw", (TransactionRequest(1, (action,)),))


def compact(*descriptors: Descriptor) -> str:
    text = encode_compact(message_with(*descriptors)).decode()
    head, tail = "!/2 agw\nT=1{C=1{MF=a/1{", "}}}"
    assert text.startswith(head)
    assert text.endswith(tail)
    return text[len(head) : -len(tail)]


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_written_is_read_again(name: str) -> None:
    message = MESSAGES[name]
    assert decode_untrusted(encode_compact(message)) == message
    assert decode_untrusted(encode_pretty(message)) == message


def test_compact() -> None:
    assert encode_compact(MESSAGES["register"]) == (
        b'!/1 [192.0.2.2]:2944\nT=1{C=-{SC=ROOT{SV{MT=RS,RE="901 Cold Boot",PF=iqprofile/1,V=2,20300102T03040506}}}}'
    )


def test_pretty() -> None:
    control = LocalControl(Mode.SEND_RECEIVE, properties=(Property("ipdc/realm", Value(("core",), quoted=True)),))
    text = encode_pretty(message_with(Media((Stream(1, control, "v=0\r\ns=-\r\n"),)), Audit())).decode()
    assert text == (
        "MEGACO/2 agw\n"
        "Transaction = 1 {\n"
        "  Context = 1 {\n"
        "    Modify = a/1 {\n"
        "      Media {\n"
        "        Stream = 1 {\n"
        "          LocalControl {\n"
        "            Mode = SendReceive,\n"
        '            ipdc/realm = "core"\n'
        "          },\n"
        "          Local {\n"
        "v=0\r\ns=-\r\n}\n"
        "        }\n"
        "      },\n"
        "      Audit { }\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


@pytest.mark.parametrize(
    ("sdp", "written"),
    [
        ("", "L{}"),
        ("v=0\r\ns=-\r\n", "L{\nv=0\r\ns=-\r\n}"),
        ("v=0\n", "L{\nv=0\n}"),
        ("v=0", "L{\nv=0\n}"),
        ("v=0\na=x:{y}\n", "L{\nv=0\na=x:{y\\}\n}"),
    ],
)
def test_sdp_stands_at_column_0_and_the_brace_after_its_last_line(sdp: str, written: str) -> None:
    assert compact(Media((Stream(1, local=sdp, explicit=False),))) == f"M{{{written}}}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Value(("core",), quoted=True), '="core"'),
        (Value(("on",)), "=on"),
        (Value(("a b",)), '="a b"'),
        (Value(("2001:db8::1",)), '="2001:db8::1"'),
        (Value(("",)), '=""'),
        (Value(("a", "b"), form="and"), "=[a,b]"),
        (Value(("a", "b;"), form="or", quoted=True), '={"a","b;"}'),
        (Value(("1", "5"), form="range"), "=[1:5]"),
        (Value(("5",), "#"), "#5"),
    ],
)
def test_values_are_quoted_when_they_are_strings_or_have_to_be(value: Value, written: str) -> None:
    assert compact(Media((Stream(1, LocalControl(properties=(Property("x/y", value),))),))) == f"M{{ST=1{{O{{x/y{written}}}}}}}"


@pytest.mark.parametrize("text", ['a"b', "a\nb", "a\0b"])
def test_what_no_quotes_can_hold_is_not_written(text: str) -> None:
    with pytest.raises(ValueError, match="quoted string"):
        compact(Media((Stream(1, LocalControl(properties=(Property("x/y", Value((text,))),))),)))
    with pytest.raises(ValueError, match="quoted string"):
        compact(Services(method="Restart", reason=text))


def test_the_text_of_an_error_is_always_written() -> None:
    assert compact(ErrorDescriptor(449, 'not "moon"\r\n')) == "ER=449{\"not 'moon'''\"}"


def test_keywords_inside_events_and_signals() -> None:
    parameters = (
        Property("Stream", Value(("1",))),
        Property("SignalType", Value(("Brief",))),
        Property("NotifyCompletion", Value(("TimeOut", "InterruptByEvent"), form="or")),
        Property("KeepActive", Value(())),
    )
    assert compact(Signals((Event("x/y", parameters),))) == "SG{x/y{ST=1,SY=BR,NC={TO,IBE},KA}}"


def test_audit_items() -> None:
    items = ("Media{TerminationState{ServiceStates}}", "Events=1{nt/Media}", "Packages{g-1,Media-1}")
    assert compact(Audit(items)) == "AT{M{TS{SI}},E=1{nt/Media},PG{g-1,Media-1}}"


def test_every_request_id_has_a_sign() -> None:
    assert compact(Events(0xFFFFFFFF, (Event("g/cause"),))) == "E=*{g/cause}"


def test_context_properties() -> None:
    properties = ContextProperties(
        priority=3,
        emergency=False,
        topology=(("a/1", "a/2", "Oneway", "2"),),
        other=(Property("IEPSCall", Value(("ON",))), Property("x/y", Value(("1",)))),
    )
    action = Action(1, properties=properties, audit=Audit(("Topology",)))
    message = Message("agw", (TransactionRequest(1, (action,)),), version=3)
    text = "!/3 agw\nT=1{C=1{TP{a/1,a/2,OW,ST=2},PR=3,EGO,IEPS=ON,CT{x/y=1},CA{TP}}}"
    assert encode_compact(message).decode() == text
    assert decode_untrusted(text.encode()) == message


def test_a_reply_may_name_a_context_only() -> None:
    assert encode_compact(Message("agw", (TransactionReply(1, (Action(1),)),))) == b"!/2 agw\nP=1{C=1}"


@pytest.mark.parametrize("encode", [encode_compact, encode_pretty])
@pytest.mark.parametrize("text", ["=dial { ( [ 1-7 ] xxx| 0x.) }", "= H221", "[ V18 , V22 ] { x/y =1 }", ""])
def test_what_iq_does_not_use_goes_out_as_it_came(text: str, encode: Callable[[Message], bytes]) -> None:
    first = decode_untrusted(encode(message_with(OtherDescriptor("DigitMap", text))))
    assert decode_untrusted(encode(first)) == first


def test_authentication_goes_before_the_header() -> None:
    message = Message("agw", error=ErrorDescriptor(400), authentication="0x00000001:0x00000002:0x0123456789abcdef01234567")
    assert decode_untrusted(encode_compact(message)) == message


@pytest.mark.parametrize("name", ["C", "Context"])
def test_an_audit_reply_that_would_be_read_as_one_about_a_context_is_not_written(name: str) -> None:
    audited = Command(CommandName.AUDIT_VALUE, (name,), (Events(),))
    with pytest.raises(ValueError, match="about a context"):
        encode_compact(Message("gw", (TransactionReply(1, (Action(1, (audited,)),)),)))
    bare = Command(CommandName.AUDIT_VALUE, (name,))
    assert b"AV=" + name.encode() in encode_compact(Message("gw", (TransactionReply(1, (Action(1, (bare,)),)),)))
