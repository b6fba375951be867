"""SIGHUP to a running P-CSCF: policies, its own certificates and those of its gateway, under sessions that go on."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcscf.config.load import POLICIES
from pcscf.lab import tls
from pcscf.lab.call import Call, Manners
from pcscf.lab.net import Target
from pcscf.lab.party import Party
from pcscf.lab.ue import Ue
from pcscf.lab.useragent import CallRefusedError
from tests.support.processes import Pcscf, Stage, converse, pcscf, stage, until, within

REPLY = "Got it: {text}"
STRICT = "\npolicies:\n  - match: {user_agent: '*'}\n    media: {msrp: {require: true}}\n"
BROKEN = "\npolicies:\n  - match: {user_agent: '*'}\n    media: {msrp: {requires: true}}\n"


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


class Operator:
    """Somebody with an editor for the configuration of a P-CSCF, and with `kill -HUP`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lab = (POLICIES / "lab.yaml").read_text()

    def write(self, more: str = "", **replaced: str) -> None:
        text = self.lab + more
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)

    async def reload(self, running: Pcscf, wanted: str) -> str:
        """SIGHUP, and what the log says from then on, `wanted` included."""
        before = len(running.log)
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: wanted in running.log[before:], lambda: running.log[before:])
        return running.log[before:]


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    made = Operator(tmp_path / "pcscf.yaml")
    made.write()
    return made


async def plain(ue: Ue, party: Party) -> Call:
    return await within(ue.call(party.uri, ue.proxy_uri), "the answer to a plain call")


async def test_policies_hold_at_once_and_sessions_go_on(tmp_path: Path, around: Stage, operator: Operator) -> None:
    async with pcscf(tmp_path, around.core.address, file=operator.file) as running:
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(running.listeners["gm-tls"])
        bare = await around.new_ue(running.listeners["gm-tls"], name="carol", secure=False)
        calls = [await converse(ue, party, "of before"), await plain(bare, party)]

        operator.write(STRICT)
        said = await operator.reload(running, "policies read")
        assert "needs a restart" not in said
        with pytest.raises(CallRefusedError, match="488"):   # registered before, and bound by what holds now
            await plain(bare, party)
        calls.append(await converse(ue, party, "protected all the same"))

        operator.write(BROKEN)
        said = await operator.reload(running, "configuration not read again")
        line = operator.file.read_text()[:operator.file.read_text().index("requires")].count("\n") + 1
        assert f"line={line}" in said
        assert str(operator.file) in said
        assert "unknown key" in said
        assert "did you mean `require`?" in said
        with pytest.raises(CallRefusedError, match="488"):
            await plain(bare, party)

        operator.write(STRICT, **{"side: access}": "side: access, mechanisms: []}"})
        assert "realms" in (await operator.reload(running, "needs a restart"))
        operator.write(STRICT, **{"realm: access": "realm: guests", "\n  access: {side": "\n  guests: {side"})
        await operator.reload(running, "configuration not read again")

        operator.write()
        await operator.reload(running, "policies read")
        calls.append(await plain(bare, party))
        for call in calls:
            await within(call.send_text("still here"), "the response to a message")
            await within(call.hang_up(), "the answer to BYE")
        await running.nothing_left()
        assert running.process.returncode is None


async def test_the_gateway_renews_its_certificate_and_running_media_keep_theirs(tmp_path: Path, around: Stage) -> None:
    async with pcscf(tmp_path, around.core.address, "gateways.embedded.workers=2") as running:
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(running.listeners["gm-tls"])
        calls = [await converse(ue, party, f"call {number}") for number in range(2)]
        before = {call.tls.peer_fingerprint for call in calls}
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: running.log.count("certificates renewed") == 2, lambda: running.log[-3000:])
        calls += [await converse(ue, party, f"call {number}") for number in range(2, 4)]
        assert before.isdisjoint(call.tls.peer_fingerprint for call in calls[2:])
        for call in calls:
            await within(call.send_text("still here"), "the response to a message")
            await within(call.hang_up(), "the answer to BYE")
        await until(lambda: not running.contexts(), running.contexts)


async def shown(to: Target) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """The certificate of a TLS listener, and a connection to it."""
    reader, writer = await asyncio.open_connection(to.host, to.port, ssl=tls.client_context(), server_hostname="")
    channel: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = channel.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate, reader, writer


async def test_a_listener_shows_the_certificate_that_its_file_has_now(
    tmp_path: Path, around: Stage, operator: Operator,
) -> None:
    def put(identity: tls.Identity, key: bytes = b"") -> bytes:
        (tmp_path / "own.crt").write_bytes(identity.certificate)
        secret = tmp_path / "own.secret"
        secret.touch(mode=0o600)
        secret.write_bytes(key or identity.key)
        return ssl.PEM_cert_to_DER_cert(identity.certificate.decode())

    first, second, third = (tls.self_signed(name) for name in ("first", "second", "third"))
    wanted = put(first)
    operator.write(**{"certificate: lab": "certificate: own.crt, key: own.secret"})
    async with pcscf(tmp_path, around.core.address, file=operator.file) as running:
        to = running.listeners["gm-tls"]
        certificate, reader, writer = await shown(to)
        assert certificate == wanted
        wanted = put(second)
        await operator.reload(running, "certificate renewed")
        certificate, *other = await shown(to)
        assert certificate == wanted
        put(third, key=first.key)
        said = await operator.reload(running, "certificate not renewed")
        assert "own.crt" in said
        certificate, *another = await shown(to)
        assert certificate == wanted
        for _ in range(2):   # of before, and still served (RFC 5626 §4.4.1)
            writer.write(b"\r\n\r\n")
            assert await within(reader.readexactly(2), "a pong") == b"\r\n"
        for each in (writer, other[1], another[1]):
            assert isinstance(each, asyncio.StreamWriter)
            each.close()
