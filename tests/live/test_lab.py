"""The lab's own pieces against each other on loopback: everything must work without the product between them as well."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pcscf.cli.children import Child, ChildFailedError
from pcscf.lab import tls
from pcscf.lab.agent import Agent
from pcscf.lab.call import Habits
from pcscf.lab.core import Core, CoreConfig
from pcscf.lab.media import MsrpMedia, connect, new_uri
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.net import Target
from pcscf.lab.party import Manners, Party
from pcscf.lab.tap import NoTap
from pcscf.lab.ue import Account, RegistrationRefusedError, SecurityHabits, Ue
from pcscf.lab.useragent import CallRefusedError
from pcscf.observe.ladder import ladders
from pcscf.observe.trace import merge_traces
from pcscf.sip.uri import parse_uri

DOMAIN = "ims.example"
SERVER = tls.self_signed("gateway.example")
BOB = f"sip:bob@{DOMAIN}"


@dataclass
class Bench:
    core: Core
    party: Party
    agents: list[Agent]

    async def ue(self, transport: str = "udp", *, password: str = "secret", habits: Habits | None = None) -> Ue:
        account = Account("alice", password, DOMAIN, Target(transport, *self.core.address))
        ue = Ue(account, habits or Habits(), NoTap(), security=SecurityHabits(mechanisms=()), host=self.core.host)
        self.agents.append(ue)
        await ue.start()
        return ue

    async def registered(self, transport: str = "udp", *, habits: Habits | None = None) -> Ue:
        ue = await self.ue(transport, habits=habits)
        await ue.register()
        return ue


async def bench(host: str, *, algorithm: str = "MD5", require_path: bool = False) -> Bench:
    config = CoreConfig(DOMAIN, {"alice": "secret"}, {}, require_path=require_path, algorithm=algorithm)
    core = Core(config, NoTap(), host=host)
    address = await core.start()
    party = Party(BOB, Target("udp", *address), NoTap(), host=host)
    party_address = await party.start()
    where = f"[{host}]" if ":" in host else host
    config.parties["bob"] = f"sip:bob@{where}:{party_address[1]}"
    return Bench(core, party, [party])


async def close(made: Bench) -> None:
    for agent in reversed(made.agents):
        await agent.close()
    await made.core.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = await bench(request.param)
    yield made
    await close(made)


@pytest.fixture
async def lab4() -> AsyncIterator[Bench]:
    made = await bench("127.0.0.1")
    yield made
    await close(made)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_registration_with_digest(lab: Bench, transport: str) -> None:
    ue = await lab.ue(transport)
    registration = await ue.register()
    assert registration.active
    (route,) = registration.service_route
    assert route.startswith("<sip:orig@")
    assert route.endswith(f":{lab.core.address[1]};lr>")
    assert registration.associated_uris == [f"<sip:alice@{DOMAIN}>"]
    assert [binding.contact for binding in lab.core.bindings["alice"]]
    await ue.deregister()
    assert lab.core.bindings["alice"] == []


async def test_registration_with_sha_256() -> None:
    made = await bench("127.0.0.1", algorithm="SHA-256")
    try:
        assert (await (await made.ue()).register()).active
    finally:
        await close(made)


async def test_a_wrong_password_is_refused(lab4: Bench) -> None:
    with pytest.raises(RegistrationRefusedError) as refused:
        await (await lab4.ue(password="wrong")).register()
    assert refused.value.status == 401
    assert lab4.core.bindings.get("alice", []) == []


async def test_the_core_wants_a_path() -> None:
    made = await bench("127.0.0.1", require_path=True)
    try:
        with pytest.raises(RegistrationRefusedError) as refused:
            await (await made.ue()).register()
        assert refused.value.status == 421
    finally:
        await close(made)


async def test_the_core_refuses_what_a_p_cscf_must_strip(lab4: Bench) -> None:
    account = Account("alice", "secret", DOMAIN, Target("udp", *lab4.core.address))
    ue = Ue(account, Habits(), NoTap())
    lab4.agents.append(ue)
    await ue.start()
    with pytest.raises(RegistrationRefusedError) as refused:
        await ue.register()
    assert refused.value.status == 420
    assert any(b"Security-Client" in message for message in lab4.core.received)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(("setup", "choice"), [
    ("active", "passive"), ("", "passive"), ("actpass", "active"), ("actpass", "passive"), ("passive", "passive"),
])
async def test_a_call_carries_text_both_ways(lab: Bench, transport: str, setup: str, choice: str) -> None:
    lab.party.habits = Habits(choice=choice)   # type: ignore[arg-type]
    lab.party.manners = Manners(reply="got: {text}", ring=True)
    ue = await lab.registered(transport, habits=Habits(setup=setup))
    call = await ue.call(BOB, ue.proxy_uri)
    await call.send_text("hello")
    assert await call.receive_text() == "got: hello"
    await call.hang_up()
    await lab.party.close()
    assert lab.party.received == ["hello"]
    assert [ended.ended_by for ended in lab.party.ended] == ["peer"]


async def test_long_text_goes_in_chunks_and_is_reported(lab4: Bench) -> None:
    ue = await lab4.registered()
    call = await ue.call(BOB, ue.proxy_uri)
    text = "äöü–" * 4_000
    await (await call.session()).send(text, success_report=True)
    while not (await call.session()).reports:
        await asyncio.sleep(0.01)
    assert (await call.session()).reports[0].status == 200
    assert lab4.party.received == [text]


async def test_the_far_end_may_hang_up(lab4: Bench) -> None:
    lab4.party.manners = Manners(hang_up_after=1)
    ue = await lab4.registered("tcp")
    call = await ue.call(BOB, ue.proxy_uri)
    await call.send_text("bye")
    await call.ended.wait()
    assert call.ended_by == "peer"
    assert ue.calls == {}
    with pytest.raises(MediaFailedError):
        await call.send_text("too late")


async def test_a_call_can_be_refused(lab4: Bench) -> None:
    lab4.party.manners = Manners(reject=486)
    ue = await lab4.registered()
    with pytest.raises(CallRefusedError) as refused:
        await ue.call(BOB, ue.proxy_uri)
    assert refused.value.status == 486
    assert ue.calls == lab4.party.calls == {}


async def test_a_call_can_be_cancelled(lab4: Bench) -> None:
    lab4.party.manners = Manners(ring=True, delay=60)
    ue = await lab4.registered()
    with pytest.raises(CallRefusedError) as refused:
        await ue.call(BOB, ue.proxy_uri, cancel_after=0.05)
    assert refused.value.status == 487
    assert lab4.party.calls == {}


async def test_only_registered_users_call(lab4: Bench) -> None:
    ue = await lab4.ue()
    with pytest.raises(CallRefusedError) as refused:
        await ue.call(BOB, ue.proxy_uri)
    assert refused.value.status == 403


async def test_the_party_calls_a_registered_user(lab4: Bench) -> None:
    ue = await lab4.registered("tcp", habits=Habits(choice="active"))
    call = await lab4.party.invite(f"sip:alice@{DOMAIN}")
    (answered,) = ue.calls.values()
    await call.send_text("ping")
    assert await answered.receive_text() == "ping"
    await answered.hang_up("SIP;cause=200;text=\"enough\"")
    await call.ended.wait()
    assert call.reason == 'SIP;cause=200;text="enough"'


async def test_nobody_is_found_where_nobody_registered(lab4: Bench) -> None:
    with pytest.raises(CallRefusedError) as refused:
        await lab4.party.call(f"sip:carol@{DOMAIN}", lab4.party.core_uri)
    assert refused.value.status == 404


async def test_a_lost_request_is_repeated_over_udp(lab4: Bench) -> None:
    ue = await lab4.ue()
    dropped: list[object] = []
    handler = lab4.core.sockets.handler

    def lossy(message: object, link: object) -> None:
        if not dropped:
            dropped.append(message)
        else:
            handler(message, link)   # type: ignore[arg-type]

    lab4.core.sockets.handler = lossy
    assert (await ue.register()).active
    assert len(dropped) == 1


async def test_refreshes_change_nothing(lab4: Bench) -> None:
    ue = await lab4.registered()
    call = await ue.call(BOB, ue.proxy_uri)
    await call.send_text("before")
    again = call.dialog.request("UPDATE")
    again.set_body(b"v=0\r\n", "application/sdp")
    link = await ue.link_to(parse_uri(BOB))
    response = await ue.send_request(again, link).final_response()
    assert response.status == 200
    assert str(call.remote.own_uri).encode() in response.body
    await call.send_text("after")
    await call.hang_up()
    await lab4.party.close()
    assert lab4.party.received == ["before", "after"]


async def test_a_party_without_certificate_refuses_tls(lab4: Bench) -> None:
    ue = await lab4.registered(habits=Habits(secure=True, identity=SERVER, e2ae="requested"))
    with pytest.raises(CallRefusedError) as refused:
        await ue.call(BOB, ue.proxy_uri)
    assert refused.value.status == 488
    assert "no certificate" in refused.value.warning


@pytest.mark.parametrize(("setup", "choice"), [("active", "passive"), ("passive", "passive"), ("actpass", "active")])
async def test_tls_from_end_to_end(lab4: Bench, setup: str, choice: str) -> None:
    """RFC 8122 §6.2: whoever dials is the TLS client; each compares the other's certificate."""
    other = tls.self_signed("bob")
    lab4.party.habits = Habits(secure=True, choice=choice, identity=other)   # type: ignore[arg-type]
    ue = await lab4.registered(habits=Habits(secure=True, setup=setup, identity=SERVER))
    call = await ue.call(BOB, ue.proxy_uri)
    await call.send_text("protected all the way")
    [theirs] = lab4.party.calls.values()
    assert call.tls is not None
    assert theirs.tls is not None
    assert call.tls.peer_fingerprint == " ".join(other.fingerprint())
    assert theirs.tls.peer_fingerprint == " ".join(SERVER.fingerprint())
    await call.hang_up()
    assert lab4.party.received == ["protected all the way"]


