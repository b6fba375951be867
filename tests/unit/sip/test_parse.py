"""From octets to messages; what is refused, and with which status."""

from __future__ import annotations

import pytest

from pcscf.errors import MalformedMessage, SipError, UnsupportedScheme, VersionNotSupported
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import (
    MAX_HEADER_LINE,
    MAX_HEADER_LINES,
    MAX_MESSAGE,
    OversizedMessage,
    StreamParser,
    check_request,
    check_response,
    parse_datagram_untrusted,
)

START = "OPTIONS sip:bob@b.example SIP/2.0"
FIELDS = {
    "Via": "SIP/2.0/UDP a.example:5060;branch=z9hG4bKabc",
    "Max-Forwards": "70",
    "From": "Alice <sip:alice@a.example>;tag=88",
    "To": "<sip:bob@b.example>",
    "Call-ID": "c1@a.example",
    "CSeq": "63104 OPTIONS",
    "Content-Length": "0",
}


def datagram(start: str = START, /, body: bytes = b"", **fields: str | None) -> bytes:
    """A good OPTIONS, with fields (written with _ for -) changed, added, or removed by None; a value may hold several lines."""
    merged = FIELDS | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {line}" for name, value in merged.items() if value is not None for line in value.split("|")]
    return "\r\n".join([start, *lines, "", ""]).encode("utf-8", "surrogateescape") + body


def parsed(*args: str, **fields: str | None) -> Request:
    request = parse_datagram_untrusted(datagram(*args, **fields))
    assert isinstance(request, Request)
    return request


def refusal(data: bytes) -> SipError:
    """The error of parsing, or of the checks of a message that can be parsed."""
    with pytest.raises(SipError) as caught:
        message = parse_datagram_untrusted(data)
        (check_request if isinstance(message, Request) else check_response)(message)
    return caught.value


