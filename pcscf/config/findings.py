"""What is wrong between blocks of a configuration that are each right by themselves, and what deserves a warning."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from pcscf.config.gateway import OwnCertificates
from pcscf.config.iq import IqTransport, kernel_has_sctp
from pcscf.config.model import AccessRealm, Config, CoreRealm


class Finding(NamedTuple):
    """`path` names the value as in the file; `what` is wrong; `hint` says what to write instead."""

    path: tuple[str | int, ...]
    what: str
    hint: str


def contradictions(config: Config) -> Iterator[Finding]:
    """Everything that keeps the configuration from working."""
    yield from _listeners(config)
    yield from _realms(config)
    yield from _gateways(config)
    yield from _http(config)
    for index, rule in enumerate(config.policies):
        for realm in rule.match.realm or ():
            if realm not in config.access_realms:
                known = ", ".join(config.access_realms)
                yield Finding(
                    ("policies", index, "match", "realm"),
                    f"{realm!r} is not an access realm",
                    f"access realms are: {known}",
                )


def missing_transports(transports: Collection[IqTransport], path: tuple[str, ...]) -> Iterator[Finding]:
    """Of Iq, in the kernel of this machine; `path`: of their key."""
    if "sctp" in transports and not kernel_has_sctp():
        yield Finding(path, "the kernel of this machine has no SCTP", "load it (`modprobe sctp`), or write udp, tcp or tls")


def missing_files(config: Config) -> Iterator[Finding]:
    """Files that the configuration names and that are not there."""
    for name, listener in config.listeners.items():
        for key, file in (("certificate", listener.certificate), ("key", listener.key)):
            if isinstance(file, Path) and not file.is_file():
                yield Finding(("listeners", name, key), f"there is no file {file}", "write the path of a PEM file")
    tls = config.gateways.iq.tls
    if tls is not None:
        for key, file in (("ca", tls.ca), ("certificate", tls.certificate), ("key", tls.key)):
            if file is not None and not file.is_file():
                yield Finding(("gateways", "iq", "tls", key), f"there is no file {file}", "write the path of a PEM file")


    yield from missing_certificates(config.gateways.embedded.certificates, ("gateways", "embedded", "certificates"))


def missing_certificates(given: OwnCertificates, path: tuple[str, ...]) -> Iterator[Finding]:
    """Of a gateway's own certificates; `path`: of their block."""
    for index, each in enumerate(given.files):
        for key, file in (("certificate", each.certificate), ("key", each.key)):
            if file is not None and not file.is_file():
                yield Finding((*path, "files", index, key), f"there is no file {file}", "write the path of a PEM file")


def warnings(config: Config) -> Iterator[Finding]:
    """What works, but is likely not meant, or weakens protection."""
    for name, listener in config.listeners.items():
        path = ("listeners", name, "announce")
        access = isinstance(config.realms[listener.realm], AccessRealm)
        if access and listener.announce == "always" and listener.transport != "tls":
            yield Finding(
                path,
                "media security is announced over signalling that nobody vouches for: whoever changes a message "
                "changes the fingerprint",
                "use tls, or `announce: trusted` when the access network itself protects signalling",
            )
        if not access and listener.announce != "protected":
            yield Finding(path, "has no effect on the core side", "remove it")
        if listener.certificate == "lab":
            yield Finding(
                ("listeners", name, "certificate"),
                "a lab certificate is for trials: no UE can check it",
                "name a certificate file",
            )
    for index, rule in enumerate(config.policies[:-1]):
        if not rule.match.model_fields_set:
            yield Finding(
                ("policies", index), "matches everything, so the policies below are never used", "move it to the end"
            )


def _listeners(config: Config) -> Iterator[Finding]:
    taken: dict[tuple[str, str, int], str] = {}
    for name, listener in config.listeners.items():
        if listener.realm not in config.realms:
            known = ", ".join(config.realms)
            yield Finding(("listeners", name, "realm"), f"there is no realm {listener.realm!r}", f"realms are: {known}")
        elif listener.transport == "tls" and isinstance(config.realms[listener.realm], CoreRealm):
            yield Finding(
                ("listeners", name, "transport"), "tls towards the core is not supported yet", "write udp or tcp"
            )
        socket = ("udp" if listener.transport == "udp" else "tcp", listener.address, listener.port)
        other = taken.setdefault(socket, name)
        if other != name and listener.port:
            yield Finding(
                ("listeners", name, "port"),
                f"{listener.address} port {listener.port} is already taken by listener {other}",
                "choose another port or address",
            )


