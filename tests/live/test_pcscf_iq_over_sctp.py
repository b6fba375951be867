"""Gateways as processes behind a real P-CSCF over SCTP: who is known serves, a stranger does not. And a kernel without SCTP."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pcscf.config.iq import kernel_has_sctp
from pcscf.config.load import POLICIES
from pcscf.lab.call import Manners
from tests.support.fleet import HERE, free_port, known, own_gateways, registered, sessions, states
from tests.support.processes import converse, pcscf, stage, until, within

OVER_SCTP = {"transport": "sctp"}


@pytest.mark.sctp
async def test_who_is_known_serves_and_nobody_else(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    async with (
        stage() as around,
        own_gateways(tmp_path, ["one", "two"], (HERE, port), iq={"one": OVER_SCTP, "two": OVER_SCTP}) as (right, _),
    ):
        settings = (
            "gateways.embedded=false", known(right.known()), f"gateways.iq.port={port}", "gateways.iq.transport=sctp",
        )  # fmt: skip
        async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
            await registered(running, right)
            party = await around.new_party(Manners(reply="got: {text}"))
            ue = await around.new_ue(running.listeners["gm-tls"])
            call = await converse(ue, party, "over SCTP")
            await sessions(running, one=1)
            await within(call.hang_up(), "the answer to BYE")
            await sessions(running, one=0)
            await until(lambda: "iq stranger refused" in running.log, lambda: running.log[-3000:])
            assert "two" not in await states(running)

            await right.kill()
            await right.start()
            await until(lambda: "gateway restarted" in running.log, lambda: running.log[-3000:])
            call = await converse(ue, party, "once more")
            await within(call.hang_up(), "the answer to BYE")
            await right.stop()
            await until(lambda: "gateway left" in running.log, lambda: running.log[-3000:])


@pytest.mark.skipif(kernel_has_sctp(), reason="this machine's kernel has SCTP")
def test_a_kernel_without_sctp_is_told_at_the_start(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.yaml"
    gateway.write_text("controllers: [192.0.2.1]\nrealms: {a: {addresses: 127.0.0.1, ports: 2000-2999}}\niq: {transport: sctp}\n")
    for command, place in (
        (["run", str(POLICIES / "lab.yaml"), "--set", "gateways.iq.transport=sctp"], "--set gateways.iq.transport=sctp"),
        (["gateway", str(gateway)], f"{gateway}:3"),
    ):
        done = subprocess.run([sys.executable, "-m", "pcscf", *command], capture_output=True, text=True, check=False)
        told = "".join(done.stderr.split())
        assert done.returncode != 0
        for part in (place, "the kernel of this machine has no SCTP", "load it (`modprobe sctp`), or write udp, tcp or tls"):
            assert "".join(part.split()) in told
