"""`pcscf lab`: a SIP core, a party and a UE as processes of their own, to try a P-CSCF with, by MSRP, BFCP or T.38.

Each tells what happens to it as one JSON object per line on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pcscf.cli.service import serve
from pcscf.errors import ConfigError, PcscfError
from pcscf.lab import tls
from pcscf.lab.call import Call, Habits, Manners
from pcscf.lab.core import Core, CoreConfig
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.net import Target, host_port, target_of
from pcscf.lab.party import Party
from pcscf.lab.tap import NoTap, Tap
from pcscf.lab.ue import MEDIA_MECHANISMS, Account, SecurityHabits, Ue
from pcscf.lab.useragent import CallRefusedError, UserAgent, Witness
from pcscf.observe.trace import TraceWriter
from pcscf.sip.uri import Uri, parse_uri

app = typer.Typer(help="Far ends to try a P-CSCF with: a SIP core, a party behind it, a UE.", no_args_is_help=True)

LAB_WORD = "secret"   # the lab keeps no secrets: whoever reads this may register

Host = Annotated[str, typer.Option(metavar="ADDRESS", help="The IP address to use.")]
Port = Annotated[int, typer.Option(help="SIP port, UDP and TCP; 0 takes a free one.")]
Trace = Annotated[Path | None, typer.Option("--trace", metavar="FILE", help="Writes every message to this file.")]
Whom = Annotated[str, typer.Option("--call", metavar="SIP-URI", help="Whom to call; it ends after the call.")]
Say = Annotated[list[str] | None, typer.Option(help="A message to send; may be repeated.")]
Replies = Annotated[int, typer.Option(help="Messages to wait for before hanging up.")]
Stay = Annotated[bool, typer.Option("--stay", help="Leave hanging up to the other side.")]
Reply = Annotated[str, typer.Option(help="Answers every message of calls that come in; {text} stands for it.")]
Patience = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for replies, and for the end.")]


class Setup(StrEnum):
    ACTIVE = "active"
    PASSIVE = "passive"


class OfferedSetup(StrEnum):
    ACTIVE = "active"
    PASSIVE = "passive"
    ACTPASS = "actpass"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Talk:
    """What is said in a call of ours; `stay` leaves hanging up to the other side."""

    say: list[str]
    replies: int
    stay: bool
    patience: float
    cancel_after: float | None = None


class Kind(StrEnum):
    MSRP = "msrp"
    BFCP = "bfcp"
    T38 = "t38"


class FloorControl(StrEnum):
    CLIENT = "c-only"
    SERVER = "s-only"


Medium = Annotated[Kind, typer.Option("--medium", help="What its calls carry: messages, floor requests, or fax pages.")]
FloorRole = Annotated[FloorControl, typer.Option("--floorctrl", help="Of BFCP: what it offers to be.")]


class Lines(StrEnum):
    ONE = "one"
    SEVERAL = "several"


class Verify(StrEnum):
    MIRROR = "mirror"
    OMIT = "omit"
    ALTER = "alter"


@app.command()
def core(
    users: Annotated[list[str], typer.Option("--user", metavar="NAME:PASSWORD", help="A user; may be repeated.")],
    parties: Annotated[
        list[str] | None, typer.Option("--party", metavar="NAME=SIP-URI", help="Where calls to NAME go; may be repeated.")
    ] = None,
    domain: Annotated[str, typer.Option(help="Home domain.")] = "ims.example",
    host: Host = "127.0.0.1",
    port: Port = 5080,
    algorithm: Annotated[str, typer.Option(help="Digest algorithm: MD5 or SHA-256.")] = "MD5",
    need_path: Annotated[bool, typer.Option(help="Refuse a REGISTER that came through no proxy.")] = True,
    trace: Trace = None,
) -> None:
    """A registrar with digest, and a proxy."""
    config = CoreConfig(domain, _pairs(users, ":"), _pairs(parties or [], "="), need_path, algorithm)

    async def run() -> None:
        with _tap(trace, "core") as tap:
            element = Core(config, tap, host=host)
            address = await element.start(port)
            try:
                tell("ready", address=host_port(address))
                await asyncio.Event().wait()
            finally:
                await element.close()

    serve(run())


@app.command()
def party(
    uri: Annotated[str, typer.Option(metavar="SIP-URI", help="Who it is.")] = "sip:bob@ims.example",
    host: Host = "127.0.0.1",
    port: Port = 5090,
    core: Annotated[str, typer.Option(metavar="SIP-URI", help="Where its own calls go.")] = "sip:127.0.0.1:5080",
    setup: Annotated[Setup, typer.Option(help="What it answers where the offer leaves the choice.")] = Setup.PASSIVE,
    cema: Annotated[bool, typer.Option(help="Speak CEMA (RFC 6714).")] = True,
    medium: Medium = Kind.MSRP,
    floorctrl: FloorRole = FloorControl.SERVER,
    secure: Annotated[
        bool, typer.Option("--tls/--plain", help="Have a certificate, and offer media over TLS (fax: DTLS) from end to end.")
    ] = False,
    offered: Annotated[
        OfferedSetup | None, typer.Option("--offer-setup", help="a=setup of its offers; as for the UE by itself.")
    ] = None,
    reject: Annotated[int, typer.Option(metavar="STATUS", help="Refuse every call; 0 answers.")] = 0,
    ring: Annotated[bool, typer.Option("--ring", help="Send 180 before the answer.")] = False,
    delay: Annotated[float, typer.Option(metavar="SECONDS", help="Wait before the answer.")] = 0.0,
    reply: Reply = "",
    hang_up_after: Annotated[int, typer.Option(metavar="MESSAGES", help="Send BYE after so many; 0 never.")] = 0,
    call: Whom = "",
    say: Say = None,
    replies: Replies = 0,
    stay: Stay = False,
    patience: Patience = 10.0,
    trace: Trace = None,
) -> None:
    """A user behind the core, whose media are in the clear by itself."""
    manners = Manners(reject, ring, delay, reply, hang_up_after)
    talk = Talk(say or [], replies, stay, patience)
    habits = Habits(
        secure=secure, setup=_setup(offered, medium), choice=setup.value, cema=cema,
        identity=tls.self_signed(uri) if secure else None, medium=medium.value, floorctrl=floorctrl.value,
    )

    async def run() -> None:
        with _tap(trace, "party") as tap:
            element = Party(
                uri, target(core), tap, habits=habits, manners=manners, host=host, witness=_Teller(),
            )
            address = await element.start(port)
            try:
                tell("ready", address=host_port(address))
                if call:
                    await _converse(element, call, element.core_uri, talk)
                else:
                    await asyncio.Event().wait()
            finally:
                await element.close()

    _run(run())


@app.command()
def ue(
    proxy: Annotated[str, typer.Option(metavar="SIP-URI", help="The P-CSCF.")] = "sip:127.0.0.1:5061;transport=tls",
    user: Annotated[str, typer.Option(help="User name.")] = "alice",
    password: Annotated[str, typer.Option(envvar="PCSCF_LAB_PASSWORD", help="Its password.")] = LAB_WORD,
    domain: Annotated[str, typer.Option(help="Home domain.")] = "ims.example",
    host: Host = "127.0.0.1",
    mechanisms: Annotated[
        list[str] | None, typer.Option("--mechanism", help="A mediasec entry of Security-Client, or none; may be repeated.")
    ] = None,
    security_lines: Annotated[Lines, typer.Option(help="Security-Client in one line or in several.")] = Lines.SEVERAL,
    security_verify: Annotated[Verify, typer.Option(help="Mirror the list, or be at fault.")] = Verify.MIRROR,
    call: Whom = "",
    say: Say = None,
    replies: Replies = 0,
    stay: Stay = False,
    answer: Annotated[int, typer.Option(metavar="CALLS", help="Wait for calls and answer so many before it ends.")] = 0,
    reply: Reply = "",
    medium: Medium = Kind.MSRP,
    floorctrl: FloorRole = FloorControl.CLIENT,
    setup: Annotated[
        OfferedSetup | None, typer.Option(help="a=setup of the offer; by itself actpass for T.38, active otherwise.")
    ] = None,
    secure: Annotated[bool, typer.Option("--tls/--plain", help="Offer media over TLS (fax: DTLS), or in the clear.")] = True,
    to_edge: Annotated[
        bool, typer.Option("--to-edge/--end-to-end", help="Ask that TLS ends at the network's edge, or leave it to the far end.")
    ] = True,
    cema: Annotated[bool, typer.Option(help="Speak CEMA (RFC 6714).")] = True,
    wrong_certificate: Annotated[
        bool, typer.Option("--wrong-certificate", help="Show a certificate that the fingerprint in the SDP does not name.")
    ] = False,
    cancel_after: Annotated[float | None, typer.Option(metavar="SECONDS", help="Give the call up with CANCEL.")] = None,
    patience: Patience = 10.0,
    trust: Annotated[Path | None, typer.Option(metavar="FILE", help="CA of the P-CSCF; none: any certificate.")] = None,
    deregister: Annotated[bool, typer.Option(help="Deregister at the end.")] = True,
    trace: Trace = None,
    trace_as: Annotated[str, typer.Option(metavar="NAME", help="Its name in the trace; ue2 where it is the second one.")] = "ue",
) -> None:
    """A UE: registers, calls if told whom, and answers calls if told how many."""
    identity = tls.self_signed(f"{user}@{domain}") if secure else None
    habits = Habits(
        secure=secure, setup=_setup(setup, medium), choice="active" if secure else "passive",
        cema=cema, identity=tls.self_signed("somebody else") if wrong_certificate else identity, announced=identity,
        e2ae="requested" if secure and to_edge else "", medium=medium.value, floorctrl=floorctrl.value,
    )
    known = tuple(name for name in mechanisms if name != "none") if mechanisms else MEDIA_MECHANISMS
    security = SecurityHabits(known, security_lines.value, security_verify.value)
    talk = Talk(say or [], replies, stay, patience, cancel_after)
    where = target(proxy)

    async def run() -> None:
        teller = _Teller()
        with _tap(trace, trace_as) as tap:
            context = tls.client_context(trust=trust) if where.transport == "tls" else None
            element = Ue(
                Account(user, password, domain, where), habits, tap, security=security, tls=context, host=host,
                manners=Manners(reply=reply), witness=teller,
            )
            try:
                await _register(element)
                if call:
                    await _converse(element, call, element.proxy_uri, talk)
                await teller.wait_for(answer)
                if deregister:
                    await element.deregister()
            finally:
                await element.close()

    _run(run())


def _setup(told: OfferedSetup | None, medium: Kind) -> str:
    """Of our offers. RFC 8842 §5.2 has DTLS offered with actpass."""
    setup = told or (OfferedSetup.ACTPASS if medium is Kind.T38 else OfferedSetup.ACTIVE)
    return "" if setup is OfferedSetup.NONE else setup.value


class _Teller(Witness):
    """Tells about calls that come in."""

    def __init__(self) -> None:
        self._over: asyncio.Queue[Call] = asyncio.Queue()

    def answered(self, call: Call) -> None:
        tell("answered", call_id=call.dialog.call_id)

    def connected(self, call: Call) -> None:
        _tell_media(call)

    def received(self, call: Call, text: str) -> None:
        tell("received", call_id=call.dialog.call_id, text=text)

    def ended(self, call: Call) -> None:
        _tell_end(call)
        self._over.put_nowait(call)

    async def wait_for(self, calls: int) -> None:
        """Wait until so many are over."""
        for _ in range(calls):
            await self._over.get()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run as a process; an error is told, and ends it with status 1."""
    try:
        serve(work)
    except PcscfError as error:
        tell("failed", what=str(error))
        raise typer.Exit(1) from None


