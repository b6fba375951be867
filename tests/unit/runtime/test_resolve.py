from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pcscf.errors import NextHopTimeout
from pcscf.runtime import resolve
from pcscf.runtime.resolve import NAME_LIFETIME, Resolver
from pcscf.sip.flow import Hop
from tests.support.virtual import run_virtually, virtual_loop


@pytest.mark.parametrize(("uri", "hop"), [
    ("sip:198.51.100.2:5080", Hop("", "core", "198.51.100.2", 5080)),
    ("sip:orig@198.51.100.2;lr", Hop("", "core", "198.51.100.2", 5060)),
    ("sip:198.51.100.2;transport=tcp", Hop("tcp", "core", "198.51.100.2", 5060)),
    ("sip:198.51.100.2;transport=UDP", Hop("udp", "core", "198.51.100.2", 5060)),
    ("sip:[2001:db8::2]", Hop("", "core", "2001:db8::2", 5060)),
    ("SIP:x@[2001:db8::2]:5080;lr", Hop("", "core", "2001:db8::2", 5080)),
])
async def test_a_numeric_address_needs_no_resolver(uri: str, hop: Hop) -> None:
    assert await Resolver().locate(uri, "core") == hop


@pytest.mark.parametrize("uri", [
    "sips:198.51.100.2", "tel:+15550100", "urn:service:sos", "sip:198.51.100.2;transport=tls", "sip:198.51.100.2;transport=ws",
    "sip:[2001:db8::zz]", "sip:198.51.100.2:99999", "not a uri", "",
])
async def test_what_leads_nowhere(uri: str) -> None:
    with pytest.raises(NextHopTimeout):
        await Resolver().locate(uri, "core")


class Names:
    """The system's resolver: knows one name, and counts how often it is asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if host == "unknown.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (self.address, port))]


def with_names(story: Any, address: str = "198.51.100.9") -> Names:
    names = Names(address)

    async def run() -> None:
        virtual_loop().getaddrinfo = names   # type: ignore[method-assign]
        await story(Resolver())

    run_virtually(run)
    return names


def test_a_name_is_asked_for_once_in_a_while() -> None:
    async def story(resolver: Resolver) -> None:
        for _ in range(3):
            assert (await resolver.locate("sip:core.example:5080", "core")).host == "198.51.100.9"
        await asyncio.sleep(NAME_LIFETIME + 1)
        await resolver.locate("sip:core.example:5080", "core")

    assert with_names(story).asked == ["core.example"] * 2


def test_a_name_may_lead_to_ipv6() -> None:
    async def story(resolver: Resolver) -> None:
        assert await resolver.locate("sip:core.example", "core") == Hop("", "core", "2001:db8::9", 5060)

    with_names(story, "2001:db8::9")


def test_a_name_that_nobody_knows() -> None:
    async def story(resolver: Resolver) -> None:
        for _ in range(2):
            with pytest.raises(NextHopTimeout, match=r"unknown\.example"):
                await resolver.locate("sip:unknown.example", "core")

    assert len(with_names(story).asked) == 2


def test_the_names_that_are_kept_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "MAX_NAMES", 4)

    async def story(resolver: Resolver) -> None:
        for number in range(50):
            await resolver.locate(f"sip:host{number}.example", "core")
            assert len(resolver._known) <= 4
        await resolver.locate("sip:host49.example", "core")

    assert len(with_names(story).asked) == 50
