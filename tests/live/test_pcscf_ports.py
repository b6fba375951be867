"""A P-CSCF that cannot have a port ends, and says which, why, and what to do."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from pcscf.config.load import POLICIES


@pytest.mark.parametrize(
    ("setting", "kind", "wanted"),
    [
        ("gateways.iq.port", socket.SOCK_DGRAM, "Iq cannot open"),
        ("listeners.mw-udp.port", socket.SOCK_DGRAM, "the listener mw-udp cannot open udp"),
        ("listeners.mw-tcp.port", socket.SOCK_STREAM, "the listener mw-tcp cannot open tcp"),
    ],
)
async def test_a_port_that_is_taken(setting: str, kind: socket.SocketKind, wanted: str) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        free = {f"listeners.{name}.port": 0 for name in ("gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp")}
        settings = {**free, "gateways.iq.port": 0, setting: port}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pcscf", "run", str(POLICIES / "lab.yaml"),
            *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(30):
            _, said = await process.communicate()
        assert process.returncode == 2
        told = " ".join(said.decode().split())
        assert wanted in told
        assert str(port) in told
        assert "in use" in told
