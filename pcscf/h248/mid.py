"""The message identifier (mId, RFC 3525 Annex B.2): [IPv4]:port, [IPv6]:port, <domain>:port, a device name, MTP{hex}."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

MID: Final = re.compile(
    r"\[(?P<address>[0-9A-Fa-f:.]{2,45})\](?::(?P<address_port>\d{1,5}))?"
    r"|<(?P<domain>[A-Za-z0-9][A-Za-z0-9.\-]{0,63})>(?::(?P<domain_port>\d{1,5}))?"
    r"|(?P<mtp>[Mm][Tt][Pp][ \t]*\{[ \t]*[0-9A-Fa-f]{4,8}[ \t]*\})"
    r"|(?P<device>\*?[A-Za-z][A-Za-z0-9_/*$]*(?:@[A-Za-z0-9*][A-Za-z0-9.*\-]*)?)"
)
"""Shape of an mId; `is_mid` also checks what a regular expression cannot."""

MAX_DEVICE_NAME: Final = 64


@lru_cache(maxsize=1024)
def is_mid(text: str) -> bool:
    """Whether `text` is an mId: addresses that exist, ports below 65536, a device name of at most 64 characters."""
    match = MID.fullmatch(text)
    if match is None:
        return False
    if int(match["address_port"] or match["domain_port"] or 0) > 0xFFFF:
        return False
    if match["address"]:
        try:
            IPv6Address(match["address"]) if ":" in match["address"] else IPv4Address(match["address"])
        except AddressValueError:
            return False
    return len(match["device"] or "") <= MAX_DEVICE_NAME


def mid_of_address(host: str, port: int | None = None) -> str:
    """The mId of a transport address; `host` is an IP address without brackets or a domain name.

    >>> mid_of_address("2001:db8::1", 2944)
    '[2001:db8::1]:2944'
    """
    suffix = f":{port}" if port is not None else ""
    is_address = ":" in host or host.replace(".", "").isdigit()
    return f"[{host}]{suffix}" if is_address else f"<{host}>{suffix}"


def address_of_mid(mid: str, default_port: int = 2944) -> tuple[str, int] | None:
    """Host and port that an mId names (MgcIdToTry, ServiceChangeAddress); None for a device name or MTP address."""
    match = MID.fullmatch(mid)
    if match is None:
        return None
    host = match["address"] or match["domain"]
    if host is None:
        return None
    return host, int(match["address_port"] or match["domain_port"] or default_port)