async def test_a_caller_with_another_certificate_is_not_listened_to(lab4: Bench) -> None:
    lab4.party.habits = Habits(secure=True, identity=tls.self_signed("bob"))
    ue = await lab4.registered(habits=Habits(secure=True, identity=tls.self_signed("somebody else"), announced=SERVER))
    call = await ue.call(BOB, ue.proxy_uri)
    [theirs] = lab4.party.calls.values()
    with pytest.raises(MediaFailedError, match="not the one in the SDP"):
        await theirs.session()
    await call.hang_up()
    assert lab4.party.received == []


async def test_a_certificate_that_the_sdp_does_not_name_is_not_spoken_to() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server_context(SERVER))
    port = server.sockets[0].getsockname()[1]
    for fingerprints in [(tls.self_signed("other").fingerprint(),), ()]:
        uri = new_uri("127.0.0.1", port, secure=True)
        media = MsrpMedia("127.0.0.1", port, (uri,), secure=True, fingerprints=fingerprints)
        with pytest.raises(MediaFailedError):
            await connect(media, media, SERVER, NoTap(), "call")
    server.close()
    await server.wait_closed()
    assert b"".join(heard) == b""


@dataclass
class OpensslServer:
    port: int
    process: asyncio.subprocess.Process

    async def output(self, until: str = "") -> str:
        """Everything it printed, once `until` was among it."""
        stdout = self.process.stdout
        assert stdout is not None
        told = b""
        while until.encode() not in told:
            told += await stdout.readuntil()
        self.process.terminate()
        return (told + await stdout.read()).decode()


