"""What the gateway shows of itself on protected streams: its certificates, and the TLS and DTLS contexts that have them.

A stream is given its credentials once, together with the fingerprints that its Local descriptor states, and keeps them: when
certificates are renewed, running streams go on with theirs, and new ones get the new. What no stream holds any more is gone,
keys and all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from pcscf.gateway.certificate import OFFERED, Fingerprint, Identity
from pcscf.gateway.dtls import DtlsContext
from pcscf.gateway.endpoint import TlsContext

_COOKIE_SECRET: Final = 32


class Credentials:
    """`identities`: one per kind of key. TLS shows the first; DTLS has all of them, since its mandatory suites need an RSA key
    (RFC 7345 §4.1) and others do better with an elliptic curve.
    """

    def __init__(self, identities: Sequence[Identity]) -> None:
        self.identities = tuple(identities)
        self._known: dict[tuple[str, bool], tuple[Fingerprint, ...]] = {}

    def fingerprints(self, hash_name: str, *, datagram: bool) -> tuple[Fingerprint, ...]:
        """Of every certificate that may be shown (RFC 8122 §5); none for a hash that is not offered."""
        key = hash_name, datagram
        if key not in self._known:
            shown = self.identities if datagram else self.identities[:1]
            known = hash_name in OFFERED
            self._known[key] = tuple(one.fingerprint(hash_name) for one in shown) if known else ()
        return self._known[key]

    @cached_property
    def tls(self) -> TlsContext:
        return TlsContext(self.identities[0])

    @cached_property
    def dtls(self) -> DtlsContext:
        return DtlsContext(self.identities, os.urandom(_COOKIE_SECRET))
