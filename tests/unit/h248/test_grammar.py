"""What the ABNF of RFC 3525 Annex B.2 takes and what it does not, a text for each rule; what is taken is written alike twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pcscf.errors import H248SyntaxError
from pcscf.h248.codec import decode_untrusted, encode_compact, encode_pretty
from pcscf.h248.message import Message


def request(content: str, version: int = 2) -> str:
    return f"!/{version} [192.0.2.1]:2944 T=7{{{content}}}"


def command(content: str, version: int = 2) -> str:
    return request(f"C=1{{MF=ip/1/1/1{{{content}}}}}", version)


TAKEN = {
    "comments and blank lines before everything": "; a\r\n\r\n  !/1 ; b\n [192.0.2.1] ; c\n\tT=7{C=-{AV=ROOT{AT{}}}} ; d\n",
    "an authentication header": "AU=0x0000000A:0x0000000B:0x" + "1F" * 12 + "\n!/1 agw PN=7{}",
    "an IPv6 address that maps IPv4": "!/2 [::ffff:192.0.2.1]:2944 PN=7{}",
    "a device name with a domain": "!/2 agw/1@media.example.net PN=7{}",
    "an MTP address": "!/2 MTP{00FF} PN=7{}",
    "a request, a confirmation and a reply in a row": "!/2 agw T=7{C=-{AV=ROOT{AT{}}}}K{3-5,9}P=6{C=-{AV=ROOT}}",
    "two actions": request("C=1{S=*},C=2{S=*}"),
    "context properties and an audit without a command": "!/2 agw T=7{C=1{PR=3,EG,CA{TP,EG,PR}}}",
    "an error behind the replies of an action": '!/2 agw P=7{C=1{MF=a,ER=430{"Unknown TerminationID"}}}',
    "an error alone in an action": "!/2 agw P=7{C=1{ER=411{}}}",
    "the audit of a context": "!/2 agw P=7{C=1{AV=C{a/1,a/2}}}",
    "wildcards and CHOOSE": request("C=${A=ip/1/$/$},C=*{W-S=*},C=1{O-W-MF=ip/*/*/*}"),
    "a list of terminations (version 3)": request("C=1{S=[a/1,a/2]}", 3),
    "SDP that looks like a comment": command("M{L{\nv=0\na=x:1;2\n}}"),
    "a brace in SDP, escaped": command("M{L{\nv=0\na=x:{1\\}\n}}"),
    "several descriptions": command("M{ST=1{R{\nv=0\nm=audio 1 RTP/AVP 0\nv=0\nm=audio 1 RTP/AVP 8\n}}}"),
    "an empty Local": command("M{ST=1{L{},R{}}}"),
    "no signal": command("SG{}"),
    "no event": command("E"),
    "a list of signals": command("SG{SL=1{tone/play{SY=TO,DR=20,NC={TO,IBE}},tone/stop}}"),
    "an embedded descriptor": command("E=1{al/of{EM{SG{tone/play},E=2{al/on}}}}"),
    "a digit map": command("DM=plan{T:5,([1-9]x.)}"),
    "modem, mux and buffer of other profiles": command("MD[V90]{x/y=1},MX=H221{a/1,a/2},EB{al/of}"),
    "lists, alternatives and ranges": command('M{ST=1{O{a/l=["x","y"],a/o={1,2},a/r=[1:9],a/n#3,a/s<4,a/g>5}}}'),
    "a value that is a keyword": command("M{ST=1{O{ipdc/realm=L,MO=SR}}}"),
    "hexadecimal and negative numbers": command("M{ST=1{O{ds/dscp=0x2E,x/y=-1}}}"),
    "termination state": command("M{TS{SI=IV,BF=SP,root/x=1}}"),
    "statistics asked for in a stream (version 3)": command("M{ST=1{SA{nt/os}}}", 3),
    "single items of an audit (version 2)": request("C=1{AV=a{AT{M{TS{SI},ST=1{O{MO}}},E=5{al/of},SG{tone/play},PG{g-1}}}}"),
    "an audit of everything": request("C=1{AV=a{AT{*/*,E=2{al/*},g-1,SA}}}", 3),
    "white space within quotes": command('M{ST=1{O{x/y="a\tb c"}}}'),
    "blocks with words and signs in a row": command("DM=plan{a b = c [d, e=f -g ] h}"),
    "parameters of packages that are called like keywords": command("E=1{x/y{Context=1,Mode=2,Stream=3}}"),
    "an observed event with its time": request("C=1{N=a{OE=1{20300102T03040506:al/of{Stream=1}}}}"),
    "a registration with everything": request(
        'C=-{SC=ROOT{SV{MT=HO,RE="903 x",DL=5,AD=[192.0.2.7]:2944,PF=iq/1,V=2,20300102T03040506,X-mine="1"}}}'
    ),
    "a reply that names another controller": "!/1 [192.0.2.1] P=7{C=-{SC=ROOT{SV{MG=<b.example.net>:2944}}}}",
    "IEPS and context attributes (version 3)": request("C=1{PR=1,IEPS=ON,CT{x/y=1},S=*}", 3),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
@pytest.mark.parametrize("written", [encode_compact, encode_pretty])
def test_it_is_taken_and_what_is_written_is_stable(text: str, written: Callable[[Message], bytes]) -> None:
    message = decode_untrusted(text.encode())
    once = written(message)
    assert decode_untrusted(once) == message
    assert written(decode_untrusted(once)) == once


REFUSED = {
    "no header": (400, "T=7{C=-{AV=ROOT}}"),
    "no message identifier": (400, "!/2 T=7{C=-{AV=ROOT}}"),
    "an identifier that is followed by no white space": (400, "!/2 [192.0.2.1]T=7{C=-{AV=ROOT}}"),
    "an IPv6 address with two gaps": (400, "!/2 [2001::1::2] PN=7{}"),
    "an IPv6 address with nine groups": (400, "!/2 [1:2:3:4:5:6:7:8:9] PN=7{}"),
    "an IPv6 address with seven groups": (400, "!/2 [1:2:3:4:5:6:7] PN=7{}"),
    "no transaction": (400, "!/2 agw "),
    "a version of the future": (406, "!/4 agw PN=7{}"),
    "a transaction without TransactionID": (400, "!/2 agw T={C=1{S=*}}"),
    "a TransactionID of 33 bits": (400, "!/2 agw T=4294967296{C=1{S=*}}"),
    "a comma between transactions": (400, "!/2 agw PN=7{},PN=8{}"),
    "eleven transactions": (413, "!/2 agw " + "PN=7{}" * 11),
    "text behind the end": (400, "!/2 agw PN=7{} x"),
    "NUL behind the end": (400, "!/2 agw PN=7{}\0"),
    "an unfinished message": (403, "!/2 agw T=7{C=1{S=*}"),
    "a request without an action": (403, "!/2 agw T=7{}"),
    "an action without a command": (443, "!/2 agw T=7{C=1{}}"),
    "a reply without a context": (403, "!/2 agw P=7{MF=a}"),
    "a segment (version 3)": (501, "!/3 agw P=7/1{C=1{MF=a}}"),
    "blanks in a range of confirmations": (400, "!/2 agw K{1 - 3}"),
    "a reserved ContextID in figures": (422, request("C=4294967295{S=*}")),
    "a property behind a command": (443, request("C=1{S=*,EG}")),
    "twice the same in a context audit": (456, request("C=*{CA{TP,PR,TP}}")),
    "twice the same in an audit": (456, request("C=1{AV=a{AT{M,E,M}}}")),
    "what is no audit item": (442, request("C=1{AV=a{AT{Media*}}}")),
    "an unknown command": (443, request("C=1{FROB=a}")),
    "an unknown descriptor": (444, command("FROB{}")),
    "a comma before the closing brace": (442, command("M{ST=1{O{MO=SR,}}}")),
    "a list of terminations before version 3": (442, request("C=1{S=[a/1,a/2]}")),
    "a TerminationID of 65 characters": (442, request(f"C=1{{S={'a' * 65}}}")),
    "two Local": (456, command("M{ST=1{L{},L{}}}")),
    "two LocalControl": (456, command("M{ST=1{O{MO=SR},O{MO=IN}}}")),
    "two stream modes": (456, command("M{ST=1{O{MO=SR,MO=IN}}}")),
    "stream parameters beside a stream": (442, command("M{ST=1{L{}},O{MO=SR}}")),
    "a stream beside stream parameters": (442, command("M{O{MO=SR},ST=1{L{}}}")),
    "a stream of 17 bits": (442, command("M{ST=65536{L{}}}")),
    "an empty LocalControl": (442, command("M{ST=1{O{}}}")),
    "an unquoted colon": (442, command("M{ST=1{O{gm/sam=a:b}}}")),
    "a quote within quotes": (442, command('M{ST=1{O{gm/sam="a"b"}}}')),
    "a control character": (442, command("M{ST=1{O{x/y=\x0f}}}")),
    "a control character within quotes": (442, command('M{ST=1{O{x/y="\x0f"}}}')),
    "a string over two lines": (442, command('M{ST=1{O{gm/sam="a\nb"}}}')),
    "a registration without a reason": (442, request("C=-{SC=ROOT{SV{MT=RS}}}")),
    "a registration without a method": (442, request('C=-{SC=ROOT{SV{RE="901"}}}')),
    "two profiles": (456, request('C=-{SC=ROOT{SV{MT=RS,RE="901",PF=a/1,PF=b/1}}}')),
    "an address and another controller": (442, request('C=-{SC=ROOT{SV{MT=RS,RE="901",AD=55555,MG=kalle}}}')),
    "an unknown parameter of a registration": (446, request('C=-{SC=ROOT{SV{MT=RS,RE="901",FROB=1}}}')),
}


@pytest.mark.parametrize(("code", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_with_its_code_and_place(code: int, text: str) -> None:
    with pytest.raises(H248SyntaxError) as caught:
        decode_untrusted(text.encode())
    assert (caught.value.code, caught.value.line > 0, caught.value.column > 0) == (code, True, True), caught.value.what
