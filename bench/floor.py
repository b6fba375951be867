"""What to compare with: a forwarder that does the least one can do, and parsers that others wrote."""

from __future__ import annotations

from collections.abc import Callable
from email.parser import BytesHeaderParser

import sdp_transform

from bench.measure import micros_of
from bench.messages import INVITE, OFFER

OWN_VIA = "SIP/2.0/UDP 198.51.100.1:5070;branch=z9hG4bK0123456789ab;rport"
OWN_ROUTE = "<sip:0123456789abcdef@198.51.100.1:5070;lr>"


def forward(data: bytes) -> bytes:
    """A message sent on by somebody who splits every header, knows nothing, checks nothing and remembers nothing."""
    head, _, body = data.partition(b"\r\n\r\n")
    start_line, *lines = head.decode().split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    if start_line.startswith("SIP/2.0"):
        headers.remove(next(each for each in headers if each[0] == "Via"))
    else:
        headers = [("Via", OWN_VIA), ("Record-Route", OWN_ROUTE)] + [each for each in headers if each[0] != "Route"]
    if body:
        body = b"\r\n".join(_moved(line) for line in body.split(b"\r\n"))
    headers = [(name, str(len(body)) if name == "Content-Length" else value) for name, value in headers]
    return "\r\n".join([start_line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode() + body


def _moved(line: bytes) -> bytes:
    if line.startswith(b"c="):
        return b"c=IN IP4 198.51.100.7"
    if line.startswith(b"m="):
        return b"m=message 41010 TCP/MSRP *"
    return line


def forwarding(messages: list[bytes]) -> float:
    """µs of CPU that `forward` takes for all of `messages`."""
    return micros_of(lambda: [forward(each) for each in messages])


def email_headers() -> float:
    """µs that the standard library's parser of the same header syntax (RFC 5322) takes for the INVITE's header section."""
    headers = INVITE.format(number=1).encode().partition(b"\r\n")[2]
    parser = BytesHeaderParser()
    return micros_of(lambda: parser.parsebytes(headers))


def sdp_transform_offer() -> float:
    """µs that sdp-transform takes to parse the offer."""
    parse: Callable[[str], object] = sdp_transform.parse
    return micros_of(lambda: parse(OFFER))
