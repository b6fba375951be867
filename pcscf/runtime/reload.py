"""SIGHUP: what a running P-CSCF reads anew. Whatever cannot be used leaves everything as it was, and is told with file and line.

    policies                    at once for registrations that stand; a session keeps those with which it began
    certificates of listeners   for connections from now on
    the files of TLS on Iq      for connections from now on
    everything else             needs a restart, which is told where it differs
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

import structlog

from pcscf.config.load import ConfigErrors
from pcscf.config.model import Config
from pcscf.config.resolve import weakest_hash
from pcscf.config.rules import PolicyRule
from pcscf.errors import ConfigError
from pcscf.runtime.iq import Gateways
from pcscf.runtime.net import Socket
from pcscf.runtime.tls import renew_context

Reread: TypeAlias = Callable[[], Config]
"""The configuration as it stands in its file now. Raises ConfigErrors."""

log = structlog.get_logger()


class Policies:
    """The rules that hold now, in order; replaced as a whole."""

    def __init__(self, rules: tuple[PolicyRule, ...]) -> None:
        self.rules = rules


async def reload_policies(running: Config, policies: Policies, reread: Reread) -> bool:
    """Whether other rules hold now than before."""
    try:
        fresh = await asyncio.to_thread(reread)
    except ConfigErrors as errors:
        for error in errors.errors:
            log.warning("configuration not read again", file=error.file, line=error.line, why=error.what, hint=error.hint)
        return False
    if fresh.access_realms.keys() != running.access_realms.keys():   # then a rule may mean a realm that does not run here
        log.warning("configuration not read again", why="it has other access realms", hint="restart")
        return False
    waiting = [name for name in Config.model_fields if name != "policies" and getattr(fresh, name) != getattr(running, name)]
    if waiting:
        log.warning("needs a restart", changed=waiting)
    if weakest_hash(fresh.policies) != weakest_hash(running.policies) and running.gateways.embedded.enabled:
        log.warning("the embedded gateway keeps its weakest hash", hint="restart for another min_hash")
    changed, policies.rules = policies.rules != fresh.policies, fresh.policies
    log.info("policies read", rules=len(fresh.policies), changed=changed)
    return changed


async def renew_listeners(running: Config, sockets: Iterable[Socket]) -> None:
    """Each listener's certificate as its files have it now; one that cannot be used leaves its listener as it is."""
    for socket in sockets:
        listener = running.listeners[socket.name]
        if socket.tls is None or listener.certificate is None or listener.certificate == "lab":
            continue
        try:
            await asyncio.to_thread(renew_context, socket.tls, listener.certificate, listener.key, socket.host)
        except ConfigError as error:
            log.warning("certificate not renewed", listener=socket.name, file=error.file, why=error.what, hint=error.hint)
        else:
            log.info("certificate renewed", listener=socket.name)


async def renew_iq(running: Config, gateways: Gateways) -> None:
    """What Iq shows, and whom it believes, as the files have it now; those that cannot be used leave it as it is."""
    if "tls" not in running.iq.transport:
        return
    try:
        await gateways.renew_certificates()
    except ConfigError as error:
        log.warning("certificate not renewed", listener="Iq", file=error.file, why=error.what, hint=error.hint)
    else:
        log.info("certificate renewed", listener="Iq")