async def _register(element: Ue) -> None:
    await element.start()
    registration = await element.register()
    tell(
        "registered", expires=registration.expires, service_route=registration.service_route,
        associated_uris=registration.associated_uris, security_server=registration.security_server,
    )


async def _converse(element: UserAgent, whom: str, next_hop: Uri, talk: Talk) -> None:
    """Call, speak, listen, and end. Raises PcscfError where the call or its media fail."""
    try:
        call = await element.call(whom, next_hop, cancel_after=talk.cancel_after)
    except CallRefusedError as error:
        tell("refused", call_id=error.call_id, status=error.status, warning=error.warning)
        raise
    tell("answered", call_id=call.dialog.call_id)
    try:
        async with asyncio.timeout(talk.patience):
            await _speak(call, talk)
            if talk.stay:
                await call.ended.wait()
    except (MediaFailedError, TimeoutError) as error:
        tell("media-failed", call_id=call.dialog.call_id, what=str(error) or "no reply in time")
        await _await_end(call, talk.patience)
        raise MediaFailedError(str(error) or "no reply in time") from error
    finally:
        await call.hang_up()
        _tell_end(call)


async def _speak(call: Call, talk: Talk) -> None:
    await call.session()
    _tell_media(call)
    for text in talk.say:
        await call.send_text(text)
        tell("sent", call_id=call.dialog.call_id, text=text)
    for _ in range(talk.replies):
        tell("received", call_id=call.dialog.call_id, text=await call.receive_text())


