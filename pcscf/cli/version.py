"""`pcscf version`."""

from __future__ import annotations

import platform
import ssl
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import typer


def version() -> None:
    """Tell the versions of pcscf and of what it stands on."""
    parts = [f"{name} {installed(name)}" for name in ("cryptography", "pyOpenSSL", "pydantic")]
    typer.echo(f"pcscf {_own()}")
    typer.echo(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {', '.join(parts)}")


def _own() -> str:
    try:
        return installed("pcscf")
    except PackageNotFoundError:
        return "(run from its sources, not installed)"
