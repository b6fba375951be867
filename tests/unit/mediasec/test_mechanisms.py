"""The table of media."""

from __future__ import annotations

import pytest

from pcscf.mediasec.mechanisms import BFCP, BY_MECHANISM, BY_NAME, FAX, MEDIA, MSRP, Medium, is_protected, medium_of


@pytest.mark.parametrize(
    ("media", "proto", "expected"),
    [
        ("message", "TCP/MSRP", (MSRP, False)),
        ("message", "tcp/tls/msrp", (MSRP, True)),
        ("MESSAGE", "TCP/TLS/MSRP", (MSRP, True)),
        ("application", "TCP/BFCP", (BFCP, False)),
        ("application", "TCP/TLS/BFCP", (BFCP, True)),
        ("image", "UDPTL", (FAX, False)),
        ("image", "udptl", (FAX, False)),
        ("image", "UDP/TLS/UDPTL", (FAX, True)),
        ("audio", "TCP/MSRP", None),
        ("application", "UDP/TLS/BFCP", None),
        ("application", "TCP/DTLS/BFCP", None),
        ("image", "TCP", None),
        ("audio", "RTP/AVP", None),
    ],
)
def test_medium_of(media: str, proto: str, expected: tuple[Medium, bool] | None) -> None:
    assert medium_of(media, proto) == expected


@pytest.mark.parametrize(
    ("proto", "protected"),
    [
        ("TCP/TLS/MSRP", True), ("UDP/TLS/RTP/SAVPF", True), ("RTP/SAVP", True), ("RTP/SAVPF", True),
        ("TCP/DTLS/BFCP", True), ("udp/tls/udptl", True),
        ("RTP/AVP", False), ("udptl", False), ("TCP/MSRP", False), ("TCP", False),
    ],
)  # fmt: skip
def test_is_protected(proto: str, *, protected: bool) -> None:
    assert is_protected(proto) is protected


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(BY_MECHANISM) == len(MEDIA)
    assert [medium.secure_transport for medium in MEDIA] == ["TCP/TLS", "TCP/TLS", "UDP/DTLS"]