async def _await_end(call: Call, patience: float) -> None:
    """Give the network the chance to release the call itself."""
    try:
        async with asyncio.timeout(patience):
            await call.ended.wait()
    except TimeoutError:
        return


def _tell_media(call: Call) -> None:
    facts = {} if call.tls is None else {
        "version": call.tls.version, "cipher": call.tls.cipher, "fingerprint": call.tls.peer_fingerprint,
    }
    own = " ".join(call.local.fingerprints[0]) if call.local.fingerprints else ""
    tell("media", call_id=call.dialog.call_id, tls=facts, own_fingerprint=own)


def _tell_end(call: Call) -> None:
    tell("ended", call_id=call.dialog.call_id, by=call.ended_by, reason=call.reason)


def tell(event: str, **facts: object) -> None:
    """One JSON line on standard output."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def target(text: str) -> Target:
    """Where a SIP URI leads. Raises ConfigError."""
    try:
        return target_of(parse_uri(text).require_sip())
    except PcscfError as error:
        raise ConfigError(f"{text!r} is not a SIP URI", hint="write sip:ADDRESS:PORT;transport=udp|tcp|tls") from error


def _pairs(texts: list[str], separator: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, found, value = text.partition(separator)
        if not (name and found):
            raise ConfigError(f"{text!r} has no {separator!r} in it", hint=f"write NAME{separator}VALUE")
        pairs[name] = value
    return pairs


@contextmanager
def _tap(trace: Path | None, node: str) -> Iterator[Tap]:
    if trace is None:
        yield NoTap()
        return
    writer = TraceWriter(trace, node)
    try:
        yield writer
    finally:
        writer.close()
