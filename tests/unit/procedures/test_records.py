"""Bindings, sessions, interfaces: what the records themselves can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcscf.mediasec.model import Agreed
from pcscf.procedures.binding import Attempt
from pcscf.procedures.site import Interface, Side
from pcscf.sip.uri import parse_uri
from tests.unit.procedures.desk import binding, ports, session

ATTEMPT = Attempt("reg", ("msrp-tls;mediasec",), ("msrp-tls;mediasec",), Agreed(), until=240.0)


def test_a_binding_that_no_200_confirmed_is_not_registered() -> None:
    fresh = binding(attempt=ATTEMPT)
    assert not fresh.is_registered(0.0)
    assert fresh.is_worth_keeping(239.9)
    assert not fresh.is_worth_keeping(240.0)


def test_a_binding_lives_until_its_expiry_and_no_longer() -> None:
    registered = binding(expires_at=600.0)
    assert registered.is_registered(599.9)
    assert not registered.is_registered(600.0)
    assert not registered.is_worth_keeping(600.0)


def test_a_refresh_under_way_keeps_an_expired_binding() -> None:
    late = binding(expires_at=100.0, attempt=ATTEMPT)
    assert not late.is_registered(120.0)
    assert late.is_worth_keeping(120.0)


def test_a_binding_without_attempt_and_200_is_worth_nothing() -> None:
    assert not binding().is_worth_keeping(0.0)


@pytest.mark.parametrize("side", list(Side))
def test_the_callee_is_on_the_other_side(side: Side) -> None:
    assert replace(session(), caller=side).callee is side.other
    assert side.other.other is side


@pytest.mark.parametrize(("transport", "host", "uri"), [
    ("udp", "198.51.100.1", "<sip:s0@198.51.100.1:5070;lr>"),
    ("tls", "203.0.113.1", "<sip:s0@203.0.113.1:5070;transport=tls;lr>"),
    ("tcp", "2001:db8::1", "<sip:s0@[2001:db8::1]:5070;transport=tcp;lr>"),
])
def test_the_uri_of_an_interface(transport: str, host: str, uri: str) -> None:
    interface = Interface("x", Side.CORE, "core", transport, host, 5070)
    assert interface.uri("s0") == uri
    assert parse_uri(uri[1:-1]).host == host


def test_the_site_knows_its_own_addresses() -> None:
    site = ports().site
    assert site.is_our_uri(parse_uri("sip:203.0.113.1:5061"))
    assert site.is_our_uri(parse_uri("sips:203.0.113.1"))
    assert not site.is_our_uri(parse_uri("sip:203.0.113.1"))
    assert site.is_our_uri(parse_uri("sip:[2001:db8::1]"))
    assert not site.is_our_uri(parse_uri("sip:198.51.100.2:5070"))


def test_towards_the_core_udp_shows_where_there_is_udp() -> None:
    site = ports().site
    assert site.core.name == "mw-udp"
    only_tcp = {name: each for name, each in site.interfaces.items() if each.transport != "udp"}
    assert replace(site, interfaces=only_tcp).core.name == "mw-tcp"