class TestDatagram:
    def test_request(self) -> None:
        request = parsed()
        assert (request.method, request.uri, request.version) == ("OPTIONS", "sip:bob@b.example", "SIP/2.0")
        check_request(request)

    def test_response(self) -> None:
        response = parse_datagram_untrusted(datagram("SIP/2.0 486 Bus\u00fd  Here"))
        assert isinstance(response, Response)
        assert (response.status, response.reason) == (486, "Bus\u00fd  Here")
        check_response(response)

    def test_empty_reason_phrase(self) -> None:
        data = datagram("SIP/2.0 100 ")
        assert parse_datagram_untrusted(data).to_bytes() == data

    def test_version_in_any_case_leaves_as_it_came(self) -> None:
        data = datagram("OPTIONS sip:b SiP/2.0")
        message = parse_datagram_untrusted(data)
        assert message.to_bytes() == data
        assert isinstance(message, Request)
        check_request(message)

    def test_any_token_is_a_method(self) -> None:
        method = "*Odd-Method.%41~'`+_!"
        check_request(parsed(f"{method} sip:b SIP/2.0", CSeq=f"1 {method}"))

    def test_leading_line_ends_are_skipped(self) -> None:
        assert parse_datagram_untrusted(b"\r\n\r\n\r\n" + datagram()).to_bytes() == datagram()

    def test_octets_beyond_content_length_are_ignored(self) -> None:
        data = datagram(body=b"abc", Content_Length="3")
        assert parse_datagram_untrusted(data + b"OPTIONS sip:smuggled SIP/2.0\r\n\r\n").to_bytes() == data

    def test_without_content_length_the_body_is_the_rest(self) -> None:
        assert parse_datagram_untrusted(datagram(body=b"all\x00of it", Content_Length=None)).body == b"all\x00of it"

    def test_blanks_and_folding_everywhere(self) -> None:
        data = (
            b"OPTIONS sip:b SIP/2.0\r\nvia \t: SIP /2.0\r\n\t/ UDP\r\n   h ;branch = z9hG4bK1\r\nTO:\r\n <sip:b>\r\n"
            b'from: "x" \r\n <sip:a>\r\n ;tag =\r\n 1\r\nCSeq: 0009\r\n  OPTIONS\r\ni: c\r\n\r\n'
        )
        message = parse_datagram_untrusted(data)
        assert isinstance(message, Request)
        check_request(message)
        assert message.to_bytes() == data
        assert (message.top_via.branch, message.from_tag, message.cseq) == ("z9hG4bK1", "1", (9, "OPTIONS"))

    def test_the_empty_value_is_kept(self) -> None:
        data = datagram(Supported="", Subject=" ")
        assert parse_datagram_untrusted(data).to_bytes() == data
        assert parse_datagram_untrusted(data).get("Supported") == ""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\r\n\r\n",
            b"\x00\x00\x00\x00",
            datagram()[:-2],
            datagram().replace(b"\r\n", b"\n"),
            datagram().replace(b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\n"),
            datagram().replace(b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r"),
            datagram(Subject="x\nRoute: <sip:evil>"),
            datagram(Subject="x\rRoute: <sip:evil>"),
            datagram("OPTIONS  sip:b SIP/2.0"),
            datagram("OPTIONS sip:b SIP/2.0 "),
            datagram(" OPTIONS sip:b SIP/2.0"),
            datagram("OPTIONS sip:b; lr SIP/2.0"),
            datagram("OPTIONS sip:b"),
            datagram("OPT(IONS sip:b SIP/2.0"),
            datagram("OPTIONS sip:b HTTP/1.1"),
            datagram("SIP/2.0 200"),
            datagram("SIP/2.0 099 Low"),
            datagram("SIP/2.0 700 High"),
            datagram("SIP/2.0 4294967301 Wraps round to 5"),
            datagram("SIP/2.0 2\u0660\u0660 Arabic digits"),
            datagram("SIP/2.0  200 OK"),
            datagram().replace(b"Max-Forwards: 70", b"Max-Forwards 70"),
            datagram().replace(b"Max-Forwards: 70", b"Max Forwards: 70"),
            datagram().replace(b"Max-Forwards: 70", b": 70"),
            datagram("OPTIONS sip:b SIP/2.0\r\n continued: start line"),
            datagram(Content_Length="1"),
            datagram(Content_Length="-1"),
            datagram(Content_Length="+0"),
            datagram(Content_Length="\u0660"),
            datagram(Content_Length="0x0"),
            datagram(Content_Length=""),
            datagram(Content_Length="9" * 400),
            datagram(Content_Length="0|0"),
            datagram(Content_Length="0", l="5"),
            datagram(**{f"X-{number}": "" for number in range(MAX_HEADER_LINES)}),
            datagram(Subject="s" * MAX_HEADER_LINE),
            datagram(f"OPTIONS sip:{'b' * MAX_HEADER_LINE} SIP/2.0"),
        ],
    )  # fmt: skip
    def test_unreadable(self, data: bytes) -> None:
        with pytest.raises(MalformedMessage):
            parse_datagram_untrusted(data)

    def test_limits_admit_what_they_say(self) -> None:
        fields: dict[str, str | None] = {f"X-{number}": "" for number in range(MAX_HEADER_LINES - len(FIELDS))}
        assert len(parsed(**fields).headers) == MAX_HEADER_LINES
        assert parsed(Subject="s" * (MAX_HEADER_LINE - len("Subject: "))).get("Subject") is not None

    def test_too_large(self) -> None:
        size = MAX_MESSAGE - len(datagram(Content_Length=None))
        assert len(parse_datagram_untrusted(datagram(body=b"x" * size, Content_Length=None)).body) == size
        with pytest.raises(OversizedMessage) as caught:
            parse_datagram_untrusted(datagram(body=b"x" * (size + 1), Content_Length=None))
        assert caught.value.status == 513

    def test_a_smaller_limit_can_be_given(self) -> None:
        with pytest.raises(OversizedMessage):
            parse_datagram_untrusted(datagram(), 100)

    def test_other_versions(self) -> None:
        with pytest.raises(VersionNotSupported) as caught:
            parse_datagram_untrusted(datagram("OPTIONS sip:b SIP/7.0"))
        assert isinstance(caught.value.request, Request)

    @pytest.mark.parametrize("line", [b"no colon here", b"Supported", b"Via"])
    def test_every_line_has_a_colon(self, line: bytes) -> None:
        with pytest.raises(MalformedMessage, match="without colon"):
            parse_datagram_untrusted(datagram().replace(b"Max-Forwards: 70", line))

    def test_no_header_line_at_all(self) -> None:
        message = parse_datagram_untrusted(b"OPTIONS sip:b SIP/2.0\r\n\r\n")
        assert message.keys == ()
        assert message.to_bytes() == b"OPTIONS sip:b SIP/2.0\r\n\r\n"

    def test_an_unreadable_request_can_be_answered(self) -> None:
        data = datagram("OPTIONS sip:b; lr SIP/2.0").replace(b"Max-Forwards: 70", b"no colon here")
        with pytest.raises(MalformedMessage) as caught:
            parse_datagram_untrusted(data)
        request = caught.value.request
        assert isinstance(request, Request)
        answer = response_to(request, 400)
        assert list(answer.keys) == ["via", "from", "to", "call-id", "cseq", "content-length"]
        parse_datagram_untrusted(answer.to_bytes())

    def test_an_answer_to_smuggled_lines_has_none_of_them(self) -> None:
        with pytest.raises(MalformedMessage) as caught:
            parse_datagram_untrusted(datagram(Call_ID="c\nRoute: <sip:evil>"))
        request = caught.value.request
        assert isinstance(request, Request)
        assert "Call-ID" not in request
        assert b"evil" not in response_to(request, 400).to_bytes()

    @pytest.mark.parametrize(
        "data",
        [datagram("SIP/2.0 99 x"), datagram("OPTIONS  sip:b SIP/2.0", Via=None), b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"x"],
    )
    def test_noise_and_responses_cannot(self, data: bytes) -> None:
        with pytest.raises(MalformedMessage) as caught:
            parse_datagram_untrusted(data)
        assert caught.value.request is None


