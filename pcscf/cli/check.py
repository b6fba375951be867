"""`pcscf check`: what a configuration says, or everything that is wrong with it."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from pcscf.cli.options import ConfigFile, Overrides
from pcscf.cli.report import show_errors, show_warnings
from pcscf.config.load import ConfigErrors, check_config
from pcscf.config.model import AccessRealm, Config, Realm
from pcscf.config.rules import Match
from pcscf.config.values import Endpoint


def check(file: ConfigFile, overrides: Overrides = None) -> None:
    """Check FILE without running anything. Exit status: 0 it can run, 1 it cannot."""
    try:
        config, warnings = check_config(file, overrides or [])
    except ConfigErrors as errors:
        show_errors(errors)
        raise typer.Exit(1) from None
    show_warnings(warnings)
    _summary(config, Console(soft_wrap=True, highlight=False))


def _summary(config: Config, console: Console) -> None:
    console.print(f"OK: {config.name}, P-CSCF of {config.home_domain}", style="green")
    listeners = _table("listener", "realm", "transport", "address", "media security")
    for name, listener in config.listeners.items():
        realm = config.realms[listener.realm]
        where = str(Endpoint(listener.address, listener.port))
        announced = ", ".join(realm.mechanisms) if isinstance(realm, AccessRealm) and listener.announces else ""
        listeners.add_row(name, listener.realm, listener.transport, where, f"{announced or '–'}")
    console.print(listeners)
    realms = _table("realm", "side", "what")
    for name, realm in config.realms.items():
        realms.add_row(name, realm.side, _realm(realm))
    console.print(realms)
    console.print(_gateways(config))
    for number, rule in enumerate(config.policies):
        console.print(f"policy {number}: {_match(rule.match)}")
    if not config.policies:
        console.print("policies: none; every knob has its default")


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True
    return table


def _realm(realm: Realm) -> str:
    if isinstance(realm, AccessRealm):
        return f"announces {', '.join(realm.mechanisms) or 'nothing'}"
    hop = realm.next_hop
    return f"next hop {Endpoint(hop.host, hop.port)} {hop.transport or 'udp, tcp for large requests'}"


def _gateways(config: Config) -> str:
    iq = config.gateways.iq
    embedded = "an embedded gateway" if config.gateways.embedded.enabled else "no embedded gateway"
    allowed = ", ".join((*(known.mid for known in config.gateways.known), *config.gateways.allow)) or "nobody else"
    transports = ", ".join(iq.transport)
    return f"gateways: Iq at {Endpoint(iq.address, iq.port)} ({transports}); {embedded}; {allowed} may register"


def _match(match: Match) -> str:
    given = [(key, values) for key, values in match if values is not None]
    return "; ".join(f"{key} {', '.join(values)}" for key, values in given) or "everything"
