from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import pcscf.errors
from pcscf.config.load import POLICIES, ConfigErrors, check_config, load_config, load_gateway
from pcscf.config.model import Config
from pcscf.config.tree import MAX_SIZE
from pcscf.config.values import Endpoint, NextHop, PortRange

GOOD = """\
home_domain: ims.example
listeners:
  gm: {realm: access, transport: udp, address: 192.0.2.1, port: 5060}
  mw: {realm: core, transport: udp, address: 192.0.2.1, port: 5070}
realms:
  access: {side: access}
  core: {side: core, next_hop: "sip:192.0.2.9:5060"}
gateways: {embedded: true}
"""

KNOWN = "known: [{mid: gw1, address: '127.0.0.7:2945', weight: 3, realms: [access, core]}]"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(text)
        return path

    return write_file


def refused(path: Path, *overrides: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigErrors) as raised:
        load_config(path, overrides)
    return [(error.line, error.what, error.hint) for error in raised.value.errors]


@pytest.mark.parametrize("name", ["default.yaml", "lab.yaml"])
def test_the_configurations_that_come_with_the_package_load(name: str) -> None:
    assert load_config(POLICIES / name).home_domain == "ims.example"


def test_they_stand_inside_the_package_so_that_a_wheel_brings_them() -> None:
    assert POLICIES.is_relative_to(Path(pcscf.errors.__file__).parent)
    assert {each.name for each in POLICIES.glob("*.yaml")} >= {"default.yaml", "lab.yaml"}


def test_lab_is_what_the_documents_say() -> None:
    config = load_config(POLICIES / "lab.yaml")
    sockets = {(each.realm, each.transport, each.address, each.port) for each in config.listeners.values()}
    assert sockets == {
        ("access", "udp", "127.0.0.1", 5060),
        ("access", "tcp", "127.0.0.1", 5060),
        ("access", "tls", "127.0.0.1", 5061),
        ("core", "udp", "127.0.0.1", 5070),
        ("core", "tcp", "127.0.0.1", 5070),
    }
    assert all(each.announces for each in config.listeners_of("access").values())
    assert config.listeners["gm-tls"].certificate == "lab"
    assert config.core.next_hop == NextHop("127.0.0.1", 5080, None)
    assert (config.iq.address, config.iq.port, config.iq.own_mid) == ("127.0.0.1", 2944, "[127.0.0.1]:2944")
    assert config.gateways.embedded.enabled
    media = config.embedded_media()
    assert media["access"].ports == (PortRange(12000, 21999),)
    assert media["core"].ports == (PortRange(22000, 31999),)


def test_default_yaml_shows_every_default(write: Write) -> None:
    """A knob of default.yaml that is left out changes nothing: the file cannot promise what the models do not do."""
    shown = load_config(POLICIES / "default.yaml")
    bare = load_config(write(re.sub(r"192\.0\.2\.[19]", "127.0.0.1", GOOD).replace("9:5060", "9:5080")))
    for block in ("registration", "timers", "limits", "log", "trace"):
        assert getattr(shown, block) == getattr(bare, block)
    assert shown.gateways.model_dump(exclude={"embedded": {"media"}}) == bare.gateways.model_dump(
        exclude={"embedded": {"media"}}
    )
    assert shown.realms["access"] == bare.realms["access"]
    assert shown.core.timers == bare.core.timers


def test_defaults_that_depend_on_others(write: Write) -> None:
    config = load_config(write(GOOD))
    assert config.name == "pcscf.ims.example"
    assert config.visited_network == "ims.example"
    assert config.gateways.embedded_mid == "[127.0.0.1]:2945"
    assert config.embedded_media()["access"].addresses == ("192.0.2.1",)
    assert not config.listeners["gm"].announces


def test_ipv6_everywhere(write: Write) -> None:
    text = GOOD.replace("192.0.2.1,", "'2001:DB8::1',").replace("192.0.2.9", "[2001:db8::9]")
    config = load_config(write(text.replace("embedded: true", "embedded: true, iq: {address: '::1'}")))
    assert config.listeners["gm"].host == "2001:db8::1"
    assert config.core.next_hop == NextHop("2001:db8::9", 5060, None)
    assert config.iq.own_mid == "[::1]:2944"
    assert config.embedded_media()["core"].addresses == ("2001:db8::1",)


