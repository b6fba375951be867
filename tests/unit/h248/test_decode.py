import pytest

from pcscf.errors import H248SyntaxError
from pcscf.h248.codec import MAX_MESSAGE, MAX_NESTING, MAX_TRANSACTIONS, decode_untrusted
from pcscf.h248.decode import sender_untrusted
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
    OtherDescriptor,
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

HEAD = "!/2 [192.0.2.1]:2944 "


def refusal(text: str) -> H248SyntaxError:
    with pytest.raises(H248SyntaxError) as caught:
        decode_untrusted(text.encode())
    return caught.value


def command(text: str, version: int = 2) -> Command:
    """The one command in `text`, read as a request in context 1."""
    (transaction,) = decode_untrusted(f"!/{version} [192.0.2.1]:2944 T=1{{C=1{{{text}}}}}".encode()).transactions
    assert isinstance(transaction, TransactionRequest)
    ((read,),) = (action.commands for action in transaction.actions)
    return read


def reply(text: str) -> TransactionReply:
    (transaction,) = decode_untrusted(f"{HEAD}P=1{{{text}}}".encode()).transactions
    assert isinstance(transaction, TransactionReply)
    return transaction


def media(text: str) -> Media:
    (descriptor,) = command(f"MF=ip/1/1/1{{M{{{text}}}}}").descriptors
    assert isinstance(descriptor, Media)
    return descriptor