class TestCheckRequest:
    @pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
    def test_mandatory_fields(self, name: str) -> None:
        error = refusal(datagram(**{name: None}))
        assert error.status == 400
        assert name.lower() in error.what

    def test_max_forwards_may_be_missing(self) -> None:
        check_request(parsed(Max_Forwards=None))

    @pytest.mark.parametrize(
        "fields",
        [
            {"CSeq": "63104 INVITE"},
            {"CSeq": "63104 options"},
            {"CSeq": "4294967296 OPTIONS"},
            {"CSeq": "36893488147419103232 OPTIONS"},
            {"CSeq": "9" * 5000 + " OPTIONS"},
            {"CSeq": "-1 OPTIONS"},
            {"CSeq": "OPTIONS"},
            {"CSeq": "1OPTIONS"},
            {"Max-Forwards": "256"},
            {"Max-Forwards": "-1"},
            {"Max-Forwards": "many"},
            {"Max-Forwards": "9" * 5000},
            {"Max-Forwards": "70|70"},
            {"Call-ID": "a|b"},
            {"Call-ID": "a", "i": "a"},
            {"Call-ID": ""},
            {"Call-ID": "a b"},
            {"To": "<sip:a@b>|<sip:a@b>"},
            {"From": "<sip:a@b>;tag=1|<sip:a@b>;tag=1"},
            {"CSeq": "1 OPTIONS|1 OPTIONS"},
            {"Content-Type": "application/sdp|text/plain"},
            {"To": '"Mr. Open <sip:j@b.example>'},
            {"To": "Bell, Alexander <sip:a@b.example>"},
            {"To": "<sip:a@b.example"},
            {"To": "sip:a@b.example>"},
            {"To": "< sip:a@b.example >"},
            {"To": "<a@b.example>"},
            {"To": "a@b.example"},
            {"To": "<sip:a@b.example>;tag="},
            {"From": "<sip:a@b.example> tag=1"},
            {"From": "<sip:a@b.example>;tag=1;;x"},
            {"From": ""},
            {"Via": "SIP/2.0/UDP 192.0.2.15;;,;,,"},
            {"Via": "SIP/3.0/UDP h"},
            {"Via": "SIP/2.0/UDP"},
            {"Via": "SIP/2.0/UDP h:99999"},
            {"Via": "SIP/2.0/UDP h:port"},
            {"Via": "SIP/2.0/UDP 2001:db8::1;branch=z9hG4bK1"},
            {"Via": ""},
            {"Via": "SIP/2.0/UDP h x"},
        ],
    )
    def test_bad_request(self, fields: dict[str, str]) -> None:
        assert refusal(datagram(**fields)).status == 400

    @pytest.mark.parametrize(
        "fields",
        [
            {"CSeq": "4294967295 OPTIONS"},
            {"CSeq": "0000000000000000000000000009 OPTIONS"},
            {"Max-Forwards": "0068"},
            {"Max-Forwards": "0"},
            {"Max-Forwards": "255"},
            {"From": "sip:a@b.example;tag=1"},
            {"From": "<sip:a@b.example>"},
            {"From": 'caller<sip:a@b.example>;tag=1;x="\u0440\u0430\u0431"'},
            {"From": "J\u00fcrgen <sip:a@b.example>;tag=1"},
            {"To": "isbn:2983792873"},
            {"To": "<http://www.example.com>"},
            {"To": '"a \\" , ; < b\\\\" <sip:b@b.example>'},
            {"To": '"\\\x00\\\x07" <sip:b@b.example>'},
            {"Via": "SIP/2.0/UNKNOWN [2001:db8::1]:5060;received=2001:db8::9:255;branch=z9hG4bK=1"},
            {"Via": "SIP/2.0/UDP h,SIP/2.0/UDP i|SIP/2.0/SCTP j"},
            {"Call-ID": "w%ZK-!.*_+'@w`~)(><:\\/\"][?}{"},
            {"Contact": "<sip:a@h>|<sip:b@h>"},
            {"Route": "<sip:p1;lr>,<sip:p2;lr>|<sip:p3;lr>"},
        ],
    )
    def test_unusual_but_valid(self, fields: dict[str, str]) -> None:
        check_request(parsed(**fields))

    @pytest.mark.parametrize(
        ("uri", "status"),
        [
            ("nobodyKnowsThis:opaque", 416),
            ("soap.beep://192.0.2.103:3002", 416),
            ("http://b.example/", 416),
            ("<sip:b@b.example>", 400),
            ("sip:b@b.example?Route=%3Csip:evil.example%3E", 400),
            ("sip:b@2001:db8::1", 400),
            ("sip:b@[2001:db8:::1]", 400),
            ("sip:b@b.example:70000", 400),
            ("sip:b%4@b.example", 400),
            ("sip:b@c@b.example", 400),
            ("sip:", 400),
            ("b.example", 400),
            ("*", 400),
        ],
    )
    def test_refused_request_uri(self, uri: str, status: int) -> None:
        error = refusal(datagram(f"OPTIONS {uri} SIP/2.0"))
        assert error.status == status
        assert isinstance(error, UnsupportedScheme) == (status == 416)

    @pytest.mark.parametrize(
        "uri",
        [
            "sips:b@b.example", "SIP:b.example", "tel:+1-201-555-0123;phone-context=x", "urn:service:sos.police",
            "sip:user;par=u%40example.net@b.example;transport=tcp;lr", "sip:null-%00-null@[2001:db8::1]:5060",
        ],
    )  # fmt: skip
    def test_accepted_request_uri(self, uri: str) -> None:
        check_request(parsed(f"OPTIONS {uri} SIP/2.0"))

    def test_version_of_a_request_made_elsewhere(self) -> None:
        request = parsed()
        request.version = "SIP/3.0"
        with pytest.raises(VersionNotSupported):
            check_request(request)


