"""A gateway as several processes: each worker is a gateway of its own, with its share of the ports and a name of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pcscf.config.gateway import GatewayFile
from pcscf.config.values import PortRange

_NUMBERED = re.compile(r"(?P<host>\[[^\]]*\]|<[^>]*>)(?::(?P<port>\d+))?")
_DEFAULT_PORT = 2944


def workers_of(file: GatewayFile) -> tuple[GatewayFile, ...]:
    """The file of every worker; the file itself where there is one."""
    if file.workers == 1:
        return (file,)
    return tuple(_worker(file, number) for number in range(file.workers))


def as_written(file: GatewayFile) -> dict[str, Any]:
    """As JSON, from which the same file is read again, wherever it then stands."""
    return file.model_dump(mode="json")


def mid_of_worker(mid: str, number: int) -> str:
    """Of the worker with this number, from 0: the next ports of an address or a domain name, or a device name with a number.

    >>> mid_of_worker("[192.0.2.1]:2945", 2), mid_of_worker("gw1", 0)
    ('[192.0.2.1]:2947', 'gw1_0')
    """
    match = _NUMBERED.fullmatch(mid)
    if match is None:
        return f"{mid}_{number}"
    return f"{match['host']}:{int(match['port'] or _DEFAULT_PORT) + number}"


def _worker(file: GatewayFile, number: int) -> GatewayFile:
    realms = {
        name: realm.model_copy(update={"ports": share(realm.ports, number, file.workers)}) for name, realm in file.realms.items()
    }
    return file.model_copy(update={
        "mid": mid_of_worker(file.own_mid, number),
        "iq": file.iq.model_copy(update={"port": file.iq.port + number if file.iq.port else 0}),
        "http": file.http.model_copy(update={"port": file.http.port + number if file.http.port else 0}),
        "realms": realms,
        "workers": 1,
    })  # fmt: skip


def share(ports: Sequence[PortRange], number: int, workers: int) -> tuple[PortRange, ...]:
    """One of so many equal parts. Each has an even number of ports, so that a pair for RTP and RTCP is not torn apart."""
    size = sum(map(len, ports)) // workers & ~1
    skip, left = number * size, size
    found: list[PortRange] = []
    for one in ports:
        first = one.first + skip
        skip = max(0, skip - len(one))
        if first <= one.last and left:
            found.append(PortRange(first, min(one.last, first + left - 1)))
            left -= len(found[-1])
    return tuple(found)