@pytest.fixture
async def openssl(tmp_path: Path) -> AsyncIterator[OpensslServer]:
    (tmp_path / "server.pem").write_bytes(SERVER.certificate + SERVER.key)
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(tmp_path / "server.pem"), "-Verify", "1",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    port = 0
    while not port:
        line = (await process.stdout.readline()).decode()
        assert line, "openssl s_server did not start"
        if line.startswith("ACCEPT"):
            port = int(line.rpartition(":")[2])
    yield OpensslServer(port, process)
    if process.returncode is None:
        process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()


async def test_openssl_sees_the_certificate_of_the_ue(openssl: OpensslServer) -> None:
    identity = tls.self_signed("alice of the lab")
    reader, writer, facts = await tls.connect("127.0.0.1", openssl.port, identity, (SERVER.fingerprint(),))
    assert facts.version == "TLSv1.3"
    assert facts.peer_fingerprint == " ".join(SERVER.fingerprint())
    writer.write(b"octets of the application\n")
    assert "alice of the lab" in await openssl.output(until="octets of the application")
    writer.close()
    del reader


async def test_openssl_gets_no_octet_where_its_certificate_is_another(openssl: OpensslServer) -> None:
    other = tls.self_signed("somebody else").fingerprint()
    with pytest.raises(tls.PeerRefusedError):
        await tls.connect("127.0.0.1", openssl.port, tls.self_signed("alice"), (other,))
    assert "octets" not in await openssl.output()


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Child]]]:
    """Starts commands of `pcscf lab` as processes, with a trace each; ends them."""
    children: list[Child] = []

    async def start(kind: str, *arguments: str) -> Child:
        trace = tmp_path / f"{kind}.jsonl"
        child = await Child.start(kind, ["pcscf", "lab", kind, *arguments, "--trace", str(trace)], tmp_path / f"{kind}.log")
        children.append(child)
        return child

    yield start
    for child in reversed(children):
        await child.stop()