def test_every_mistake_is_told_at_once_with_line_and_remedy(write: Write) -> None:
    found = refused(
        write("""\
home_domain: ims.example
listeners:
  gm: {realm: access, transport: sctp, address: 300.1.1.1, prot: 5060}
  mw:
    realm: core
    transport: udp
    address: 192.0.2.1
    port: "5070"
realms:
  access:
    side: access
    timers: {t1: 0, tt2: 4}
  core: {side: cre, next_hop: "sip:192.0.2.9"}
policies:
  - media:
      msrp: {min_hash: md5}
timers:
  invite: 30
gateways: {embedded: yes}
""")
    )
    assert found == [
        (3, "listeners.gm.prot: unknown key", "did you mean `port`?"),
        (3, "listeners.gm.transport: cannot be 'sctp'", "write udp, tcp or tls"),
        (3, "listeners.gm.address: '300.1.1.1' is not an IP address", found[2][2]),
        (8, "listeners.mw.port: must be a whole number", "write digits only, without quotes"),
        (12, "realms.access.timers.tt2: unknown key", "did you mean `t2`?"),
        (12, "realms.access.timers.t1: must be more than 0", "it is 0 now"),
        (13, "realms.core: has an unknown `side`", "write access or core"),
        (16, "policies.0.media.msrp.min_hash: cannot be 'md5'", "write sha-1, sha-224, sha-256, sha-384 or sha-512"),
        (18, "timers.invite: must be more than 180", "it is 30 now"),
        (19, "gateways.embedded: must be a mapping", "write `key: value` lines below it"),
    ]


def test_a_missing_key_is_told_at_its_block_with_its_meaning(write: Write) -> None:
    found = refused(write(GOOD.replace(', next_hop: "sip:192.0.2.9:5060"', "")))
    assert found == [(7, "realms.core.next_hop: is missing", found[0][2])]
    assert found[0][2].startswith("The core's entry")


@pytest.mark.parametrize(
    ("old", "new", "line", "part"),
    [
        ("realm: access, transport", "realm: acces, transport", 3, "no realm 'acces'"),
        ("side: access", "side: core, next_hop: 'sip:192.0.2.8'", 5, "no realm has `side: access`"),
        ("192.0.2.9:5060", "[2001:db8::9]:5060", 7, "over IPv6"),
        ("192.0.2.9:5060", "192.0.2.9:5060;transport=tcp", 7, "no tcp listener"),
        ("192.0.2.9:5060", "core.example", 7, "not an IP address"),
        ("embedded: true", "embedded: false", 8, "no gateway could ever register"),
        ("port: 5070", "port: 5060", 4, "already taken by listener gm"),
        ("gateways: {embedded: true}", "gateways: {embedded: {http: {port: 9293}, workers: 2}}\nhttp: {port: 9294}", 9,
         "already taken by an embedded gateway"),
        ("gateways: {embedded: true}", "gateways: {embedded: true}\nhttp: {address: everywhere}", 9, "everywhere"),
        ("embedded: true", "known: [{mid: gw1, address: '[2001:db8::7]:2945'}]", 8, "cannot be reached from Iq"),
        ("embedded: true", KNOWN.replace("core]", "kore]"), 8, "no realm 'kore'"),
        ("embedded: true", KNOWN.replace("[{", "[{mid: GW1, address: '127.0.0.8'}, {"), 8, "gw1 is gateways.known.0 already"),
        ("embedded: true", "embedded: true, known: [{mid: '[127.0.0.1]:2945', address: 127.0.0.1}]", 8, "the embedded gateway"),
        ("embedded: true", KNOWN.replace("}", ", drain: true}"), 8, "every gateway is drained"),
        ("embedded: true", KNOWN.replace("weight: 3", "weight: 0"), 8, "must be at least 1"),
        ("embedded: true", KNOWN.replace("weight: 3", "wait: 3"), 8, "unknown key"),
        ("embedded: true", "embedded: true, profiles: [iqprofile]", 8, "must look like"),
        ("embedded: true", "embedded: true, successor: '127.0.0.1:2944'", 8, "our own Iq address"),
        ("embedded: true", "embedded: true, supervision: {media_inactivity: {video: 3}}", 8, "video"),
        ("embedded: true", "embedded: true, supervision: {on_close: drop}", 8, "cannot be 'drop'"),
        ("embedded: true", "embedded: true, supervision: {tls_start: later}", 8, "cannot be 'later'"),
        (
            "transport: udp, address: 192.0.2.1, port: 5060",
            "transport: tls, address: 192.0.2.1, port: 5061",
            3,
            "certificate",
        ),
        ("address: 192.0.2.1, port: 5060", "address: 0.0.0.0, port: 5060", 3, "cannot stand in a Via"),
        ("port: 5060}", "port: 5060, certificate: lab}", 3, "a udp listener has no certificate"),
        (
            "embedded: true",
            "embedded: {media: {acces: {addresses: [192.0.2.1], ports: 2000-3000}}}",
            8,
            "no realm 'acces'",
        ),
        (
            "embedded: true",
            "embedded: {media: {access: {addresses: [192.0.2.1, 192.0.2.1], ports: 2000-3000}}}",
            8,
            "192.0.2.1 stands there twice",
        ),
        (
            "embedded: true",
            "embedded: {media: {access: {addresses: [192.0.2.1], ports: 3000-2000}}}",
            8,
            "ports 3000-2000",
        ),
        ("embedded: true", "embedded: true, timers: {t_max: 40}", 8, "must be longer than t_max"),
        ("embedded: true", "embedded: true, allow: [nobody!]", 8, "neither an address"),
        ("home_domain: ims.example", "home_domain: ims..example", 1, "not a domain name"),
    ],
)
def test_blocks_must_fit_together(write: Write, old: str, new: str, line: int, part: str) -> None:
    assert old in GOOD
    found = refused(write(GOOD.replace(old, new, 1)))
    assert any(each[0] == line and part in each[1] for each in found), found


