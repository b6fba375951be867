"""A UE behind a real NAT: two network namespaces, the kernel's masquerading between them and us.

    this host (gateway)  ── veth ──  namespace "nat", masquerades  ── veth ──  namespace "ue"

Everything is named after this process and taken away again. Needs root, iproute2 and nftables; where they, or the kernel, do not
do it, the test is skipped and says why.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.peers import require_peer

_CLONE_NEWNET = 0x40000000


class Nat:
    """gateway: our address that the UE reaches; outside: the NAT's on our side; inside: the UE's own."""

    def __init__(self, number: int) -> None:
        net = f"10.{100 + number // 250 % 100}.{number % 250}"
        self.gateway, self.outside = f"{net}.1", f"{net}.2"
        self.inside, self._router = "192.168.77.2", "192.168.77.1"
        self._names = f"nat{number}", f"ue{number}"
        self._veth = f"vg{number}", f"vn{number}", f"vi{number}", f"vu{number}"

    def set_up(self) -> None:
        nat, ue = self._names
        ours, theirs, inner, end = self._veth
        for name in self._names:
            _do("ip", "netns", "add", name)
        _do("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", nat)
        _do("ip", "link", "add", inner, "netns", nat, "type", "veth", "peer", "name", end, "netns", ue)
        _do("ip", "addr", "add", f"{self.gateway}/24", "dev", ours)
        _do("ip", "link", "set", ours, "up")
        for name, device, address in ((nat, theirs, self.outside), (nat, inner, self._router), (ue, end, self.inside)):
            _do("ip", "-n", name, "addr", "add", f"{address}/24", "dev", device)
            _do("ip", "-n", name, "link", "set", device, "up")
        _do("ip", "-n", ue, "route", "add", "default", "via", self._router)
        _do("ip", "netns", "exec", nat, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        # `random`: what the NAT shows has never the port that the UE has, as with NATs that many share.
        rules = f'table ip n {{ chain p {{ type nat hook postrouting priority 100; oifname "{theirs}" masquerade random; }}; }}'
        _do("ip", "netns", "exec", nat, "nft", rules)

    def take_away(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._veth[0]], capture_output=True, check=False)

    def socket(self, kind: socket.SocketKind, port: int = 0) -> socket.socket:
        """A socket of the UE, bound to its address: sockets stay in the namespace in which they were made."""
        made: list[socket.socket] = []

        def make() -> None:
            with Path(f"/run/netns/{self._names[1]}").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    return
            one = socket.socket(socket.AF_INET, kind)
            one.bind((self.inside, port))
            one.setblocking(False)
            made.append(one)

        thread = threading.Thread(target=make)   # the namespace is that of a thread, and this one ends
        thread.start()
        thread.join()
        assert made, "no socket in the namespace"
        return made[0]

    def command(self, *arguments: str) -> list[str]:
        """A program of the UE."""
        return ["ip", "netns", "exec", self._names[1], *arguments]


@contextmanager
def behind_nat() -> Iterator[Nat]:
    if os.geteuid() != 0:
        pytest.skip("NAT left out: network namespaces need root")
    require_peer("ip", "nft")
    nat = Nat(os.getpid() % 25_000)
    try:
        try:
            nat.set_up()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"NAT left out: {' '.join(error.cmd)}: {error.stderr.strip()}")
        yield nat
    finally:
        nat.take_away()


def _do(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
