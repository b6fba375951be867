"""Our gateway, a real process, and a controller on Erlang/OTP's megaco: register, add, modify, subtract, notify, errors."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import (
    Action,
    Command,
    CommandName,
    ErrorDescriptor,
    ObservedEvents,
    Services,
    TransactionReply,
    TransactionRequest,
    same_name,
)
from pcscf.lab import tls
from tests.support.gatewaybed import add, local_of, modify, sdp
from tests.support.kamailio import free_port
from tests.support.megaco import OVER_SCTP, transport_of
from tests.support.peers import require_peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 20.0
LATE = "Not negotiated version: 1"   # a slow machine repeats the registration, and meets the version that its reply settled
IDENTITY = tls.self_signed("ue")
PRINT = " ".join(IDENTITY.fingerprint())


@pytest.fixture(scope="module")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_peer("erl", "erlc", "megaco")
    folder = tmp_path_factory.mktemp("beams")
    sources = [Path(__file__).parent / "erlang" / f"megaco_{each}.erl" for each in ("controller", "sctp")]
    subprocess.run(["erlc", "-Werror", "-o", folder, *sources], check=True)
    return folder


class Controller:
    """The Erlang controller, and the gateway process that registers with it."""

    def __init__(self) -> None:
        self.processes: list[asyncio.subprocess.Process] = []
        self.lines: list[str] = []

    async def open(self, beams: Path, folder: Path, encoding: str) -> None:
        port, transport = free_port(), transport_of(encoding)
        main = ("megaco_controller", "main", str(port), encoding.partition(" ")[0], transport)
        await self._start("erl", "-noshell", "-pa", str(beams), "-run", *main)
        await self.expect("open")
        file = folder / "gateway.json"
        place = {"addresses": ["127.0.0.1"], "ports": "36000-39999"}
        file.write_text(json.dumps({
            "mid": "[127.0.0.1]:2955", "iq": {"address": "127.0.0.1", "port": 0, "transport": transport},
            "controllers": [f"127.0.0.1:{port}"],
            "realms": {"access": place, "core": place}, "registration": {"wait": 0.05},
            "limits": {"contexts": 1},
        }))
        await self._start(sys.executable, "-m", "pcscf", "gateway", str(file))

    async def _start(self, *command: str) -> None:
        self.processes.append(await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE))

    async def expect(self, word: str) -> str:
        """What the next line with that word says; no complaint may come before it."""
        for line in self.lines:
            if line.partition(" ")[0] == word:
                self.lines.remove(line)
                return line.partition(" ")[2]
        output = self.processes[0].stdout
        assert output is not None
        async with asyncio.timeout(PATIENCE):
            while (line := (await output.readline()).decode().strip()).partition(" ")[0] != word:
                assert line, "Erlang ended"
                assert not line.startswith(("syntax", "refused", "failed", "=")) or LATE in line, line
                self.lines.append(line)
        return line.partition(" ")[2]

    async def requested(self, name: CommandName) -> Command:
        """The next request of the gateway: one command of that name."""
        message = decode_untrusted(b64decode(await self.expect("request")))
        [transaction] = message.transactions
        assert isinstance(transaction, TransactionRequest)
        [command] = [command for action in transaction.actions for command in action.commands]
        assert command.name is name
        return command

    def command(self, line: str) -> None:
        stdin = self.processes[0].stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())

    async def call(self, body: str) -> TransactionReply:
        """The reply to the request with this body."""
        [reply] = await self.calls(body)
        return reply

    async def calls(self, *bodies: str) -> list[TransactionReply]:
        """The replies to requests that go out in one message."""
        requests = "".join(f"Transaction={number}{{{body}}}" for number, body in enumerate(bodies, 1))
        self.command("call " + b64encode(f"MEGACO/2 [127.0.0.1]:1\n{requests}".encode()).decode())
        replies = []
        for _ in bodies:
            [reply] = decode_untrusted(b64decode(await self.expect("reply"))).transactions
            assert isinstance(reply, TransactionReply)
            replies.append(reply)
        return replies

    async def error(self, body: str) -> int:
        """The code that this request is refused with, at whatever level."""
        reply = await self.call(body)
        found = [reply.error, *(action.error for action in reply.actions)]
        found += [command.error for action in reply.actions for command in action.commands]
        [error] = [each for each in found if isinstance(each, ErrorDescriptor)]
        return error.code

    async def close(self) -> None:
        for process in reversed(self.processes):
            assert process.stdin is not None
            process.stdin.close()
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()


@pytest.fixture(scope="module", params=["compact", "pretty", "compact over TCP", "pretty over TCP", *OVER_SCTP])
def encoding(request: pytest.FixtureRequest) -> str:
    """How Erlang writes, and over UDP unless it is said; our gateway writes compact."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def erlang(beams: Path, encoding: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Controller]:
    """Both up, the gateway registered, with room for one context."""
    made = Controller()
    try:
        await made.open(beams, tmp_path_factory.mktemp(encoding), encoding)
        registration = await made.requested(CommandName.SERVICE_CHANGE)
        [services] = [each for each in registration.descriptors if isinstance(each, Services)]
        assert services.method.lower() == "restart"
        yield made
    finally:
        await made.close()


