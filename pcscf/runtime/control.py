"""What an operator can ask of a running P-CSCF, over a socket in its runtime folder that only its user can open.

One JSON object per line in each direction: {"do": "drain", "gateway": "[192.0.2.21]:2945"}; the answer has "gateways",
"pcscf", "metrics" or "error".
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog

from pcscf.config.model import Config
from pcscf.errors import ConfigError, PcscfError
from pcscf.h248.mid import address_of_mid
from pcscf.iq.status import GatewayStatus
from pcscf.observe import metrics
from pcscf.observe.gateways import exposition
from pcscf.observe.status import PcscfStatus
from pcscf.runtime.embedded import runtime_folder
from pcscf.runtime.iq import Gateways

LARGEST: Final = 65_536
LOOK: Final = 0.2
"""Seconds between two looks at whether a gateway's sessions have ended."""

log = structlog.get_logger()

Question: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = dict[str, Any]


def socket_of(config: Config) -> Path:
    """Where the P-CSCF with this configuration listens for its operator. Raises ConfigError: no folder can be used."""
    name = hashlib.sha256(f"{config.name} {config.iq.own_mid}".encode()).hexdigest()[:8]   # a socket's path is short
    return runtime_folder() / f"control-{name}.sock"


class Control:
    """The listening end. `start` and `stop` belong to the process; what is asked is done by `Gateways`."""

    def __init__(self, gateways: Gateways, look: Callable[[], Awaitable[PcscfStatus]], config: Config) -> None:
        self._gateways = gateways
        self._look = look
        self._config = config
        self._path: Path | None = None
        self._server: asyncio.Server | None = None
        self._work: dict[str, Callable[[Question], Awaitable[Answer]]] = {
            "status": self._status, "metrics": self._metrics, "drain": self._drain, "resume": self._resume,
            "register": self._register, "hand-off": self._hand_off, "pcscf": self._pcscf, "pcscf-metrics": self._pcscf_metrics,
        }

    async def start(self) -> None:
        """Without it calls go on: what is in the way is told, and no more."""
        try:
            path = socket_of(self._config)
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, path, limit=LARGEST)
            path.chmod(0o600)
            self._path = path
        except (OSError, ConfigError) as error:
            log.warning("no-control-socket", why=str(error))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._server = self._path = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer_untrusted(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):
            pass   # who asked has gone, or sent no line; or we end, which asyncio's streams would call an error
        finally:
            writer.close()

    async def _answer_untrusted(self, line: bytes) -> Answer:
        try:
            question = json.loads(line)
            work = self._work.get(question["do"])
            if work is None:
                return {"error": f"nobody can {question['do']}"}
            return await work(question)
        except PcscfError as error:
            return {"error": error.what}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return {"error": f"not a question: {error}"}

    async def _status(self, _question: Question) -> Answer:
        return {"gateways": [each.plain() for each in self._gateways.status()]}

    async def _metrics(self, _question: Question) -> Answer:
        return {"metrics": exposition(self._gateways.status)}

    async def _pcscf(self, _question: Question) -> Answer:
        return {"pcscf": (await self._look()).plain()}

    async def _pcscf_metrics(self, _question: Question) -> Answer:
        return {"metrics": metrics.exposition(await self._look()).decode()}

    async def _drain(self, question: Question) -> Answer:
        self._named(question)
        self._gateways.drain(question["gateway"], drained=True)
        log.info("gateway drained", gateway=question["gateway"])
        return await self._status(question)

    async def _resume(self, question: Question) -> Answer:
        self._named(question)
        self._gateways.drain(question["gateway"], drained=False)
        log.info("gateway resumed", gateway=question["gateway"])
        return await self._status(question)

    async def _register(self, question: Question) -> Answer:
        await self._gateways.order_registration(self._named(question).mid)
        return await self._status(question)

    async def _hand_off(self, question: Question) -> Answer:
        """Drained first, for at most `wait` seconds: sessions that have not ended by then are lost."""
        mid, controller, wait = self._named(question).mid, str(question["to"]), float(question.get("wait", 0.0))
        if address_of_mid(controller) is None:
            raise PcscfError(f"{controller[:80]!r} is not the mId of a controller with an address")
        self._gateways.drain(mid, drained=True)
        try:
            deadline = asyncio.get_running_loop().time() + wait
            while self._named(question).sessions and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - rare
                await asyncio.sleep(LOOK)
            await self._gateways.hand_off(mid, controller)
        finally:
            self._gateways.drain(mid, drained=False)
        return await self._status(question)

    def _named(self, question: Question) -> GatewayStatus:
        """The gateway that is meant. Raises PcscfError."""
        wanted = str(question["gateway"]).lower()
        found = next((each for each in self._gateways.status() if each.mid.lower() == wanted), None)
        if found is None:
            raise PcscfError(f"no gateway {question['gateway']} has ever come")
        return found