PRETTY = """MEGACO/2 [192.0.2.1]:2944
; a comment, with { braces } and "quotes"
Transaction = 5010 {
  Context = $ {
    Add = ip/1/$/$ {   ; until the end of the line
      Media {
        Stream = 1 {
          LocalControl { Mode = Inactive, ReservedValue = OFF, ipdc/realm = "core", ds/dscp = 0x0A },
          Local {
v=0
c=IN IP4 $ ; this is no comment
m=message $ TCP -
}
        }
      },
      Events = 10 { g/cause, hangterm/thb { timerx = 3600 } },
      Signals { ipnapt/latch { napt = LATCH, Stream = 1, SignalType = Brief, KeepActive } }
    }
  }
}
"""
COMPACT = (
    '!/2 [192.0.2.1]:2944 T=5010{C=${A=ip/1/$/${M{ST=1{O{MO=IN,RV=off,ipdc/realm="core",ds/dscp=0x0A},L{\n'
    "v=0\nc=IN IP4 $ ; this is no comment\nm=message $ TCP -\n}}},E=10{g/cause,hangterm/thb{timerx=3600}},"
    "SG{ipnapt/latch{napt=LATCH,ST=1,SY=BR,KA}}}}}"
)
SAME = Message(
    "[192.0.2.1]:2944",
    (
        TransactionRequest(
            5010,
            (
                Action(
                    ContextId.CHOOSE,
                    (
                        Command(
                            CommandName.ADD,
                            ("ip/1/$/$",),
                            (
                                Media(
                                    (
                                        Stream(
                                            1,
                                            LocalControl(
                                                Mode.INACTIVE,
                                                reserved_value=False,
                                                properties=(
                                                    Property("ipdc/realm", Value(("core",), quoted=True)),
                                                    Property("ds/dscp", Value(("0x0A",))),
                                                ),
                                            ),
                                            "v=0\nc=IN IP4 $ ; this is no comment\nm=message $ TCP -\n",
                                        ),
                                    )
                                ),
                                Events(
                                    10,
                                    (
                                        Event("g/cause"),
                                        Event("hangterm/thb", (Property("timerx", Value(("3600",))),)),
                                    ),
                                ),
                                Signals(
                                    (
                                        Event(
                                            "ipnapt/latch",
                                            (
                                                Property("napt", Value(("LATCH",))),
                                                Property("Stream", Value(("1",))),
                                                Property("SignalType", Value(("Brief",))),
                                                Property("KeepActive", Value(())),
                                            ),
                                        ),
                                    )
                                ),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
)


MIXED = COMPACT.replace("T=5010{C=", "tRANSACTION = 5010\t{\n context= ").replace("M{", "MEDIA {")


@pytest.mark.parametrize("text", [PRETTY, COMPACT, MIXED], ids=["pretty", "compact", "mixed"])
def test_pretty_and_compact_mean_the_same(text: str) -> None:
    assert decode_untrusted(text.encode()) == SAME


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_otherwise(end: str) -> None:
    pretty, compact = (decode_untrusted(text.replace("\n", end).encode()) for text in (PRETTY, COMPACT))
    assert pretty == compact


def test_reading_twice_gives_the_same() -> None:
    assert decode_untrusted(COMPACT.encode()) == decode_untrusted(COMPACT.encode()) == SAME


class TestHeader:
    @pytest.mark.parametrize(
        "mid",
        [
            "[192.0.2.1]",
            "[192.0.2.1]:2944",
            "[2001:db8::1]:2944",
            "<agw.example.net>",
            "<agw.example.net>:2944",
            "agw/1",
            "MTP{00ff}",
        ],
    )
    def test_message_identifiers(self, mid: str) -> None:
        assert decode_untrusted(f"!/1 {mid}\nPN=7{{}}".encode()) == Message(mid, (TransactionPending(7),), version=1)

    @pytest.mark.parametrize("mid", ["[192.0.2]", "[2001:db8::1::2]:2944", "[192.0.2.1]:70000", "<>", "7up", "a" * 65])
    def test_what_is_no_message_identifier(self, mid: str) -> None:
        assert refusal(f"!/2 {mid} PN=7{{}}").code == 400

    @pytest.mark.parametrize("version", [1, 2, 3])
    def test_versions(self, version: int) -> None:
        assert decode_untrusted(f"MEGACO/{version} agw PN=7{{}}".encode()).version == version

    @pytest.mark.parametrize("version", [0, 4, 99])
    def test_a_version_we_do_not_speak_is_406(self, version: int) -> None:
        error = refusal(f"\n!/{version} agw PN=7{{}}")
        assert (error.code, error.line, error.column) == (406, 2, 3)

    def test_authentication_header(self) -> None:
        header = "0x00000001:0x00000002:0x0123456789abcdef01234567"
        assert decode_untrusted(f"Authentication = {header}\n!/2 agw PN=7{{}}".encode()).authentication == header

    def test_white_space_and_comments_before_and_after(self) -> None:
        assert decode_untrusted(b"\r\n ; hello\n!/2 agw PN=7{}\r\n\t; bye").transactions == (TransactionPending(7),)

    @pytest.mark.parametrize(
        "text", ["", " ", "SIP/2.0 200 OK\r\n\r\n", "!/2", "!/2 ", "!/2 agw", "!/2 agw ", "MEGACO 2 agw PN=7{}"]
    )
    def test_no_message(self, text: str) -> None:
        assert refusal(text).code == 400

    def test_a_separator_stands_after_the_identifier(self) -> None:
        error = refusal("!/2 [192.0.2.1]:2944T=1{C=-{AV=ROOT{AT{}}}}")
        assert (error.code, error.line, error.column) == (400, 1, 21)


class TestTransactions:
    def test_several_in_one_message(self) -> None:
        message = decode_untrusted(f"{HEAD}K{{1-3,5}}P=4{{ER=500{{}}}}T=6{{C=-{{AV=ROOT{{AT{{}}}}}}}}PN=7{{ }}".encode())
        assert [type(transaction) for transaction in message.transactions] == [
            TransactionAck, TransactionReply, TransactionRequest, TransactionPending,
        ]  # fmt: skip
        assert message.transactions[0] == TransactionAck(((1, 3), (5, 5)))

    def test_as_many_as_the_profile_allows(self) -> None:
        assert len(decode_untrusted((HEAD + "PN=7{}" * MAX_TRANSACTIONS).encode()).transactions) == MAX_TRANSACTIONS

    def test_more_than_that_is_413(self) -> None:
        error = refusal(HEAD + "PN=7{}" * MAX_TRANSACTIONS + "T=8{")
        assert (error.code, error.transaction_id, error.in_reply) == (413, 0, False)

    def test_message_error(self) -> None:
        message = decode_untrusted(f'{HEAD}ER=406{{"Version Not Supported"}}'.encode())
        assert (message.error, message.transactions) == (ErrorDescriptor(406, "Version Not Supported"), ())

    def test_reply_that_wants_an_acknowledgement(self) -> None:
        assert reply("IA,C=1{MF=ip/1/1/1}").immediate_ack_required

    def test_reply_that_refuses_everything(self) -> None:
        assert reply('ER=403{"no"}') == TransactionReply(1, error=ErrorDescriptor(403, "no"))

    def test_reply_with_an_error_after_commands(self) -> None:
        (action,) = reply('C=1{MF=ip/1/1/1,ER=500{"no"}}').actions
        assert (len(action.commands), action.error) == (1, ErrorDescriptor(500, "no"))

    def test_segments_are_refused(self) -> None:
        assert refusal("!/3 agw P=1/1{C=1{A=ip/1/1/1}}").code == 501
        assert refusal("!/3 agw SM=1/1{}").code == 501

    @pytest.mark.parametrize("number", ["", "x", "-1", "0x10", "4294967296", "9" * 5000, "١"])
    def test_what_is_no_transaction_id(self, number: str) -> None:
        assert refusal(f"{HEAD}T={number}{{C=-{{AV=ROOT}}}}").transaction_id == 0

    @pytest.mark.parametrize("ranges", ["", "x", "5-3", "1 - 3", "1-", "1,"])
    def test_what_is_no_range(self, ranges: str) -> None:
        assert refusal(f"{HEAD}K{{{ranges}}}").in_reply


class TestActions:
    @pytest.mark.parametrize(("written", "context"), [("-", 0), ("$", 0xFFFFFFFE), ("*", 0xFFFFFFFF), ("77", 77)])
    def test_contexts(self, written: str, context: int) -> None:
        (transaction,) = decode_untrusted(f"{HEAD}T=1{{C={written}{{AV=ROOT}}}}".encode()).transactions
        assert isinstance(transaction, TransactionRequest)
        assert transaction.actions[0].context == context

    @pytest.mark.parametrize("written", ["0", "4294967294", "4294967295"])
    def test_reserved_contexts_have_their_own_signs(self, written: str) -> None:
        assert refusal(f"{HEAD}T=1{{C={written}{{AV=ROOT}}}}").transaction_id == 1

    def test_properties(self) -> None:
        text = "C=1{PR=15,EG,TP{a/1,a/2,IS,a/2,a/3,BW},IEPS=ON,CT{x/y=1},CA{TP,PR},MF=a/1}"
        (transaction,) = decode_untrusted(f"{HEAD}T=1{{{text}}}".encode()).transactions
        assert isinstance(transaction, TransactionRequest)
        (action,) = transaction.actions
        assert action.properties == ContextProperties(
            priority=15,
            emergency=True,
            topology=(("a/1", "a/2", "Isolate"), ("a/2", "a/3", "Bothway")),
            other=(Property("IEPSCall", Value(("ON",))), Property("x/y", Value(("1",)))),
        )
        assert action.audit == Audit(("Topology", "Priority"))

    def test_properties_come_before_commands(self) -> None:
        assert refusal(f"{HEAD}T=1{{C=1{{MF=a/1,EG}}}}").code == 443

    def test_a_stream_of_a_topology(self) -> None:
        (transaction,) = decode_untrusted(b"!/3 agw T=1{C=1{TP{a/1,a/2,OW,ST=2,a/3,a/4,IS}}}").transactions
        assert isinstance(transaction, TransactionRequest)
        properties = transaction.actions[0].properties
        assert properties is not None
        assert properties.topology == (("a/1", "a/2", "Oneway", "2"), ("a/3", "a/4", "Isolate"))

    def test_a_reply_may_name_a_context_only(self) -> None:
        assert reply("C=1").actions == (Action(1),)


class TestCommands:
    @pytest.mark.parametrize(
        ("written", "name", "optional", "wildcard"),
        [
            ("O-S", CommandName.SUBTRACT, True, False),
            ("w-subtract", CommandName.SUBTRACT, False, True),
            ("O-W-MF", CommandName.MODIFY, True, True),
            ("MOVE", CommandName.MOVE, False, False),
        ],
    )
    def test_prefixes(self, written: str, name: CommandName, optional: bool, wildcard: bool) -> None:
        read = command(f"{written}=*")
        assert (read.name, read.optional, read.wildcard_response) == (name, optional, wildcard)

    @pytest.mark.parametrize("termination", ["ROOT", "*", "$", "ip/1/$/$", "ip/*/*/*", "L", "Remote", "a" * 64])
    def test_terminations(self, termination: str) -> None:
        assert command(f"MF = {termination}{{E}}").terminations == (termination,)

    @pytest.mark.parametrize("termination", ["", "a" * 65, "[a,b]", '"a"'])
    def test_what_is_no_termination(self, termination: str) -> None:
        assert refusal(f"{HEAD}T=1{{C=1{{MF={termination}}}}}").code == 442

    def test_termination_lists_came_with_version_3(self) -> None:
        assert command("S=[ip/1, ip/2]", version=3).terminations == ("ip/1", "ip/2")

    def test_terminations_of_an_audited_context(self) -> None:
        (action,) = reply("C=1{AV=C{ip/1,ip/2}}").actions
        assert action.commands == (Command(CommandName.AUDIT_VALUE, ("ip/1", "ip/2")),)

    def test_unknown_command(self) -> None:
        error = refusal(f"{HEAD}T=1{{C=1{{Frob=ROOT}}}}")
        assert (error.code, error.transaction_id, error.in_reply) == (443, 1, False)

    def test_unknown_descriptor(self) -> None:
        assert refusal(f"{HEAD}T=1{{C=1{{MF=a/1{{Foo{{a/b=1}}}}}}}}").code == 444

    @pytest.mark.parametrize("services", ["MT=RS", 'RE="901"', "MT=RS,RE=901,MT=RS", 'MT=RS,RE="901",AD=1,MG=[192.0.2.1]'])
    def test_a_service_change_needs_method_and_reason(self, services: str) -> None:
        assert refusal(f"{HEAD}T=1{{C=-{{SC=ROOT{{SV{{{services}}}}}}}}}").transaction_id == 1

    def test_a_service_change_needs_services(self) -> None:
        assert refusal(f"{HEAD}T=1{{C=-{{SC=ROOT}}}}").code == 442


class TestDescriptors:
    def test_services(self) -> None:
        text = 'SV{MT=RS,RE="901 Cold Boot",DL=5,AD=2945,PF=iqprofile/1,V=2,20300102T03040506,X-abc=1}'
        assert command(f"SC=ROOT{{{text}}}").descriptors == (
            Services(
                method="Restart",
                reason="901 Cold Boot",
                delay=5,
                address="2945",
                profile="iqprofile/1",
                version=2,
                timestamp="20300102T03040506",
                extensions=(Property("X-abc", Value(("1",))),),
            ),
        )

    @pytest.mark.parametrize("mid", ["[2001:db8::1]:2944", "<agw.example.net>:2944", "[192.0.2.1]", "agw/1", "MTP{00ff}"])
    def test_the_next_controller_is_any_identifier(self, mid: str) -> None:
        assert command(f"SC=ROOT{{SV{{MT=HO,RE=903,MG={mid},V=2}}}}").descriptors == (
            Services(method="HandOff", reason="903", mgc_id_to_try=mid, version=2),
        )

    def test_packages(self) -> None:
        (descriptor,) = command("AV=ROOT{PG{g-1,root-2}}").descriptors
        assert descriptor == Packages((("g", 1), ("root", 2)))

    def test_statistics(self) -> None:
        assert command("S=a/1{SA{nt/os=12,nt/dur}}").descriptors == (
            Statistics((Property("nt/os", Value(("12",))), Property("nt/dur", Value(())))),
        )

    def test_observed_events(self) -> None:
        text = 'OE=11{20300102T03040506:tlsbsc/BNCChange{ST=1,Type=Rel},g/cause{Failurecause="a b"}}'
        assert command(f"N=a/1{{{text}}}").descriptors == (
            ObservedEvents(
                11,
                (
                    ObservedEvent(
                        "tlsbsc/BNCChange",
                        (Property("Stream", Value(("1",))), Property("Type", Value(("Rel",)))),
                        "20300102T03040506",
                    ),
                    ObservedEvent("g/cause", (Property("Failurecause", Value(("a b",), quoted=True)),)),
                ),
            ),
        )

    def test_audit_items_in_long_tokens(self) -> None:
        text = "AT{M{TS{SI}},E=1{g/cause},PG,SA{nt/*}}"
        assert command(f"AV=ROOT{{{text}}}").descriptors == (
            Audit(("Media{TerminationState{ServiceStates}}", "Events=1{g/cause}", "Packages", "Statistics{nt/*}")),
        )

    def test_empty_descriptors(self) -> None:
        assert command("MF=a/1{E,SG{}}").descriptors == (Events(), Signals())
        assert command("AV=a/1{M,PG,SA,SG}").descriptors == (Media(), Packages(), Statistics(), Signals())

    def test_a_signal_list_is_kept_flat(self) -> None:
        (signals,) = command("MF=a/1{SG{SL=5{x/a,x/b},x/c}}").descriptors
        assert signals == Signals((Event("x/a"), Event("x/b"), Event("x/c")))

    def test_what_iq_does_not_use_is_kept(self) -> None:
        text = "DM=dial{([1-7]xxx| 0x.)},MX=H221{a/1},MD[V18,V22]{x/y=1},E=1{dd/ce{DM=dial,EM{SG{x/a},E=2{x/b}}}},EB{x/c}"
        first, mux, modem, events, buffer = command(f"MF=a/1{{{text}}}").descriptors
        assert (first, mux, modem, buffer) == (
            OtherDescriptor("DigitMap", "=dial { ( [ 1-7 ] xxx| 0x.) }"),
            OtherDescriptor("Mux", "=H221 { a/1 }"),
            OtherDescriptor("Modem", "[ V18 , V22 ] { x/y =1 }"),
            OtherDescriptor("EventBuffer", "{ x/c }"),
        )
        assert isinstance(events, Events)
        assert events.events[0].parameters[1] == Property("Embed", Value(("SG { x/a } , E =2 { x/b } ",), form="block"))

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            ("=1", Value(("1",))),
            ("= on", Value(("on",))),
            ('="a b"', Value(("a b",), quoted=True)),
            ('=""', Value(("",), quoted=True)),
            ("=[a,b]", Value(("a", "b"), form="and")),
            ('={"[192.0.2.1]", "[192.0.2.2]"}', Value(("[192.0.2.1]", "[192.0.2.2]"), form="or", quoted=True)),
            ("=[1:5]", Value(("1", "5"), form="range")),
            ("# 5", Value(("5",), "#")),
            (" > 5", Value(("5",), ">")),
            ('<"5"', Value(("5",), "<", quoted=True)),
        ],
    )
    def test_values(self, written: str, value: Value) -> None:
        assert media(f"O{{x/y{written}}}").streams[0].local_control == LocalControl(properties=(Property("x/y", value),))

    @pytest.mark.parametrize("written", ["", "=", "=a:b", "=[a,b}", "=[a:b,c]", "={a:b}", '="a', "=,", "==1", "#", "={}"])
    def test_what_is_no_value(self, written: str) -> None:
        assert refusal(f"{HEAD}T=1{{C=1{{MF=a/1{{M{{O{{x/y{written}}}}}}}}}}}").code == 442

    @pytest.mark.parametrize(
        "text",
        ["O{MO=SR,}", "O{}", "O{MO=XX}", "O{MO=SR,MO=SR}", "O{y=1}", "O{RV=maybe}", "Q{}", "", "ST=1{}", "ST=70000{O{MO=SR}}",
         "L{\n},L{\n}", "R{},R{}", "O{MO=SR},O{MO=IN}", "ST=1{O{MO=SR}},O{MO=IN}", "O{MO=IN},ST=1{O{MO=SR}}",
         "SA{nt/os},SA{nt/os}", "TS{SI=IV},TS{SI=IV}", "TS{Foo=IV}"],
    )  # fmt: skip
    def test_what_is_no_media(self, text: str) -> None:
        assert refusal(f"{HEAD}T=1{{C=1{{MF=a/1{{M{{{text}}}}}}}}}").transaction_id == 1

    def test_termination_state(self) -> None:
        state = media("TS{SI=OS,root/x=5,BF=LockStep}").termination_state
        assert state == (
            Property("ServiceStates", Value(("OutOfService",))),
            Property("root/x", Value(("5",))),
            Property("EventBufferControl", Value(("LockStep",))),
        )

    def test_stream_parameters_without_a_stream(self) -> None:
        (stream,) = media("O{MO=SR},L{\nv=0\n},SA{nt/os=1}").streams
        assert stream == Stream(
            1,
            LocalControl(Mode.SEND_RECEIVE),
            "v=0\n",
            statistics=(Property("nt/os", Value(("1",))),),
            explicit=False,
        )


class TestOctets:
    @pytest.mark.parametrize(
        ("written", "sdp"),
        [
            ("{}", ""),
            ("{ \r\n }", ""),
            ("{\nv=0\ns=-\n}", "v=0\ns=-\n"),
            (" {  \r\nv=0\r\ns=-\r\n}", "v=0\r\ns=-\r\n"),
            ("{v=0\ns=-}", "v=0\ns=-\n"),
            ("{v=0\r\ns=-}", "v=0\r\ns=-\r\n"),
            ("{\nv=0\n\t  }", "v=0\n"),
            ("{\nv=0\na=x:{y\\}\n}", "v=0\na=x:{y}\n"),
            ("{\nv=0\na=\\d\\\n}", "v=0\na=\\d\\\n"),
            ('{\nv=0\ns="; {,\n}', 'v=0\ns="; {,\n'),
            (" ; a { comment\n{\nv=0\n}", "v=0\n"),
        ],
    )
    def test_what_stands_in_local(self, written: str, sdp: str) -> None:
        assert media(f"ST=1{{local{written},R{written}}}").streams == (Stream(1, None, sdp, sdp),)

    def test_text_that_is_not_utf_8_survives(self) -> None:
        data = HEAD.encode() + b"T=1{C=1{MF=a/1{M{L{\nv=0\ns=caf\xe9 \xc3\xa9\n}}}}}"
        (transaction,) = decode_untrusted(data).transactions
        assert isinstance(transaction, TransactionRequest)
        (descriptor,) = transaction.actions[0].commands[0].descriptors
        assert isinstance(descriptor, Media)
        assert (descriptor.streams[0].local or "").encode("utf-8", "surrogateescape") == b"v=0\ns=caf\xe9 \xc3\xa9\n"


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "line", "column"),
        [
            ("T=1{C=1{MF=a/1{M{O{MO=SR,}}}}}", 2, 26),
            ("T=1{\r\n C=1{\r\n  MF=a/1{M{O{MO=SR,}}}}}", 4, 20),
            ("T=1{\r C=1{\r  ; comment }\n  Frob=1}}", 5, 3),
            ("T=1{C=1{MF=a/1{M{L{\nv=0\n}}}}} xyz", 4, 7),
            ("T=1{C=1{MF=a/1{M{L{\nv=0\n", 2, 18),
        ],
    )
    def test_the_place_is_told(self, text: str, line: int, column: int) -> None:
        error = refusal("!/2 agw\n" + text)
        assert (error.line, error.column) == (line, column)
        assert f"line {line}, column {column}: " in error.what

    @pytest.mark.parametrize(
        "text",
        ["P=9{}", "P=9{C=1{Frob=1}}", "PN=9{x}", "P=9{C=1{A=a/1{ER=x{}}}}", "K{x}"],
    )
    def test_whether_it_stands_in_a_reply_is_told(self, text: str) -> None:
        assert refusal(HEAD + text).in_reply
        assert not refusal(HEAD + "T=8{C=1{Frob=1}}").in_reply

    @pytest.mark.parametrize("text", ["\0", "T=1{C=-{AV=ROOT{AT{}}}}\0"])
    def test_nul_is_no_text(self, text: str) -> None:
        assert refusal(HEAD + text).code == 400

    def test_a_cut_message_is_refused_wherever_it_was_cut(self) -> None:
        data = COMPACT.encode()
        for end in range(len(data)):
            with pytest.raises(H248SyntaxError):
                decode_untrusted(data[:end])


class TestLimits:
    def test_octets(self) -> None:
        data = b"!/2 agw PN=7{}"
        assert decode_untrusted(data.ljust(MAX_MESSAGE)).mid == "agw"
        assert refusal(data.ljust(MAX_MESSAGE + 1).decode()).code == 400

    def test_braces(self) -> None:
        def nested(depth: int) -> str:
            return "MF=a/1{DM" + "{" * depth + "}" * depth + ",AT" + "{M" * depth + "}" * depth + "}"

        assert len(command(nested(MAX_NESTING)).descriptors) == 2
        assert "deep" in refusal(f"{HEAD}T=1{{C=1{{{nested(MAX_NESTING + 1)}}}}}").what
        audit = "AT" + "{M" * (MAX_NESTING + 1) + "}" * (MAX_NESTING + 1)
        assert "deep" in refusal(f"{HEAD}T=1{{C=1{{AV=a/1{{{audit}}}}}}}").what

    @pytest.mark.parametrize(
        "repeated",
        [
            "{",
            "M{",
            "L{",
            "L {",
            "AT{M{",
            "x={",
            "x/y{",
            '"',
            '" ',
            ";",
            "; \n",
            "=",
            "= ",
            "\\",
            "L{\\",
            "(",
            ",",
            "E=1{x/y{",
            "\r",
        ],
    )
    @pytest.mark.parametrize(
        "head",
        ["", "T=1{C=1{MF=a/1{", "T=1{C=1{MF=a/1{DM{", "T=1{C=1{MF=a/1{AT{", "T=1{C=1{MF=a/1{M{L{", "T=1{C=1{MF=a/1{E=1{x/y{z="],
    )
    def test_a_hostile_message_is_refused_in_the_time_of_a_long_one(self, repeated: str, head: str) -> None:
        text = HEAD + head
        text += repeated * ((MAX_MESSAGE - len(text)) // len(repeated))
        refusal(text)

    @pytest.mark.parametrize("item", ["x/y{a=b}", "x/y{", "x/y", "x/y{a={b,c}}"])
    def test_many_events_take_the_time_of_a_long_message(self, item: str) -> None:
        text = HEAD + "T=1{C=1{MF=a/1{E=1{"
        text += (item + ",") * ((MAX_MESSAGE - len(text)) // (len(item) + 1))
        refusal(text)


AUTHENTICATION = "AU=0x0000000A:0x0000000B:0x" + "1F" * 12 + "\n"


@pytest.mark.parametrize("before", ["", " " * 255, " " * 5000, "; " + "x" * 5000 + "\n", "\r\n", AUTHENTICATION])
@pytest.mark.parametrize("mid", ["[192.0.2.1]:2944", "[2001:db8::1]", "<agw.example.net>:2944", "agw/1", "MTP{00ff}"])
@pytest.mark.parametrize("after", [" ", "\n", ";c\n"])
def test_the_sender_of_a_message_is_the_one_that_is_decoded(before: str, mid: str, after: str) -> None:
    data = f"{before}!/2 {mid}{after}PN=7{{}}".encode()
    assert sender_untrusted(data) == decode_untrusted(data).mid == mid


@pytest.mark.parametrize("data", [b"", b"!/2", b"!/2 ", b"!/9 agw PN=7{}", b"!/2 [192.0.2.300] PN=7{}", b"x" * 5000, b"!/2 agw"])
def test_what_has_no_sender(data: bytes) -> None:
    assert sender_untrusted(data) is None