def reservation() -> str:
    """A session that the UE offered: TLS from the UE, TCP from the core."""
    access = add("access", ours="passive", theirs="active", fingerprints=[PRINT], secure=True)
    return f"Context=${{{access},{add('core', ours='passive', theirs='active')}}}"


@asynccontextmanager
async def session(erlang: Controller) -> AsyncIterator[tuple[Action, str, tuple[str, int], tuple[str, int]]]:
    """A reserved session: its reply, the gateway's fingerprint, and where access and core connect. It is released in the end."""
    reply = await erlang.call(reservation())
    assert reply.error is None
    [action] = reply.actions
    access, core = (local_of(action.context, command) for command in action.commands)
    try:
        yield action, access.fingerprint, access.address, core.address
    finally:
        assert (await erlang.call(f"Context={action.context}{{Subtract=*}}")).actions[0].error is None


@pytest.mark.interop("megaco", "as controller of our gateway: register, add, modify, subtract, audit, media; {encoding}")
async def test_a_session(erlang: Controller, encoding: str) -> None:
    async with session(erlang) as (action, own, access, core):
        name, _, value = own.partition(" ")
        reader, writer, facts = await tls.connect(*access, IDENTITY, ((name.lower(), value.upper()),))
        assert facts.version == "TLSv1.3"
        core_reader, core_writer = await asyncio.open_connection(*core)
        writer.write(b"from the ue\n")
        assert await asyncio.wait_for(core_reader.readline(), PATIENCE) == b"from the ue\n"
        core_writer.write(b"from the core\n")
        assert await asyncio.wait_for(reader.readline(), PATIENCE) == b"from the core\n"

        reply = await erlang.call(f"Context={action.context}{{{modify(action.commands[0].termination, mode='Inactive')}}}")
        assert reply.error is None
        assert [command.error for command in reply.actions[0].commands] == [None]
        reply = await erlang.call("Context=*{AuditValue=*{Audit{}}}")
        assert {each.context for each in reply.actions} == {action.context}
    assert await asyncio.wait_for(core_reader.read(), PATIENCE) == b"", "subtracted"
    assert await erlang.error(f"Context={action.context}{{Subtract=*}}") == 411
    writer.close()
    core_writer.close()


@pytest.mark.interop("megaco", "as controller of our gateway: Notify of a broken TLS session; {encoding}")
async def test_a_notification(erlang: Controller, encoding: str) -> None:
    async with session(erlang) as (action, _, access, _):
        stranger = tls.self_signed("stranger")
        _, writer = await asyncio.open_connection(*access, ssl=tls.client_context(stranger), server_hostname="")
        command = await erlang.requested(CommandName.NOTIFY)
        assert same_name(command.termination, action.commands[0].termination)
        [observed] = [each for each in command.descriptors if isinstance(each, ObservedEvents)]
        assert observed.request_id == 7
        causes = {one.name.lower(): one.value.text for event in observed.events for one in event.parameters}
        assert "fingerprint mismatch" in causes["failurecause"].lower()
        writer.transport.abort()


