from __future__ import annotations

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "support/peers.sh"


def test_the_installer_of_peers_takes_the_list_of_the_bench(tmp_path: Path) -> None:
    person = tmp_path / "id"
    person.write_text("#!/bin/sh\necho 1000\n")
    person.chmod(0o755)
    told = subprocess.run(
        ["/bin/sh", str(SCRIPT), "no-such-sipp:sip-tester", "no-such-proxy:haproxy"],
        env={"PATH": str(tmp_path)}, capture_output=True,
        text=True, check=True,
    ).stdout
    assert "peers: 2 missing: sip-tester haproxy\n" in told