def test_two_cores_are_one_too_many(write: Write) -> None:
    text = GOOD.replace("gateways", '  other: {side: core, next_hop: "sip:192.0.2.8"}\ngateways')
    assert (8, "realms.other.side: is the second core realm after core") in [each[:2] for each in refused(write(text))]


def test_a_certificate_file_is_looked_for_beside_the_configuration(write: Write, tmp_path: Path) -> None:
    text = GOOD.replace(
        "udp, address: 192.0.2.1, port: 5060", "tls, address: 192.0.2.1, port: 5061, certificate: our.pem"
    )
    [(line, what, _)] = refused(write(text))
    assert (line, what) == (3, f"listeners.gm.certificate: there is no file {tmp_path / 'our.pem'}")
    (tmp_path / "our.pem").touch()
    assert load_config(write(text)).listeners["gm"].certificate == tmp_path / "our.pem"


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("listeners.gm.port=5062", lambda config: config.listeners["gm"].port, 5062),
        ("timers.iq_reply=2.5", lambda config: config.timers.iq_reply, 2.5),
        ("policies.0.match.realm=access", lambda config: config.policies[0].match.realm, ("access",)),
        ("gateways.allow=[192.0.2.0/24]", lambda config: config.gateways.allow, ("192.0.2.0/24",)),
        ("realms.core.next_hop=sip:192.0.2.7;transport=udp", lambda config: config.core.next_hop.transport, "udp"),
        ("log={level: debug}", lambda config: config.log.level, "debug"),
    ],
)
def test_set_overrides_one_value(
    write: Write, override: str, read: Callable[[Config], object], expected: object
) -> None:
    assert read(load_config(write(GOOD), [override])) == expected


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("listeners.gm.port=x", "must be a whole number"),
        ("listeners.gm.prot=5061", "unknown key"),
        ("listeners.gm.port", "is not KEY.PATH=VALUE"),
        ("=5", "is not KEY.PATH=VALUE"),
        ("listeners..port=5", "is not KEY.PATH=VALUE"),
        ("home_domain.x=5", "there is no `x` below"),
        ("policies.3.match.realm=access", "no element of a list of 0"),
        ("log.level=[", "is not YAML"),
    ],
)
def test_a_wrong_set_is_named(write: Write, override: str, part: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        load_config(write(GOOD), ["log.level=debug", override])
    first = raised.value.errors[0]
    assert (first.file, first.line) == (f"--set {override}", 0)
    assert part in first.what


def test_set_may_correct_the_file(write: Write) -> None:
    assert load_config(write(GOOD.replace("5060", "99999", 1)), ["listeners.gm.port=5060"]).listeners["gm"].port == 5060


def test_warnings(write: Write) -> None:
    text = GOOD.replace("port: 5060}", "port: 5060, announce: always}").replace("5070}", "5070, announce: trusted}")
    _, found = check_config(write(text + "policies: [{}, {match: {access: tls}}]\n"))
    assert [(each.line, each.what.partition(":")[0]) for each in found] == [
        (3, "listeners.gm.announce"),
        (4, "listeners.mw.announce"),
        (9, "policies.0"),
    ]


@pytest.mark.parametrize(
    ("data", "line", "part"),
    [
        (b"", 1, "must hold `key: value` lines"),
        (b"- a\n", 1, "must hold `key: value` lines"),
        (b"a: 1\n\tb: 2\n", 2, "a tab stands where YAML wants blanks"),
        (b"a: 1\nb: \xff\n", 2, "is not UTF-8"),
        ("a: 1".encode("utf-16"), 1, "is not UTF-8"),
        (b"a: 1\nb: 2\na: 3\n", 3, "`a` stands twice, first in line 1"),
        (b"a: {b: 1, b: 2}\n", 1, "`b` stands twice"),
        (b"a: 1\nb: \x01\n", 2, "control character"),
        (b"a: [1, 2\n", 2, "is not YAML"),
        (b"a: 1\n---\nb: 1\n", 3, "second document"),
        (b"a: !!python/object:os.system x\n", 1, "the tag"),
        (b"a: 1\nb: *c\n", 2, "*c"),
        (b"a: &a [*a]\n", 1, "*a"),
        (b"a: &a {b: 1}\nc: {<<: *a}\n", 2, "<< (merge)"),
        (b"a: 1\nport: 05060\n", 2, "begins with a zero"),
        (b"? [a]\n: 1\n", 1, "a key must be a word"),
        (b"a: " + b"[" * 40 + b"]" * 40, 1, "nested deeper"),
        (b"a: " + b"[" * 100_000, 1, "nested deeper"),
        (b"#" * (MAX_SIZE + 1), 0, "is larger than"),
    ],
)
def test_what_is_not_a_configuration_file(tmp_path: Path, data: bytes, line: int, part: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(data)
    [(found, what, _)] = refused(path)
    assert found == line
    assert part in what


def test_aliases_cannot_grow_without_bounds(write: Write) -> None:
    levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12))
    [(_, what, _)] = refused(write(f"a0: &a0 [x]\n{levels}"))
    assert "more than" in what


