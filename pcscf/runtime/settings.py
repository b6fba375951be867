"""From the configuration to what the parts need: who we are, our sockets, our timers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pcscf.config.fleet import KnownGateway
from pcscf.config.gateway import GatewayFile
from pcscf.config.model import AccessRealm, Config
from pcscf.config.policy import MediaPolicy
from pcscf.config.resolve import resolve
from pcscf.config.values import Endpoint, NextHop
from pcscf.config.workers import as_written, workers_of
from pcscf.iq.association import Heartbeat, Traits
from pcscf.iq.operations import Limits as IqLimits
from pcscf.iq.supervision import Supervision
from pcscf.procedures.site import Deadlines, Expiry, Interface, Limits, Reactions, Side, Site
from pcscf.runtime.embedded import EmbeddedGateway, RestartPolicy, gateway_file, reachable
from pcscf.runtime.iq import IqConfig
from pcscf.runtime.net import NetLimits, Socket
from pcscf.runtime.reload import Policies
from pcscf.runtime.timers import h248_timers
from pcscf.runtime.tls import iq_files, server_context
from pcscf.sip.flow import Destination, Flow
from pcscf.sip.transaction import Timers


def sockets(config: Config) -> list[Socket]:
    """The listeners to be opened. Raises ConfigError for a certificate that cannot be used."""
    return [
        Socket(
            name, each.realm, each.transport, each.address, each.port, each.host,
            server_context(each.certificate, each.key, each.host) if each.certificate is not None else None)
        for name, each in config.listeners.items()
    ]


def net_limits(config: Config) -> NetLimits:
    limits, timers = config.limits, config.timers
    return NetLimits(
        message_size=limits.message_size, connections=limits.connections,
        connections_per_address=limits.connections_per_address, connect=timers.connect, tls_handshake=timers.tls_handshake,
        idle=timers.idle_connection)


def site(config: Config, bound: Mapping[str, Socket], policies: Policies) -> Site:
    """Our place in the network, with the ports that were really bound, and the policies that hold whenever they are asked for."""
    interfaces = {name: _interface(config, socket) for name, socket in bound.items()}
    return Site(
        name=config.name, network=config.visited_network, interfaces=interfaces,
        core_realm=config.core_name, core_hop=hop_uri(config.core.next_hop), policy=_policy(config, policies),
        deadlines=Deadlines(
            challenge=config.registration.challenge, ack=config.timers.ack, session=config.timers.session,
            tombstone=config.timers.tombstone, connection=config.gateways.supervision.tcp_wait),
        expiry=Expiry(config.registration.min_expiry, config.registration.max_expiry, config.registration.grace),
        limits=Limits(
            bindings=config.limits.registrations, sessions=config.limits.sessions,
            bindings_per_flow=config.limits.registrations_per_flow),
        addresses=frozenset((each.host, each.port) for each in interfaces.values()),
        reactions=Reactions(
            closed=config.gateways.supervision.on_close, silent=config.gateways.supervision.on_media_inactivity),
    )


def hop_uri(hop: NextHop) -> str:
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return f"sip:{host}:{hop.port}" + (f";transport={hop.transport}" if hop.transport else "")


def timers_for(config: Config) -> Callable[[Destination], Timers]:
    """The timers of a transaction by where its peer is: slower ones towards UEs (TS 24.229 Table 7.7)."""
    by_realm = {
        name: Timers(t1=realm.timers.t1, t2=realm.timers.t2, t4=realm.timers.t4, c=config.timers.invite)
        for name, realm in config.realms.items()
    }
    by_listener = {name: by_realm[listener.realm] for name, listener in config.listeners.items()}

    def choose(destination: Destination) -> Timers:
        return by_listener[destination.listener] if isinstance(destination, Flow) else by_realm[destination.realm]

    return choose


def iq(config: Config) -> IqConfig:
    """Our end of Iq."""
    gateways = config.gateways
    beat = gateways.heartbeat
    return IqConfig(
        bind=(gateways.iq.address, gateways.iq.port), admits=gateways.admits, mid=gateways.iq.mid or "",
        kinds=gateways.iq.transport, tls=iq_files(gateways.iq.tls), datagrams_from=gateways.datagrams_from,
        timers=h248_timers(gateways.timers),
        heartbeat=Heartbeat(beat.interval, beat.lost_after, gateways.supervision.compare, beat.silence),
        limits=IqLimits(
            deadline=config.timers.iq_reply, attempt=gateways.attempt, patience=gateways.patience,
            profiles=frozenset(each.lower() for each in gateways.profiles)),
        restore=tuple((each.address.host, each.address.port) for each in gateways.known),
        traits={each.mid.lower(): _traits(each) for each in gateways.known},
        supervision=Supervision(
            gateways.supervision.hanging, tuple(sorted(gateways.supervision.media_inactivity.items())),
            begins_tls=gateways.supervision.tls_start == "controller", tcp_start=gateways.supervision.tcp_start))


def _traits(known: KnownGateway) -> Traits:
    realms = frozenset(each.lower() for each in known.realms) or None
    return Traits(weight=known.weight, realms=realms, drains=known.drain)


def embedded(
    config: Config, iq_address: tuple[str, int], arguments: Sequence[str], on_death: Callable[[str], None],
) -> list[EmbeddedGateway]:
    """The gateways that are our children. `iq_address`: where our end of Iq was really bound. `on_death`: called with the mId
    of one that was found dead.
    """
    content = gateway_file(config) | {"controllers": [str(Endpoint(reachable(iq_address[0]), iq_address[1]))]}
    settings = config.gateways.embedded
    restart = RestartPolicy(settings.restart_after, settings.restart_after_max)
    return [
        EmbeddedGateway(as_written(each), restart=restart, arguments=arguments, on_death=partial(on_death, each.own_mid))
        for each in workers_of(GatewayFile.model_validate(content))
    ]


def _interface(config: Config, socket: Socket) -> Interface:
    listener, realm = config.listeners[socket.name], config.realms[socket.realm]
    announced = realm.mechanisms if isinstance(realm, AccessRealm) and listener.announces else ()
    return Interface(socket.name, Side(realm.side), socket.realm, socket.transport, socket.host, socket.port, tuple(announced))


def _policy(config: Config, policies: Policies) -> Callable[[Interface, str, str], MediaPolicy]:
    def policy(interface: Interface, identity: str, user_agent: str) -> MediaPolicy:
        access = config.listeners[interface.name].transport
        return resolve(policies.rules, realm=interface.realm, access=access, identities=(identity,), user_agent=user_agent)

    return policy