def _realms(config: Config) -> Iterator[Finding]:
    cores = [name for name, realm in config.realms.items() if isinstance(realm, CoreRealm)]
    if not cores:
        yield Finding(("realms",), "no realm has `side: core`", 'add one with `side: core` and `next_hop: "sip:…"`')
    for name in cores[1:]:
        yield Finding(
            ("realms", name, "side"),
            f"is the second core realm after {cores[0]}",
            "keep one; access realms may be many",
        )
    if not config.access_realms:
        yield Finding(("realms",), "no realm has `side: access`", "add one with `side: access`")
    for name, realm in config.realms.items():
        listeners = config.listeners_of(name).values()
        if not listeners:
            yield Finding(("realms", name), "no listener serves this realm", f"add a listener with `realm: {name}`")
        elif isinstance(realm, CoreRealm):
            family = ip_address(realm.next_hop.host).version
            wanted = realm.next_hop.transport or "udp"
            if not any(each.transport == wanted and ip_address(each.address).version == family for each in listeners):
                yield Finding(
                    ("realms", name, "next_hop"),
                    f"no {wanted} listener over IPv{family} in this realm can reach the next hop",
                    f"add a {wanted} listener with an IPv{family} address to realm {name}",
                )


def _http(config: Config) -> Iterator[Finding]:
    """Status over HTTP, where something else of this process or its children is to listen."""
    http, embedded = config.http, config.gateways.embedded
    if not http.port:
        return
    taken = {
        (each.address, each.port): f"listener {name}" for name, each in config.listeners.items() if each.transport != "udp"}
    if embedded.enabled and embedded.http.port:
        taken |= {
            (embedded.http.address, embedded.http.port + number): "an embedded gateway (gateways.embedded.http)"
            for number in range(embedded.workers)}
    if (http.address, http.port) in taken:
        who = taken[http.address, http.port]
        yield Finding(("http", "port"), f"{http.address} port {http.port} is already taken by {who}", "choose another port")


def _gateways(config: Config) -> Iterator[Finding]:
    gateways = config.gateways
    embedded = gateways.embedded
    path: tuple[str | int, ...] = ("gateways", "embedded")
    yield from _known_gateways(config)
    if not embedded.enabled:
        if not gateways.allow and not gateways.known:
            yield Finding(
                ("gateways",),
                "no gateway could ever register: there is no embedded one, and `allow` and `known` are empty",
                "write `embedded: true`, or list the gateways in `known`, or their addresses in `allow`",
            )
        return
    if embedded.address and ip_address(embedded.address).version != ip_address(gateways.iq.address).version:
        yield Finding(
            (*path, "address"), f"cannot reach Iq at {gateways.iq.address}", "use addresses of the same family"
        )
    for name in embedded.media:
        if name not in config.realms:
            known = ", ".join(config.realms)
            yield Finding((*path, "media", name), f"there is no realm {name!r}", f"realms are: {known}")
    for name in config.realms:
        if name in embedded.media:
            continue
        if any(ip_address(each.address).is_unspecified for each in config.listeners_of(name).values()):
            yield Finding(
                (*path, "media"),
                f"realm {name} listens on every address, so its media addresses must be named",
                f"add `{name}: {{addresses: […], ports: FIRST-LAST}}`",
            )


def _known_gateways(config: Config) -> Iterator[Finding]:
    gateways = config.gateways
    family = ip_address(gateways.iq.address).version
    seen = {gateways.embedded_mid.lower(): "the embedded gateway"} if gateways.embedded.enabled else {}
    for number, known in enumerate(gateways.known):
        path: tuple[str | int, ...] = ("gateways", "known", number)
        if known.mid.lower() in seen:
            yield Finding(
                (*path, "mid"), f"{known.mid} is {seen[known.mid.lower()]} already", "give every gateway an mId of its own"
            )
        seen[known.mid.lower()] = f"gateways.known.{number}"
        if ip_address(known.address.host).version != family:
            yield Finding(
                (*path, "address"), f"cannot be reached from Iq at {gateways.iq.address}", "use addresses of the same family"
            )
        for realm in known.realms:
            if realm not in config.realms:
                yield Finding((*path, "realms"), f"there is no realm {realm!r}", f"realms are: {', '.join(config.realms)}")
    successor = gateways.successor
    if successor is not None and tuple(successor) == (gateways.iq.address, gateways.iq.port):
        yield Finding(("gateways", "successor"), "is our own Iq address", "name another controller, or remove it")
    if gateways.known and not gateways.embedded.enabled and all(known.drain for known in gateways.known) and not gateways.allow:
        yield Finding(("gateways", "known"), "every gateway is drained: no session could begin", "leave one with `drain: false`")
