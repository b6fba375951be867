"""Our controller and a gateway on Erlang/OTP's megaco: register, reserve, configure, notify, audit, release, leave, and failures.

Both sides write its messages long (pretty) or short (compact).
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from pcscf.config.policy import MediaPolicy
from pcscf.errors import GatewayUnavailable, InternalFailure
from pcscf.h248 import agenda
from pcscf.h248.codec import decode_untrusted, encode_pretty
from pcscf.h248.message import TransactionPending
from pcscf.iq.association import Heartbeat
from pcscf.iq.notifications import BearerReleased
from pcscf.mediasec.model import Agreed, Direction, Origin
from pcscf.mediasec.plan import decide, settle
from pcscf.runtime.iq import Gateways, IqConfig
from tests.support.megaco import OVER_SCTP, transport_of
from tests.support.peers import require_peer
from tests.unit.iq.plans import BFCP_TLS, answered_by_core, answered_by_ue, from_core, from_ue, protection, sdp

pytestmark = pytest.mark.asyncio(loop_scope="module")

MID = "[127.0.0.1]:2945"
PATIENCE = 20.0


@pytest.fixture(scope="module")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_peer("erl", "erlc", "megaco")
    folder = tmp_path_factory.mktemp("beams")
    sources = [Path(__file__).parent / "erlang" / f"megaco_{each}.erl" for each in ("gateway", "sctp")]
    subprocess.run(["erlc", "-Werror", "-o", folder, *sources], check=True)
    return folder


class Peer:
    """The Erlang gateway, and the controller that it registers with. `heard`: what it sent."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.transport = transport_of(encoding)
        self.heard: list[bytes] = []
        self.broken: asyncio.Queue[tuple[str, int, BearerReleased]] = asyncio.Queue()
        self.lost: list[str] = []
        self.gateways = Gateways(
            IqConfig(("127.0.0.1", 0), lambda mid, _: mid == MID, heartbeat=Heartbeat(0.5, 3), kinds=(self.transport,)),
            random=Random(7),
            clock=asyncio.get_running_loop().time,
            on_bearer_released=lambda *told: self.broken.put_nowait(told),
            on_contexts_lost=lambda mid, _contexts, _why: self.lost.append(mid),
            tap=lambda direction, wire, _: self.heard.append(wire) if direction == "in" else None,
        )
        self.lines: list[str] = []

    async def open(self, beams: Path) -> None:
        await self.gateways.start()
        port = str(self.gateways.address[1])
        self.process = await asyncio.create_subprocess_exec(
            *("erl", "-noshell", "-pa", beams, "-run", "megaco_gateway", "main", port),
            *(self.encoding.partition(" ")[0], self.transport),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self.expect("registered")
        await self.gateways.wait_registered(PATIENCE)

    async def expect(self, *wanted: str) -> None:
        """These lines come, in this order; audits of ROOT and of its packages may stand between them."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            for line in wanted:
                while (told := (await self.process.stdout.readline()).decode().strip()) in ("audit 0", "packages"):
                    self.lines.append(told)
                assert told == line

    def command(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def pendings(self) -> int:
        """How many TransactionPending came."""
        transactions = [each for wire in self.heard for each in decode_untrusted(wire).transactions]
        return sum(isinstance(each, TransactionPending) for each in transactions)

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self.gateways.stop()


@asynccontextmanager
async def peer(beams: Path, encoding: str = "compact") -> AsyncIterator[Peer]:
    made = Peer(encoding)
    await made.open(beams)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(scope="module", params=["compact", "pretty", "compact over TCP", "pretty over TCP", *OVER_SCTP])
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def erlang(beams: Path, encoding: str) -> AsyncIterator[Peer]:
    """Both sides write alike. Ours is compact outside of tests, so its writer is exchanged."""
    with pytest.MonkeyPatch.context() as patch:
        if encoding.startswith("pretty"):
            patch.setattr(agenda, "encode_compact", encode_pretty)
        async with peer(beams, encoding) as made:
            yield made


@pytest.mark.interop("megaco", "as gateway of our controller: register, add, modify, audit, subtract; {encoding}")
async def test_a_session_offered_by_the_ue(erlang: Peer, encoding: str) -> None:
    plan = from_ue("active", BFCP_TLS + protection("passive"))
    media = await erlang.gateways.reserve(plan)
    context = media.context
    assert media.gateway == MID
    assert set(media.access) == set(media.core) == {0, 1}
    assert len({stream.port for side in (media.access, media.core) for stream in side.values()}) == 4
    assert media.access[0].fingerprints[0][1].startswith("12:34:56")
    settled = await erlang.gateways.configure(media, answered_by_core(plan, "passive"))
    assert settled.core == media.core
    assert await erlang.gateways.audit() == [(MID, context)]
    await erlang.gateways.release(settled)
    await erlang.expect(*[f"add {context}"] * 2, *[f"modify {context}"] * 2, f"subtract {context}")
    assert await erlang.gateways.audit() == []


@pytest.mark.interop("megaco", "as gateway of our controller: RTP with filter and latching; {encoding}")
async def test_a_voice_call_of_a_ue_behind_a_nat(erlang: Peer, encoding: str) -> None:
    origin = Origin("2001:db8::99", behind_nat=True)
    lines = "m=audio 4000 RTP/AVP 0\na=rtcp:4009 IN IP4 203.0.113.8\na=rtcp-mux\n", "m=video 4002 UDP/TLS/RTP/SAVPF 97\n"
    plan = decide(MediaPolicy(), Agreed(), sdp("203.0.113.9", *lines), Direction.OFFER_FROM_UE, origin=origin)
    media = await erlang.gateways.reserve(plan)
    assert set(media.access) == set(media.core) == {0, 1}
    assert media.latched[0] == (("203.0.113.9", 4000), ("2001:db8::99", "203.0.113.9", "203.0.113.8"))
    settled = await erlang.gateways.configure(media, settle(plan, sdp("198.51.100.9", lines[0], "m=video 0 RTP/AVP 97\n")))
    assert settled.access == media.access
    await erlang.gateways.release(settled)
    await erlang.expect(*[f"add {media.context}"] * 2, *[f"modify {media.context}"] * 2, f"subtract {media.context}")


@pytest.mark.interop("megaco", "as gateway of our controller: Notify of a broken TLS session; {encoding}")
async def test_a_session_offered_by_the_core_and_its_broken_bearer(erlang: Peer, encoding: str) -> None:
    plan = from_core("actpass")
    media = await erlang.gateways.reserve(plan)
    media = await erlang.gateways.configure(media, answered_by_ue(plan, "passive"))
    assert media.tls_clients == {0}
    await erlang.expect(*[f"add {media.context}"] * 2, *[f"modify {media.context}"] * 2)
    erlang.command("notify")
    gateway, context, released = await asyncio.wait_for(erlang.broken.get(), PATIENCE)
    await erlang.expect("acknowledged")
    assert (gateway, context, released.line, released.kind) == (MID, media.context, 0, "tls")
    await erlang.gateways.release(media)
    await erlang.expect(f"subtract {context}")


@pytest.mark.interop("megaco", "as gateway of our controller: heartbeat (AuditValue of ROOT)")
async def test_the_heartbeat_keeps_the_association(beams: Path) -> None:
    async with peer(beams) as erlang:
        await asyncio.sleep(1.2)
        media = await erlang.gateways.reserve(from_ue())
        await erlang.expect(f"add {media.context}")
        assert "audit 0" in erlang.lines
        assert erlang.lost == []


@pytest.mark.interop("megaco", "as gateway of our controller: comes back (Disconnected), leaves (Forced)")
async def test_it_comes_back_and_it_leaves(beams: Path) -> None:
    async with peer(beams) as erlang:
        media = await erlang.gateways.reserve(from_ue())
        await erlang.expect(*[f"add {media.context}"] * 2)
        erlang.command("disconnected")
        await erlang.expect("registered")
        media = await erlang.gateways.configure(media, answered_by_core(from_ue()))
        await erlang.expect(*[f"modify {media.context}"] * 2)
        erlang.command("leave")
        await erlang.expect("left")
        assert erlang.lost == [MID]
        with pytest.raises(GatewayUnavailable):
            await erlang.gateways.reserve(from_ue())


@pytest.mark.interop("megaco", "as gateway of our controller: Add refused with 510 and 501, the next one served; {encoding}")
async def test_a_refused_add(erlang: Peer, encoding: str) -> None:
    for code, error in ((501, InternalFailure), (510, GatewayUnavailable)):
        erlang.command(f"refuse {code}")
        await erlang.expect("ready")
        with pytest.raises(error, match=f"{code} as it was told"):
            await erlang.gateways.reserve(from_ue())
        await erlang.expect(f"refused {code}")
    await _served(erlang)
    erlang.command("disconnected")   # with its registration the time is over in which it gets fewer sessions
    await erlang.expect("registered")


@pytest.mark.interop("megaco", "as gateway of our controller: late reply, the request executed once; {encoding}")
async def test_a_late_reply(erlang: Peer, encoding: str) -> None:
    erlang.command("delay 900")
    await erlang.expect("ready")
    await _served(erlang)


@pytest.mark.interop("megaco", "as gateway of our controller: TransactionPending, then the reply; {encoding}")
async def test_a_pending_reply(erlang: Peer, encoding: str) -> None:
    before = erlang.pendings()
    erlang.command("pending 900")
    await erlang.expect("ready")
    await _served(erlang)
    assert erlang.pendings() > before


async def _served(erlang: Peer) -> None:
    """A session is reserved and released, and Erlang carried out just that."""
    media = await erlang.gateways.reserve(from_ue())
    await erlang.gateways.release(media)
    await erlang.expect(*[f"add {media.context}"] * 2, f"subtract {media.context}")
    assert await erlang.gateways.audit() == []
