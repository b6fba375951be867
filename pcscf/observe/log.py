"""Structured log records for people (console) or machines (json), on standard error.

Secrets never reach a record, whoever logs them: values are dropped by the name of their key, and credentials inside
texts (header lines, SDES keys) are cut out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_SECRET_KEYS = frozenset(
    {
        "authorization",
        "proxy_authorization",
        "www_authenticate",
        "proxy_authenticate",
        "authentication_info",
        "credentials",
        "password",
        "passwd",
        "secret",
        "token_secret",
        "response",
        "nonce",
        "auts",
        "key",
        "private_key",
        "ck",
        "ik",
        "crypto",
        "body",
        "sdp",
        "payload",
        "data",
        "raw",
    }
)
_CREDENTIAL_LINE = re.compile(
    r"^((?:proxy-)?authorization|(?:www|proxy)-authenticate|authentication-info)([ \t]*:)"
    r"[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*",
    re.IGNORECASE | re.MULTILINE,
)
_SDES_KEY = re.compile(r"(?i)\binline:[A-Za-z0-9+/=]+")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def set_up(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["console", "json"] = "console",
    stream: TextIO | None = None,
) -> None:
    """Configures every logger of the process. `stream` is standard error by default."""
    target = stream or sys.stderr
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if form == "json"
        # A plain traceback: the richer ones print the variables of every frame, messages and keys among them.
        else structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def redact(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """The structlog processor that takes secrets out, at any depth of the record."""
    return {key: REDACTED if _is_secret(key) else _without_secrets(value) for key, value in record.items()}


def _is_secret(key: str) -> bool:
    return key.lower().replace("-", "_") in _SECRET_KEYS


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} octets]"
    if isinstance(value, Mapping):
        return {key: REDACTED if _is_secret(str(key)) else _without_secrets(each) for key, each in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and _is_secret(value[0]):
        return (value[0], REDACTED)
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(each) for each in value]
    return value


def _cut(text: str) -> str:
    text = _CREDENTIAL_LINE.sub(rf"\1\2 {REDACTED}", text)
    return _PRIVATE_KEY.sub(REDACTED, _SDES_KEY.sub(f"inline:{REDACTED}", text))