class TestCheckResponse:
    @pytest.mark.parametrize(
        "fields",
        [
            {"CSeq": "9292394834772304023312 OPTIONS"},
            {"Call-ID": None},
            {"To": '"open <sip:b>'},
            {"Via": "SIP/2.0/UDP p.example;branch=z9hG4bK1|SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK2"},
            {"Via": "SIP/2.0/UDP p.example, SIP/2.0/UDP h;received=224.0.1.75"},
            {"Via": "SIP/2.0/UDP p.example, SIP/2.0/UDP [ff02::1]:5060"},
            {"Via": "SIP/2.0/UDP p.example, SIP/2.0/UDP 239.255.255.250:5060;branch=z9hG4bK2"},
        ],
    )
    def test_dropped(self, fields: dict[str, str | None]) -> None:
        refusal(datagram("SIP/2.0 200 OK", **fields))

    @pytest.mark.parametrize(
        "next_via",
        ["SIP/2.0/UDP 192.0.2.255", "SIP/2.0/UDP 22.4.0.1", "SIP/2.0/UDP ff.example;branch=224.0.0.1", "SIP/2.0/UDP 240.example"],
    )
    def test_unicast_addresses_pass(self, next_via: str) -> None:
        response = parse_datagram_untrusted(datagram("SIP/2.0 200 OK", Via=f"SIP/2.0/UDP p.example|{next_via}"))
        assert isinstance(response, Response)
        check_response(response)


