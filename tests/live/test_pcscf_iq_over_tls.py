"""Gateways as processes behind a real P-CSCF over TLS: who shows its certificate serves; SIGHUP reads the files again."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

from pcscf.lab.call import Manners
from pcscf.transport.model import TlsFiles
from tests.support.fleet import HERE, free_port, known, own_gateways, registered, sessions, states
from tests.support.iqcertificates import Authority, fingerprint
from tests.support.processes import converse, pcscf, stage, until, within


def told(files: TlsFiles, **pins: str) -> dict[str, Any]:
    """`iq.tls` of a configuration."""
    return {"ca": str(files.ca), "certificate": str(files.certificate), "peers": pins}


async def test_who_has_its_certificate_serves_and_nobody_else(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port(socket.SOCK_STREAM)
    one, two, forger = (authority.issue(HERE) for _ in range(3))
    own = authority.issue(HERE)
    tls = told(own, one=fingerprint(one), two=fingerprint(two))
    iq = {name: {"transport": "tls", "tls": told(files)} for name, files in (("one", one), ("two", forger))}
    async with (
        stage() as around,
        own_gateways(tmp_path, ["one", "two"], (HERE, port), iq=iq) as (right, wrong),
    ):
        settings = (
            "gateways.embedded=false", known(right.known(), wrong.known()), f"gateways.iq.port={port}",
            "gateways.iq.transport=tls", f"gateways.iq.tls={json.dumps(tls)}",
        )  # fmt: skip
        async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
            await registered(running, right)
            party = await around.new_party(Manners(reply="got: {text}"))
            ue = await around.new_ue(running.listeners["gm-tls"])
            call = await converse(ue, party, "over TLS")
            await sessions(running, one=1)
            await within(call.hang_up(), "the answer to BYE")
            await sessions(running, one=0)
            await until(lambda: "for which the certificate does not speak" in running.log, lambda: running.log[-3000:])
            assert (await states(running)).get("two", {}).get("state") != "registered"

            own.certificate.write_bytes(b"no certificate")
            running.process.send_signal(signal.SIGHUP)
            await until(lambda: "certificate not renewed" in running.log, lambda: running.log[-3000:])
            assert str(own.certificate) in running.log
            own.certificate.write_bytes(authority.issue(HERE).certificate.read_bytes())
            running.process.send_signal(signal.SIGHUP)
            await until(lambda: "certificate renewed" in running.log, lambda: running.log[-3000:])
            forger.certificate.write_bytes(two.certificate.read_bytes())
            assert wrong.process is not None
            wrong.process.send_signal(signal.SIGHUP)
            await registered(running, right, wrong)
            call = await converse(ue, party, "under renewed certificates")
            await within(call.hang_up(), "the answer to BYE")
            await right.stop()
            await until(lambda: "gateway left" in running.log, lambda: running.log[-3000:])