def test_an_alias_repeats_a_value(write: Write) -> None:
    text = GOOD.replace("192.0.2.1, port: 5060", "&here 192.0.2.1, port: 5060").replace(
        "192.0.2.1, port: 5070", "*here, port: 5070"
    )
    assert load_config(write(text)).listeners["mw"].address == "192.0.2.1"


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_config(path).home_domain == "ims.example"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    [(_, what, _)] = refused(tmp_path / "nowhere.yaml")
    assert what == "cannot be read: no such file or directory"


def test_the_error_reads_as_file_line_what_and_hint(write: Write) -> None:
    path = write(GOOD.replace("udp", "udq", 1))
    with pytest.raises(ConfigErrors) as raised:
        load_config(path)
    assert str(raised.value) == f"{path}:3: listeners.gm.transport: cannot be 'udq'\n    write udp, tcp or tls"


def test_nothing_can_be_changed_after_reading(write: Write) -> None:
    config = load_config(write(GOOD))
    with pytest.raises(ValueError, match="frozen"):
        config.listeners["gm"].port = 1


@pytest.mark.parametrize(
    ("gateways", "mid", "address", "admitted"),
    [
        ("embedded: true", "[127.0.0.1]:2945", "127.0.0.1", True),
        ("embedded: true", "[127.0.0.1]:2945", "192.0.2.7", False),
        ("embedded: false, allow: [192.0.2.7]", "gw1", "127.0.0.1", False),
        ("embedded: false, allow: [192.0.2.7]", "gw1", "192.0.2.7", True),
        ("embedded: false, allow: ['2001:db8::/32']", "gw1", "2001:db8::7", True),
        ("embedded: false, allow: ['2001:db8::/32']", "gw1", "192.0.2.7", False),
        ("embedded: false, allow: ['<gw1.example>:2944']", "<GW1.example>:2944", "192.0.2.7", True),
        ("embedded: false, allow: ['<gw1.example>:2944']", "<gw2.example>:2944", "192.0.2.7", False),
        (KNOWN, "GW1", "127.0.0.7", True),
        (KNOWN, "gw2", "127.0.0.7", False),
        (KNOWN + ", allow: [127.0.0.0/8]", "gw1", "127.0.0.8", False),  # a known name is nobody else's
        (KNOWN + ", allow: [127.0.0.0/8]", "gw2", "127.0.0.8", True),
    ],
)
def test_who_may_register_as_gateway(write: Write, gateways: str, mid: str, address: str, admitted: bool) -> None:
    config = load_config(write(GOOD.replace("embedded: true", gateways)))
    assert config.gateways.admits(mid, address) is admitted


