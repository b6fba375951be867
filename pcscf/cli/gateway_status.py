"""`pcscf gateway status`: what a running gateway says of itself, read over its HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pcscf.config.gateway import GATEWAY_HTTP_PORT, GatewayFile
from pcscf.config.load import load_gateway
from pcscf.config.workers import workers_of
from pcscf.errors import ConfigError, PcscfError

PATIENCE = 5.0


def status(
    where: Annotated[str, typer.Argument(
        metavar="[FILE|ADDRESS:PORT]", help="The gateway's configuration, or its HTTP address.",
    )] = f"127.0.0.1:{GATEWAY_HTTP_PORT}",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, a line per worker.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="As Prometheus reads it.")] = False,
) -> None:
    """Tell how a running gateway is: contexts, terminations, streams, octets, handshakes, failures by cause."""
    for host, port in _addresses(where):
        if metrics:
            typer.echo(_fetch(host, port, "/metrics").decode(), nl=False)
            continue
        told = json.loads(_fetch(host, port, "/status"))
        typer.echo(json.dumps(told) if as_json else "\n".join(as_text(told)))


def _addresses(where: str) -> list[tuple[str, int]]:
    """Of every worker. Raises ConfigError."""
    if Path(where).is_file():
        return http_addresses(load_gateway(Path(where)), where)
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"{where} is neither a file nor ADDRESS:PORT", hint="name the gateway's configuration, or its HTTP address")
    return [(host.strip("[]"), int(port))]


def http_addresses(given: GatewayFile, file: str) -> list[tuple[str, int]]:
    """Of every worker. Raises ConfigError."""
    if not given.http.port:
        raise ConfigError("this gateway serves no status", file=file, hint="set http.port")
    return [(each.http.address, each.http.port) for each in workers_of(given)]


def _fetch(host: str, port: int, path: str) -> bytes:
    """Raises PcscfError when nobody answers, or not as a gateway does."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise PcscfError(
            f"no gateway answers at {host} port {port}: {str(error) or type(error).__name__}",
            hint="is it running, and is this its http address?") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise PcscfError(f"what answers at {host} port {port} is no gateway: {answer.status} {answer.reason}")
    return body


def as_text(told: Mapping[str, Any]) -> Iterator[str]:
    """For people."""
    since = datetime.fromtimestamp(told["started"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    controller = f"registered with {told['controller'].replace(' ', ':')}" if told["controller"] else "NOT REGISTERED"
    yield f"{told['mid']}   process {told['process']}, since {since}, {controller}"
    yield f"contexts      {told['contexts']} of {told['contexts_limit']}, {told['contexts_opened']} since the start"
    yield f"terminations  {told['terminations']}"
    for realm, (taken, total) in told["ports"].items():
        yield f"ports         {realm}: {taken} of {total} taken"
    yield "             " + "".join(f"{name:>14}" for name in ("tcp", "tls", "udp", "dtls"))
    for title, numbers in _rows(told):
        if any(numbers):
            yield f"{title:13}" + "".join(f"{number:>14,}" for number in numbers)
    for kind, end in told["certificates"].items():
        yield f"certificate   {kind}, until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"
    if told["handshakes"]:
        yield "handshakes    " + ", ".join(f"{number} {version}" for version, number in sorted(told["handshakes"].items()))
    for cause, number in sorted(told["failures"].items(), key=lambda each: -each[1]):
        yield f"failed        {number} {cause}"


def _rows(told: Mapping[str, Any]) -> Iterator[tuple[str, list[int]]]:
    kinds = ("tcp", "tls", "udp", "dtls")
    for title, key in (("streams", "streams"), ("connected", "connected"), ("came up", "connections")):
        yield title, [told[key][kind] for kind in kinds]
    for title, key in (("octets in", "received"), ("octets out", "sent"), ("datagrams in", "datagrams_received"),
                       ("datagrams out", "datagrams_sent"), ("dropped", "dropped"), ("policed", "policed")):  # fmt: skip
        yield title, [told["passed"][kind][key] for kind in kinds]
