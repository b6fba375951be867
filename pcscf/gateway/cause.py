"""Why a connection of the gateway ended: one row per cause, with the words that the controller and a person get."""

from __future__ import annotations

from enum import Enum

from pcscf.h248 import packages


class Cause(Enum):
    """`general` is the Generalcause of g/cause (H.248.1 Annex E.1); `text` is its Failurecause."""

    PEER_CLOSED = (packages.CAUSE_NORMAL_RELEASE, "connection released by the peer")
    PARTNER_LOST = (packages.CAUSE_NORMAL_RELEASE, "connection released because the other side of the context is gone")
    CONNECT_REFUSED = (packages.CAUSE_FAILURE_TEMPORARY, "TCP connection refused")
    CONNECT_TIMEOUT = (packages.CAUSE_FAILURE_TEMPORARY, "TCP connect timeout")
    CONNECT_FAILED = (packages.CAUSE_FAILURE_TEMPORARY, "TCP connection could not be established")
    LEADS_BACK = (packages.CAUSE_FAILURE_PERMANENT, "the connection would lead back to the gateway itself")
    NOBODY_CONNECTED = (packages.CAUSE_FAILURE_TEMPORARY, "the peer made no TCP connection")
    RESET = (packages.CAUSE_FAILURE_TEMPORARY, "TCP connection reset by the peer")
    HANDSHAKE_TIMEOUT = (packages.CAUSE_FAILURE_TEMPORARY, "TLS handshake timeout")
    HANDSHAKE_CLOSED = (packages.CAUSE_FAILURE_TEMPORARY, "connection closed by the peer during the TLS handshake")
    FINGERPRINT_MISMATCH = (packages.CAUSE_FAILURE_PERMANENT, "TLS certificate fingerprint mismatch")
    NO_CERTIFICATE = (packages.CAUSE_FAILURE_PERMANENT, "TLS peer sent no certificate")
    NO_COMMON_PARAMETERS = (packages.CAUSE_INTERWORKING_ERROR, "no common TLS version or cipher suite")
    PEER_ALERT = (packages.CAUSE_FAILURE_PERMANENT, "TLS peer sent a fatal alert")
    TLS_PROTOCOL = (packages.CAUSE_FAILURE_PERMANENT, "TLS protocol error")
    BAD_FRAME = (packages.CAUSE_FAILURE_PERMANENT, "not an MSRP frame of the session")
    SLOW_PEER = (packages.CAUSE_UNAVAILABLE_RESOURCES, "the peer did not take what was sent to it, and others needed the memory")
    NO_RESOURCES = (packages.CAUSE_UNAVAILABLE_RESOURCES, "no resources for the connection")

    @property
    def general(self) -> str:
        return self.value[0]

    @property
    def text(self) -> str:
        return self.value[1]