def test_a_gateway_on_its_own(write: Write) -> None:
    path = write(
        "controllers: [192.0.2.1, '[2001:db8::1]:2950']\n"
        "realms: {access: {addresses: ['::1', 127.0.0.1], ports: 2000-2999}}\n"
    )
    gateway = load_gateway(path, ["iq.port=2946"])
    assert gateway.controllers == (Endpoint("192.0.2.1", 2944), Endpoint("2001:db8::1", 2950))
    assert gateway.own_mid == "[127.0.0.1]:2946"
    assert sum(map(len, gateway.realms["access"].ports)) == 1000


@pytest.mark.parametrize(
    ("realm", "line", "part", "hint"),
    [
        ("addresses: [192.0.2.1]\n    ports: [2000-2999, 2500-3999]", 3, "ports: 2000-2999 and 2500-3999 overlap", "2000-3999"),
        ("ports: 2000-2999\n    addresses:\n      - 192.0.2.1\n      - 0.0.0.0", 7, "a wildcard cannot stand", "peers reach"),
        ("ports: 2000-2999\n    addresses:\n      - 192.0.2.1\n      - ff02::1", 7, "multicast", "of this host"),
        ("ports: 2000-2999\n    addresses:\n      - 192.0.2.300", 6, "not an IP address", "write an IPv4 or IPv6 address"),
        ("addresses: 192.0.2.1\n    ports:\n      - 2000-2999\n      - 3000", 7, "must be text", "quotes"),
        ("addresses: 192.0.2.1\n    ports: []", 5, "must not be empty", "at least one"),
    ],
)
def test_a_realm_of_media(write: Write, realm: str, line: int, part: str, hint: str) -> None:
    path = write(f"controllers: [192.0.2.1]\nrealms:\n  access:\n    {realm}\n")
    with pytest.raises(ConfigErrors) as raised:
        load_gateway(path)
    [error] = raised.value.errors
    assert error.line == line
    assert part in str(error)
    assert hint in error.hint


def test_lists_of_media_addresses_and_ports(write: Write) -> None:
    path = write(
        "controllers: [192.0.2.1]\n"
        "realms: {access: {addresses: [192.0.2.1, 192.0.2.2, '2001:db8::1'], ports: [2000-2999, 4000-4999]}}\n"
    )
    assert load_gateway(path).realms["access"].ports == (PortRange(2000, 2999), PortRange(4000, 4999))


def test_a_gateway_on_any_port_needs_a_name(write: Write) -> None:
    path = write("controllers: [192.0.2.1]\nrealms: {access: {addresses: [127.0.0.1], ports: 2000-2999}}\n")
    with pytest.raises(ConfigErrors, match="needs an mId"):
        load_gateway(path, ["iq.port=0"])
    assert load_gateway(path, ["iq.port=0", "mid=gw1"]).own_mid == "gw1"
