from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pcscf.config.load import load_config
from pcscf.config.model import Config
from pcscf.config.values import NextHop
from pcscf.iq.association import Traits
from pcscf.iq.operations import Limits as IqLimits
from pcscf.iq.supervision import Supervision
from pcscf.procedures.site import Deadlines, Expiry, Interface, Limits, Reactions, Side, Site
from pcscf.runtime import settings
from pcscf.runtime.reload import Policies
from pcscf.sip.flow import Flow, Hop
from pcscf.sip.transaction import Timers

POLICIES = Path(__file__).parents[3] / "policies"
DUAL = """
home_domain: ims.example
listeners:
  gm: {realm: access, transport: tls, address: "2001:db8::1", port: 5061, certificate: lab, advertise: "2001:db8::a"}
  gm4: {realm: access, transport: udp, address: 127.0.0.1, port: 5060}
  mw: {realm: core, transport: tcp, address: "::1", port: 5070}
realms:
  access: {side: access}
  core: {side: core, next_hop: "sip:[2001:db8::2]:5080;transport=tcp", timers: {t1: 0.25, t2: 2, t4: 3}}
gateways:
  iq: {address: "::1", port: 2944}
  allow: ["::1"]
policies:
  - match: {access: udp}
    media: {msrp: {require: true}}
  - match: {identity: "sip:*@staff.ims.example"}
    media: {msrp: {min_hash: sha-512}}
  - match: {user_agent: "*old*"}
    media: {msrp: {min_hash: sha-1}}
timers: {register_reply: 7, invite: 200, ack: 9, session: 100, tombstone: 11, connect: 2, tls_handshake: 3, idle_connection: 4}
registration: {min_expiry: 1, max_expiry: 2, grace: 3, challenge: 4}
limits: {registrations: 5, registrations_per_flow: 6, sessions: 7, message_size: 4096, connections: 8, connections_per_address: 9}
"""


@pytest.fixture(params=["lab.yaml", "default.yaml"])
def shipped(request: pytest.FixtureRequest) -> Config:
    return load_config(POLICIES / request.param)


@pytest.fixture
def dual(tmp_path: Path) -> Config:
    (tmp_path / "dual.yaml").write_text(DUAL)
    return load_config(tmp_path / "dual.yaml")


def site_of(config: Config) -> Site:
    return settings.site(config, {each.name: each for each in settings.sockets(config)}, Policies(config.policies))


def test_the_shipped_files_make_a_site(shipped: Config) -> None:
    site = site_of(shipped)
    assert (site.name, site.network, site.core_realm) == ("pcscf.ims.example", "ims.example", "core")
    assert site.core_hop == "sip:127.0.0.1:5080"
    assert site.core.name == "mw-udp"
    assert {name: each.side for name, each in site.interfaces.items()} == {
        name: Side.ACCESS if name.startswith("gm") else Side.CORE for name in shipped.listeners}
    assert site.is_ours("127.0.0.1", 5060)
    assert site.is_ours("127.0.0.1", 5070)
    assert not site.is_ours("127.0.0.1", 5080)


def test_media_security_is_announced_where_signalling_is_protected() -> None:
    trusted, default = (site_of(load_config(POLICIES / name)) for name in ("lab.yaml", "default.yaml"))
    assert {name: each.announced for name, each in trusted.interfaces.items()} == {
        "gm-udp": ("msrp-tls",), "gm-tcp": ("msrp-tls",), "gm-tls": ("msrp-tls",), "mw-udp": (), "mw-tcp": ()}
    assert not any(each.announced for each in default.interfaces.values())


def test_timers_depend_on_where_the_peer_is(shipped: Config) -> None:
    timers = settings.timers_for(shipped)
    slow, fast = Timers(t1=2.0, t2=16.0, t4=17.0, c=185.0), Timers(t1=0.5, t2=4.0, t4=5.0, c=185.0)
    assert timers(Flow("udp", "gm-udp", ("", 0), ("", 0), 0)) == slow
    assert timers(Flow("udp", "mw-udp", ("", 0), ("", 0), 0)) == fast
    assert timers(Hop("udp", "core", "127.0.0.1", 5080)) == fast


def test_our_end_of_iq(shipped: Config) -> None:
    iq = settings.iq(shipped)
    assert iq.bind == ("127.0.0.1", 2944)
    assert iq.limits.deadline == 5.0
    assert (iq.heartbeat.interval, iq.heartbeat.lost_after) == (10.0, 3)
    assert (iq.timers.repeat, iq.timers.repeat_max, iq.timers.t_max, iq.timers.long_timer) == (0.2, 4.0, 15.0, 30.0)
    assert iq.admits("[127.0.0.1]:2945", "127.0.0.1")
    assert not iq.admits("[192.0.2.1]:2945", "192.0.2.1")


