"""A few pages over HTTP for those who operate a process: what is asked for is made on the spot. GET and HEAD, nothing else.

Not for strangers: it listens where the configuration says, on the loopback by default, and knows neither users nor TLS.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

MAX_REQUEST: Final = 8192
"""Octets of request line and headers."""
PATIENCE: Final = 5.0
"""Seconds for a request to come, and for its answer to be taken."""
MAX_CLIENTS: Final = 16
"""Clients at the same time; further ones are turned away."""


@dataclass(frozen=True, slots=True)
class Page:
    content_type: str
    body: bytes


def json_page(told: Mapping[str, Any]) -> Page:
    """What programs read."""
    return Page("application/json", json.dumps(told, indent=1).encode() + b"\n")


def metrics_page(exposition: bytes) -> Page:
    """What Prometheus reads."""
    return Page(CONTENT_TYPE, exposition)


Pages = Mapping[str, Callable[[], Awaitable[Page]]]
"""By path, such as "/metrics". A page that has much to look at lets others have their turn."""


class HttpServer:
    """`start` raises OSError when the address cannot be bound."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._clients: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None  # noqa: S101 - only asked of a started server
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def start(self, address: str, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, address, port, limit=MAX_REQUEST)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer, task in list(self._clients.items()):
            writer.close()
            if task is not None:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[writer] = asyncio.current_task()
        try:
            if len(self._clients) <= MAX_CLIENTS:
                async with asyncio.timeout(PATIENCE):
                    writer.write(await self._answer_untrusted(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass   # nobody is there to be answered; or we end, which asyncio's streams would call an error
        finally:
            self._clients.pop(writer, None)
            writer.close()

    async def _answer_untrusted(self, request: bytes) -> bytes:
        """To a request that is complete with its headers, of which nothing but the first line counts."""
        method, _, rest = request.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            return _response("400 Bad Request", Page("text/plain", b"this is no request of HTTP/1.1\n"))
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", Page("text/plain", b"GET or HEAD\n"), "Allow: GET, HEAD")
        make = self._pages.get(target.partition("?")[0])
        if make is None:
            known = "".join(f"{path}\n" for path in self._pages)
            return _response("404 Not Found", Page("text/plain", f"there is:\n{known}".encode()))
        return _response("200 OK", await make(), omit_body=method == "HEAD")


def _response(status: str, page: Page, *more: str, omit_body: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {page.content_type}", f"Content-Length: {len(page.body)}",
             "Cache-Control: no-store", "X-Content-Type-Options: nosniff", "Connection: close", *more, "", ""]  # fmt: skip
    return "\r\n".join(lines).encode() + (b"" if omit_body else page.body)
