"""The real P-CSCF and its embedded gateway with Iq over TCP and SCTP: calls, a gateway that dies between them, a clean stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pcscf.lab.call import Manners
from tests.support.processes import Pcscf, Stage, converse, pcscf, stage, until, within


async def call(site: Pcscf, around: Stage) -> None:
    """MSRP with TLS to the edge, both ways."""
    party = await around.new_party(Manners(reply="got: {text}"))
    ue = await around.new_ue(site.listeners["gm-tls"])
    ours = await converse(ue, party, "hello")
    assert site.contexts()
    await within(ours.hang_up(), "the end")
    await until(lambda: not site.contexts(), site.contexts)
    await around.leave()


@pytest.mark.parametrize("transport", ["tcp", pytest.param("sctp", marks=pytest.mark.sctp)])
async def test_calls_before_and_after_a_gateway_died(transport: str, tmp_path: Path) -> None:
    async with stage() as around, pcscf(tmp_path / "site", around.core.address, f"gateways.iq.transport={transport}") as site:
        await call(site, around)
        gateway = site.gateway()
        assert gateway.media_sockets() == (transport == "tcp"), "the connection to the P-CSCF"
        os.kill(gateway.pid, signal.SIGKILL)
        await until(lambda: site.has_gateway() and site.gateway() != gateway)
        await until(lambda: "gateway restarted" in site.log, lambda: site.log[-3000:])
        await call(site, around)
        lost = site.log.count("gateway-lost"), site.log.count("gateway lost")
        assert await site.stop() == 0
        assert "gateway left" in site.log
        assert (site.log.count("gateway-lost"), site.log.count("gateway lost")) == lost, "a clean stop loses nothing"