class TestStream:
    def test_messages_of_any_cut(self) -> None:
        one, two = datagram(body=b"abc", Content_Length="3"), datagram("SIP/2.0 200 OK")
        stream = b"\r\n" + one + two + one
        for step in (1, 7, 64, len(stream)):
            parser = StreamParser()
            got = [m.to_bytes() for at in range(0, len(stream), step) for m in parser.feed(stream[at : at + step])]
            assert got == [one, two, one]
            assert parser.is_idle

    def test_pings_are_counted_once(self) -> None:
        parser = StreamParser()
        assert parser.feed(b"\r\n\r") == []
        assert parser.keepalives == 0
        assert parser.feed(b"\n\r\n\r\n") == []
        assert (parser.keepalives, parser.keepalives) == (2, 0)
        assert len(parser.feed(b"\r\n" + datagram())) == 1
        parser.feed(b"\r\n")
        assert parser.keepalives == 0

    def test_a_body_that_looks_like_a_ping_is_none(self) -> None:
        parser = StreamParser()
        assert parser.feed(datagram(body=b"\r\n\r\n", Content_Length="4"))[0].body == b"\r\n\r\n"
        assert parser.keepalives == 0

    @pytest.mark.parametrize(
        "data",
        [
            datagram(Content_Length=None),
            datagram(Content_Length="-5"),
            datagram(Content_Length="1|2"),
            datagram("OPTIONS sip:b SIP/9.9"),
            b"\n" + datagram(),
            b"\rOPTIONS" + datagram(),
        ],
    )
    def test_what_ends_the_stream(self, data: bytes) -> None:
        parser = StreamParser()
        with pytest.raises((MalformedMessage, VersionNotSupported)) as caught:
            parser.feed(data)
        assert parser.failure is caught.value
        with pytest.raises(type(caught.value)):
            parser.feed(datagram())

    def test_the_unreadable_request_of_a_stream_can_be_answered(self) -> None:
        with pytest.raises(MalformedMessage) as caught:
            StreamParser().feed(datagram(Content_Length="1|2"))
        assert isinstance(caught.value.request, Request)

    def test_messages_ahead_of_an_unreadable_one_are_not_lost(self) -> None:
        parser = StreamParser()
        assert len(parser.feed(datagram() + b"noise\r\n\r\n")) == 1
        assert isinstance(parser.failure, MalformedMessage)
        with pytest.raises(MalformedMessage):
            parser.feed(b"")

    def test_limits(self) -> None:
        with pytest.raises(OversizedMessage):
            StreamParser().feed(datagram(Content_Length=str(MAX_MESSAGE)))
        parser = StreamParser()
        parser.feed(b"OPTIONS sip:b SIP/2.0\r\n")
        with pytest.raises(OversizedMessage):
            for _ in range(MAX_MESSAGE):
                parser.feed(b"X: yyyyyyyyyyyyyy\r\n")
        with pytest.raises(OversizedMessage):
            StreamParser(200).feed(datagram())