async def test_the_commands_work_as_processes(started: Callable[..., Awaitable[Child]], tmp_path: Path) -> None:
    party = await started("party", "--port", "0", "--reply", "got: {text}", "--ring")
    bob = (await party.expect("ready", 20))["address"]
    core = await started("core", "--port", "0", "--user", "alice:secret", "--party", f"bob=sip:bob@{bob}", "--no-need-path")
    proxy = f"sip:{(await core.expect('ready', 20))['address']};transport=tcp"
    ue = await started("ue", "--proxy", proxy, "--plain", "--mechanism", "none", "--call", BOB, "--say", "one", "--replies", "1")
    assert await ue.finish(20) == 0
    call_id = ue.events[1]["call_id"]
    assert [event["event"] for event in ue.events] == ["registered", "answered", "media", "sent", "received", "ended"]
    assert ue.told("received", text="got: one", call_id=call_id)
    assert await party.expect("ended", 20, call_id=call_id, by="peer")
    registration, session = ladders(merge_traces(sorted(tmp_path.glob("*.jsonl"))))
    assert {(arrow.source, arrow.target) for arrow in registration.arrows} == {("ue", "core"), ("core", "ue")}
    assert [arrow.text for arrow in session.arrows if (arrow.source, arrow.target, arrow.proto) == ("ue", "party", "MSRP")] == [
        "SEND (empty)", "SEND 3 octets", "200 OK"]
    assert call_id in session.keys


async def test_a_ue_as_a_process_answers_calls(started: Callable[..., Awaitable[Child]]) -> None:
    core = await started("core", "--port", "0", "--user", "carol:secret", "--no-need-path")
    address = (await core.expect("ready", 20))["address"]
    ue = await started(
        "ue", "--user", "carol", "--proxy", f"sip:{address};transport=tcp", "--plain", "--mechanism", "none", "--answer", "1",
        "--reply", "got: {text}")
    await ue.expect("registered", 20)
    party = await started(
        "party", "--port", "0", "--core", f"sip:{address}", "--call", f"sip:carol@{DOMAIN}", "--say", "one", "--replies", "1")
    assert await party.finish(20) == await ue.finish(20) == 0
    call_id = party.events[1]["call_id"]
    assert [event["event"] for event in party.events] == ["ready", "answered", "media", "sent", "received", "ended"]
    assert party.told("received", text="got: one", call_id=call_id)
    assert [event["event"] for event in ue.events] == ["registered", "answered", "media", "received", "ended"]
    assert ue.told("ended", by="peer", call_id=call_id)


async def test_a_command_that_fails_says_why(started: Callable[..., Awaitable[Child]]) -> None:
    ue = await started("ue", "--proxy", "sip:127.0.0.1:1;transport=tcp")
    assert await ue.finish(20) == 1
    assert ue.told("failed")
    with pytest.raises(ChildFailedError, match="ended before 'registered'"):
        await ue.expect("registered", 20)


async def test_a_silent_command_is_not_waited_for_for_ever(started: Callable[..., Awaitable[Child]]) -> None:
    party = await started("party", "--port", "0")
    await party.expect("ready", 20)
    with pytest.raises(ChildFailedError, match="no 'received' within"):
        await party.expect("received", 0.05)
    with pytest.raises(ChildFailedError, match="still running"):
        await party.finish(0.05)


async def test_the_demo_proves_what_it_claims(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "demo", "--json", "--keep", str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await demo.communicate()
    told = json.loads(output)
    assert told["failure"] == "", errors.decode()
    assert [check["what"] for check in told["checks"] if not check["ok"]] == []
    assert demo.returncode == 0
    protocols = [{message["proto"] for message in flow["messages"]} for flow in told["flows"]]
    assert protocols == [
        {"SIP"}, *([{"SIP", "Iq", "TCP", "TLS", "MSRP"}] * 4), {"SIP", "Iq", "TCP", "MSRP"}, {"SIP"},
        *({"SIP", "Iq", "TCP", "TLS", medium} for medium in ("MSRP", "MSRP", "BFCP")),
        *([{"SIP", "Iq", "UDP", "DTLS", "T.38"}] * 2),
    ]


async def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "demo", "--keep", str(tmp_path),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )
    while not (tmp_path / "core.jsonl").exists():
        await asyncio.sleep(0.02)
    children = [int(pid) for pid in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]
    assert children
    demo.send_signal(signal.SIGINT)
    assert await demo.wait() == 130
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
