"""The parts of RFC 3261 §25 that are read with regular expressions, under their ABNF names.

Every expression runs in linear time: repetition is possessive wherever a neighbour could match the same characters. For groups
that is written as an atomic group around the repetition: CPython before 3.11.5 gets possessive groups wrong.
Values are matched after unfolding, so the only blanks (LWS) left are SP and HTAB.
"""

from __future__ import annotations

import re
from typing import Final

LWS: Final = r"[ \t]*+"
TCHAR: Final = r"[A-Za-z0-9\-.!%*_+`'~]"
QUOTED: Final = r'"[^"\\]*+(?>(?:\\.[^"\\]*+)*)"'
HOST: Final = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._\-]++"

token: Final = re.compile(rf"{TCHAR}++")

# A header field name may have blanks before its colon, never in front of it.
header_name: Final = re.compile(rf"({TCHAR}++){LWS}")

# Folding: CRLF and the blanks around it count as one SP (RFC 3261 §7.3.1).
folding: Final = re.compile(r"[ \t]*\r\n[ \t]+")
leading_line_ends: Final = re.compile(rb"(?>(?:\r\n)+)")
continuation: Final = re.compile(r"\r\n(?![ \t])")

# One element of a comma-separated list; commas within quotes or <> do not end it.
# An unterminated quote or bracket is taken as a plain character, so that splitting never fails.
list_element: Final = re.compile(rf'(?>(?:[^,"<]++|{QUOTED}|<[^>]*+>|["<])*)', re.DOTALL)

# generic-param, wider than the ABNF: values seen in practice hold "=", "/", ":" and "@" outside quotes.
_VALUE: Final = rf'{QUOTED}|[^;,"<> \t]++'
# The third group takes what is no parameter, to its end.
generic_param: Final = re.compile(rf";{LWS}({TCHAR}++){LWS}(?>(?:={LWS}({_VALUE}){LWS})?)|(.++)", re.DOTALL)

via_parm: Final = re.compile(
    rf"{LWS}SIP{LWS}/{LWS}2\.0{LWS}/{LWS}({TCHAR}++)[ \t]++"
    rf"({HOST}){LWS}(?>(?::{LWS}([0-9]{{1,5}})(?![0-9]){LWS})?)(;.*+)?",
    re.IGNORECASE | re.DOTALL,
)

# The display name without quotes is wider than *(token LWS): UTF-8 and specials that cannot mislead are let through.
_PLAIN_DISPLAY: Final = r'[^"<>,;:\\\x00-\x08\x0a-\x1f]*+'
_BRACKETED_URI: Final = r'[A-Za-z][A-Za-z0-9+.\-]*+:[^\x00-\x20<>"]++'
# Without <>, a comma, question mark or semicolon ends the URI (RFC 3261 §20.10).
_BARE_URI: Final = r'[A-Za-z][A-Za-z0-9+.\-]*+:[^\x00-\x20<>",;?]++'
name_addr: Final = re.compile(rf"{LWS}(?:({QUOTED})|({_PLAIN_DISPLAY})){LWS}<({_BRACKETED_URI})>{LWS}(;.*+)?", re.DOTALL)
addr_spec: Final = re.compile(rf"{LWS}({_BARE_URI}){LWS}(;.*+)?", re.DOTALL)
# From and To as a whole; the group is the tag.
from_spec: Final = re.compile(
    rf"{LWS}(?:(?:{QUOTED}|{_PLAIN_DISPLAY}){LWS}<{_BRACKETED_URI}>|{_BARE_URI}){LWS}"
    rf"(?>(?:;{LWS}(?:[tT][aA][gG]{LWS}={LWS}({_VALUE})|{TCHAR}++{LWS}(?>(?:={LWS}(?:{_VALUE}))?)){LWS})*)",
    re.DOTALL,
)

cseq: Final = re.compile(rf"([0-9]{{1,32}})[ \t]++({TCHAR}++)")
quoted_pair: Final = re.compile(r"\\(.)", re.DOTALL)

# "#" and characters of tel numbers are let through in the user part; "@" ends it in any case.
sip_uri: Final = re.compile(
    rf"(sips?):(?:([A-Za-z0-9\-_.!~*'()%&=+$,;?/#]++)(?::([A-Za-z0-9\-_.!~*'()%&=+$,]*+))?@)?"
    rf'({HOST})(?::([0-9]{{1,5}}))?((?>(?:;[^;?=@<>"\x00-\x20]++(?:=[^;?=@<>"\x00-\x20]++)?)*))(?:\?([^@<>"\x00-\x20]++))?',
    re.IGNORECASE,
)
absolute_uri: Final = re.compile(r'([A-Za-z][A-Za-z0-9+.\-]*+):([^<>"\x00-\x20]++)')
bad_escape: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

# received and rport of a raw Via element, folding included; group 1 is None for a quoted-string on the way.
source_param: Final = re.compile(
    rf'{QUOTED}|;[ \t\r\n]*+(received|rport)(?!{TCHAR})(?>(?:[ \t\r\n]*+=[ \t\r\n]*+[^;,"\s]++)?)',
    re.IGNORECASE | re.DOTALL,
)

sip_version: Final = re.compile(r"SIP/[0-9]++\.[0-9]++", re.IGNORECASE)

# What every Via with a broadcast or multicast address has, and few others.
maybe_not_unicast: Final = re.compile(r"[ \t=\[](?:255\.255\.|22[4-9]\.|23[0-9]\.|ff[0-9a-f]{2}:)", re.IGNORECASE)