def test_only_tls_listeners_have_a_context() -> None:
    sockets = settings.sockets(load_config(POLICIES / "lab.yaml"))
    assert {each.name: each.tls is not None for each in sockets} == {
        "gm-udp": False, "gm-tcp": False, "gm-tls": True, "mw-udp": False, "mw-tcp": False}


def test_ports_that_were_bound_stand_in_the_site(dual: Config) -> None:
    bound = {each.name: replace(each, port=40_000 + index) for index, each in enumerate(settings.sockets(dual))}
    site = settings.site(dual, bound, Policies(dual.policies))
    assert site.interfaces["gm"].port == 40_000
    assert site.addresses == {("2001:db8::a", 40_000), ("127.0.0.1", 40_001), ("::1", 40_002)}


def test_ipv6_everywhere(dual: Config) -> None:
    site = site_of(dual)
    assert site.interfaces["gm"] == Interface("gm", Side.ACCESS, "access", "tls", "2001:db8::a", 5061, ("msrp-tls",))
    assert site.interfaces["gm"].uri("b0") == "<sip:b0@[2001:db8::a]:5061;transport=tls;lr>"
    assert site.core_hop == "sip:[2001:db8::2]:5080;transport=tcp"
    assert settings.iq(dual).bind == ("::1", 2944)
    assert next(each for each in settings.sockets(dual) if each.name == "gm").address == "2001:db8::1"


def test_every_wait_and_bound_reaches_its_place(dual: Config) -> None:
    site = site_of(dual)
    assert site.deadlines == Deadlines(challenge=4, ack=9, session=100, tombstone=11)
    assert site.expiry == Expiry(least=1, most=2, grace=3)
    assert site.limits == Limits(bindings=5, sessions=7, bindings_per_flow=6)
    net = settings.net_limits(dual)
    assert (net.message_size, net.connections, net.connections_per_address) == (4096, 8, 9)
    assert (net.connect, net.tls_handshake, net.idle) == (2, 3, 4)
    assert settings.timers_for(dual)(Hop("tcp", "core", "::1", 5080)) == Timers(t1=0.25, t2=2, t4=3, c=200)


def test_the_first_policy_that_matches_decides(dual: Config) -> None:
    site = site_of(dual)
    tls, udp = site.interface("gm"), site.interface("gm4")
    assert site.policy(udp, "sip:x@staff.ims.example", "old").msrp.require
    assert site.policy(tls, "sip:x@staff.ims.example", "old").msrp.min_hash == "sha-512"
    assert site.policy(tls, "sip:x@ims.example", "An OLD phone").msrp.min_hash == "sha-1"
    assert site.policy(tls, "sip:x@ims.example", "new").msrp.min_hash == "sha-256"


@pytest.mark.parametrize(("hop", "uri"), [
    (NextHop("198.51.100.2", 5080, None), "sip:198.51.100.2:5080"),
    (NextHop("2001:db8::2", 5060, "udp"), "sip:[2001:db8::2]:5060;transport=udp"),
])
def test_the_next_hop_as_a_uri(hop: NextHop, uri: str) -> None:
    assert settings.hop_uri(hop) == uri


def test_what_is_configured_about_gateways() -> None:
    config = load_config(POLICIES / "gateways.yaml")
    iq = settings.iq(config)
    assert iq.traits == {
        "[127.0.0.21]:2945": Traits(weight=3),
        "[127.0.0.22]:2945": Traits(weight=1, realms=frozenset({"access", "core"})),
    }
    assert iq.restore == (("127.0.0.21", 2945), ("127.0.0.22", 2945))
    assert iq.limits == IqLimits(deadline=5.0, attempt=1.0, patience=2.0, profiles=frozenset({"iqprofile/1"}))
    assert (iq.heartbeat.interval, iq.heartbeat.compare, iq.heartbeat.silence) == (5.0, 120.0, 20.0)
    assert iq.supervision == Supervision(1800, (("fax", 60),))
    assert site_of(config).reactions == Reactions(closed="log", silent="release")
    assert iq.admits("[127.0.0.21]:2945", "127.0.0.21")
    assert not iq.admits("[127.0.0.21]:2945", "127.0.0.22")
