from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pcscf.cli.gateway import gateway_config
from pcscf.config.gateway import GatewayFile
from pcscf.config.load import load_gateway
from pcscf.gateway.config import CertificateSettings, GatewayConfig, GatewayLimits, GatewayTimers, Realm

FILE = """\
mid: gw1
iq: {{address: 127.0.0.1, port: 0}}
controllers: ["127.0.0.1:{port}"]
realms:
  access: {{addresses: [127.0.0.1, '::1'], ports: 33000-33099}}
  core: {{addresses: [127.0.0.1], ports: 33100-33199}}
registration: {{wait: 0.01}}
"""


def test_everything_in_the_file_reaches_the_gateway(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE.format(port=2944))
    overrides = [
        "profile=threegup/2",
        "adoption_grace=8",
        "min_hash=sha-384",
        "registration={wait: 1, retry: 3, retry_max: 9}",
        "timers={tcp_connect: 4, tls_handshake: 5, graceful_stop: 6, tcp_accept: 7, tls_yield: 0.5}",
        "limits={contexts: 7, write_buffer: 8192, buffered: 2000000, half_open: 9, handshake_rate: 8}",
        f"certificates={{files: [{{certificate: {path}}}], renew_after: 60}}",
    ]
    assert gateway_config(load_gateway(path, overrides), parent=42) == GatewayConfig(
        mid="gw1",
        controllers=(("127.0.0.1", 2944),),
        realms=(
            Realm("access", ("127.0.0.1", "::1"), ((33000, 33099),)),
            Realm("core", ("127.0.0.1",), ((33100, 33199),)),
        ),
        bind=("127.0.0.1", 0),
        profile="threegup/2",
        minimum_hash="sha-384",
        parent=42,
        timers=GatewayTimers(
            4, 5, registration_wait=1, registration_retry=3, registration_retry_max=9, graceful_stop=6, adoption_grace=8,
            tcp_accept=7, tls_yield=0.5,
        ),
        limits=GatewayLimits(7, 8192, 2000000, 9, 8),
        certificates=CertificateSettings(((path, path),), 60, per_stream=False),
    )


def test_the_file_and_the_gateway_have_the_same_defaults() -> None:
    realms = {"access": {"addresses": ["127.0.0.1"], "ports": "33000-33099"}}
    file = GatewayFile.model_validate({"controllers": ["127.0.0.1"], "realms": realms})
    config = gateway_config(file)
    bare = GatewayConfig(config.mid, config.controllers, config.realms, config.bind)
    assert [each.name for each in fields(bare) if getattr(bare, each.name) != getattr(config, each.name)] == []


@pytest.mark.parametrize("parent", ["", str(os.getpid())])
def test_it_registers_with_its_controller_and_takes_leave(tmp_path: Path, parent: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as controller:
        controller.bind(("127.0.0.1", 0))
        path = tmp_path / "gateway.yaml"
        path.write_text(FILE.format(port=controller.getsockname()[1]))
        process = subprocess.Popen(
            [sys.executable, "-m", "pcscf", "gateway", str(path), "--trace", str(tmp_path / "trace")],
            env={**os.environ, "PCSCF_GATEWAY_PARENT": parent},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            heard, _, _ = select.select([controller], [], [], 20)
            assert heard, "nothing came to the controller"
            message = controller.recv(65536)
            assert b"gw1" in message
            assert b"ROOT" in message.upper()
        finally:
            os.kill(process.pid, signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert (tmp_path / "trace").exists()