@pytest.mark.interop("megaco", "as controller of our gateway: told that TCP is up, begins TLS (EstBNC); {encoding}")
async def test_tls_begins_at_its_signal(erlang: Controller, encoding: str) -> None:
    far: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: far.put_nowait((reader, writer)), "127.0.0.1", 0, ssl=tls.server_context(IDENTITY))
    try:
        near = add("access", ours="active", theirs="passive", peer=server.sockets[0].getsockname()[:2], fingerprints=[PRINT],
                   secure=True, signals="tcpbcc/EstBNC{Stream=1}", events="tcpbcc/BNCChange,tlsbsc/BNCChange")
        reply = await erlang.call(f"Context=${{{near},{add('core', ours='passive', theirs='active')}}}")
        [action] = reply.actions
        ours = action.commands[0].termination
        assert [await up(erlang, ours), far.qsize()] == ["tcpbcc/bncchange", 0]
        await erlang.call(f"Context={action.context}{{{modify(ours, signals='tlsbsc/EstBNC{Stream=1}')}}}")
        assert await up(erlang, ours) == "tlsbsc/bncchange"
        _, writer = await asyncio.wait_for(far.get(), PATIENCE)
        writer.transport.abort()
        await erlang.call(f"Context={action.context}{{W-Subtract=*{{Audit{{}}}}}}")
    finally:
        server.close()


async def up(erlang: Controller, termination: str) -> str:
    """What is up, as the gateway tells it."""
    command = await erlang.requested(CommandName.NOTIFY)
    assert same_name(command.termination, termination)
    [observed] = [each for each in command.descriptors if isinstance(each, ObservedEvents)]
    [event] = observed.events
    assert {one.name.lower(): one.value.text.lower() for one in event.parameters} == {"stream": "1", "type": "est"}
    return event.name.lower()


@pytest.mark.interop("megaco", "as controller of our gateway: what cannot be is refused (411, 412, 430, 449); {encoding}")
async def test_refusals(erlang: Controller, encoding: str) -> None:
    remote = sdp(setup="active", address=("127.0.0.1", 9))
    assert await erlang.error(reservation().replace('"access"', '"nowhere"')) == 449, "no such realm"
    async with session(erlang) as (action, *_):
        assert await erlang.error(f"Context=77{{{modify('ip/1/1/1', remote=remote)}}}") == 411
        assert await erlang.error(f"Context={action.context}{{{modify('ip/9/9/9', remote=remote)}}}") == 430
        assert await erlang.error(reservation()) == 412, "it is full"
    async with session(erlang):
        pass   # there is room again


@pytest.mark.interop("megaco", "as controller of our gateway: optional commands, wildcarded responses, wildcards; {encoding}")
async def test_optional_commands_and_wildcards(erlang: Controller, encoding: str) -> None:
    reply = await erlang.call(reservation())
    [action] = reply.actions
    nowhere = modify("ip/9/9/9", mode="Inactive")
    whole = modify("*", mode="Inactive")
    reply = await erlang.call(f"Context={action.context}{{O-{nowhere},{whole},AuditValue=ip/*/*/*{{Audit{{}}}}}}")
    [reply_action] = reply.actions
    assert [command.error and command.error.code for command in reply_action.commands] == [430, None, None, None, None]
    assert {command.termination for command in reply_action.commands[1:]} == {each.termination for each in action.commands}
    reply = await erlang.call(f"Context={action.context}{{{nowhere},{whole}}}")
    assert [command.error and command.error.code for command in reply.actions[0].commands] == [430], "not optional: it ends there"
    reply = await erlang.call(f"Context={action.context}{{W-Subtract=*{{Audit{{}}}}}}")
    [command] = reply.actions[0].commands
    assert (command.name, command.termination, command.descriptors) == (CommandName.SUBTRACT, "*", ())


@pytest.mark.interop("megaco", "as controller of our gateway: several transactions in one message; {encoding}")
async def test_several_transactions_in_one_message(erlang: Controller, encoding: str) -> None:
    root = "Context=-{AuditValue=ROOT{Audit{Packages}}}"
    replies = await erlang.calls(root, "Context=77{Subtract=*}", root)
    assert [reply.actions[0].error and reply.actions[0].error.code for reply in replies] == [None, 411, None]


@pytest.mark.interop("megaco", "as controller of our gateway: reply to Notify after TransactionPending, confirmed; {encoding}")
async def test_a_pending_reply(erlang: Controller, encoding: str) -> None:
    async with session(erlang) as (_, _, access, _):
        erlang.command("hold 1000")
        await erlang.expect("holding")
        _, writer = await asyncio.open_connection(*access)
        writer.write(b"this is no ClientHello\n")
        await erlang.requested(CommandName.NOTIFY)
        await erlang.expect("confirmed")
        assert not [line for line in erlang.lines if line.startswith("request")], "it was asked once"
        assert (await erlang.call("Context=-{AuditValue=ROOT{Audit{}}}")).error is None
        writer.close()
