"""The transports of Iq, and the certificates of TLS on it: what a controller and a gateway have in common."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from pcscf.config.values import Block, File, Mid, Word, fault

_SHA_256 = re.compile(r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")


def _fingerprint(text: str) -> str:
    if not _SHA_256.fullmatch(text):
        raise fault(
            f"{text[:20]!r} is no SHA-256 fingerprint",
            "write 32 octets in hexadecimal, as `openssl x509 -noout -fingerprint -sha256 -in FILE` does",
        )
    return text


Fingerprint = Annotated[str, AfterValidator(_fingerprint), Word("SHA-256 fingerprint")]
IqTransport = Literal["udp", "tcp", "tls", "sctp"]
IPPROTO_SCTP: Final = 132


class IqTls(Block):
    """TLS on Iq, with a certificate on both ends. A peer speaks only for mIds whose address or domain name its certificate
    carries. SIGHUP reads the files again, for connections from then on."""

    ca: File
    """File with the certificates (PEM) of those who vouch for peers."""
    certificate: File
    """File with our certificate and its chain (PEM)."""
    key: File | None = None
    """File with the private key (PEM), when it is not in the certificate's file."""
    peers: Mapping[Mid, Fingerprint] = Field(default_factory=dict)
    """Fingerprints (SHA-256) by mId: such a peer must show this certificate, whatever names are in it. A device name needs one,
    since no certificate carries it. On a gateway also by "[ADDRESS]:PORT" of a controller."""


def kernel_has_sctp() -> bool:
    """Whether the kernel of this machine speaks SCTP, once it has loaded the module that it may need."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
    except OSError as error:
        return error.errno not in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
    return True
