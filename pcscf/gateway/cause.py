"""Why a connection of the gateway ended: one row per cause, with the words that the controller and a person get."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """`general` is the Generalcause of g/cause (H.248.1 Annex E.1: NR, UR, FT, FP, IW, UN); `text` is its Failurecause."""

    PEER_CLOSED = ("NR", "connection released by the peer")
    PARTNER_LOST = ("NR", "connection released because the other side of the context is gone")
    CONNECT_REFUSED = ("FT", "TCP connection refused")
    CONNECT_TIMEOUT = ("FT", "TCP connect timeout")
    CONNECT_FAILED = ("FT", "TCP connection could not be established")
    RESET = ("FT", "TCP connection reset by the peer")
    HANDSHAKE_TIMEOUT = ("FT", "TLS handshake timeout")
    HANDSHAKE_CLOSED = ("FT", "connection closed by the peer during the TLS handshake")
    FINGERPRINT_MISMATCH = ("FP", "TLS certificate fingerprint mismatch")
    NO_CERTIFICATE = ("FP", "TLS peer sent no certificate")
    NO_COMMON_PARAMETERS = ("IW", "no common TLS version or cipher suite")
    PEER_ALERT = ("FP", "TLS peer sent a fatal alert")
    TLS_PROTOCOL = ("FP", "TLS protocol error")
    NO_RESOURCES = ("UR", "no resources for the connection")

    @property
    def general(self) -> str:
        return self.value[0]

    @property
    def text(self) -> str:
        return self.value[1]
