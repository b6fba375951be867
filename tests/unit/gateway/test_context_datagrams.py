"""What Iq says of UDP and DTLS streams, and the plans that come of it."""

from __future__ import annotations

import pytest

from pcscf.gateway.cause import Cause
from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.model import LegKey
from pcscf.gateway.notify import connection_ended
from tests.unit.gateway.test_context import IDENTITY, RSA, UE, Gateway, add, media, text_of

NEAR = "ip/1/1/1001"
ASK = ("sha-256 $",)
PEER = {"address": "192.0.2.77", "port": "6100"}


def dtls_call(*, signals: str = "", setup: str = "passive", transport: str = "UDP/DTLS", events: str = "") -> tuple[Gateway, str]:
    gateway = Gateway()
    local = media(transport=transport, setup=setup, prints=ASK)
    remote = media(transport=transport, setup="actpass", prints=(UE,), **PEER)
    access, core = add(local, remote, signals=signals, events=events), add(media(transport="UDP"), realm="core")
    return gateway, gateway.ask(f"Context=${{{access},{core}}}")


@pytest.mark.parametrize("transport", ["UDP/DTLS", "UDP/TLS/UDPTL", "udp/dtls"])
def test_local_states_both_certificates(transport: str) -> None:
    gateway, reply = dtls_call(transport=transport)
    own = [line.removeprefix("a=fingerprint:") for line in reply.splitlines() if line.startswith("a=fingerprint:")]
    assert own == [str(IDENTITY.fingerprint("sha-256")), str(RSA.fingerprint("sha-256"))]
    plan = gateway.plan(NEAR)
    assert (plan.datagram, plan.secure, plan.tcp, plan.tls, plan.complete) == (True, True, None, TlsRole.SERVER, True)
    assert plan.remote == ("192.0.2.77", 6100)
    assert plan.partner == LegKey(1001, "ip/1/2/1002", 1)


@pytest.mark.parametrize("signal", ["dtlsbsc/EstBNC{Stream=1}", "dtls/EstBNC", "tlsbsc/EstBNC{Stream=1}"])
@pytest.mark.parametrize("setup", ["active", "passive", "actpass"])
def test_the_signal_alone_makes_a_client(signal: str, setup: str) -> None:
    assert dtls_call(signals=signal, setup=setup)[0].plan(NEAR).tls is TlsRole.CLIENT
    assert dtls_call(setup=setup)[0].plan(NEAR).tls is TlsRole.SERVER


def test_the_role_and_the_association_stay_when_nothing_changed() -> None:
    gateway, reply = dtls_call(signals="dtlsbsc/EstBNC")
    before = gateway.plan(NEAR)
    own = tuple(line.removeprefix("a=fingerprint:") for line in reply.splitlines() if line.startswith("a=fingerprint:"))
    local = media(transport="UDP/DTLS", setup="active", prints=own, address=before.local[0], port=str(before.local[1]))
    remote = media(transport="UDP/DTLS", setup="passive", prints=(UE,), **PEER)
    gateway.ask(f"Context=1001{{Modify={NEAR}{{Media{{Stream=1{{Local{{{local}}},Remote{{{remote}}}}}}}}}}}")
    assert gateway.plan(NEAR) == before


OURS, THEIRS = "our-association-0000001", "association-of-the-ue-1"


def named_call(signals: str = "") -> Gateway:
    gateway = Gateway()
    local = media(transport="UDP/DTLS", setup="passive", prints=ASK) + f"a=tls-id:{OURS}\n"
    remote = media(transport="UDP/DTLS", setup="actpass", prints=(UE,), **PEER) + f"a=tls-id:{THEIRS}\n"
    reply = gateway.ask(f"Context=${{{add(local, remote, signals=signals)},{add(media(transport='UDP'), realm='core')}}}")
    assert f"a=tls-id:{OURS}\n" in reply
    return gateway


def modify_named(gateway: Gateway, ours: str | None, theirs: str | None) -> None:
    address, port = gateway.plan(NEAR).local
    local = media(transport="UDP/DTLS", setup="passive", address=address, port=str(port)) + (f"a=tls-id:{ours}\n" if ours else "")
    remote = media(transport="UDP/DTLS", prints=(UE,), **PEER) + (f"a=tls-id:{theirs}\n" if theirs else "")
    reply = gateway.ask(f"Context=1001{{Modify={NEAR}{{Media{{Stream=1{{Local{{{local}}},Remote{{{remote}}}}}}}}}}}")
    assert "ER=" not in reply


@pytest.mark.parametrize(("ours", "theirs", "kept"), [
    (OURS, THEIRS, True), ("", "", True), ("", THEIRS, True),
    (OURS, "association-of-the-ue-2", False), ("our-association-0000002", THEIRS, False),
])  # fmt: skip
def test_another_name_on_either_side_is_another_association(ours: str, theirs: str, kept: bool) -> None:
    gateway = named_call("dtlsbsc/EstBNC")
    before = gateway.plan(NEAR)
    assert before.tls_ids == (OURS, THEIRS)
    modify_named(gateway, ours, theirs)
    after = gateway.plan(NEAR)
    assert (after.association == before.association) == kept
    assert after.tls is TlsRole.CLIENT   # until it is said anew


def test_release_ends_the_association_and_its_role_even_where_the_same_comes_again() -> None:
    gateway = named_call("dtlsbsc/EstBNC")
    before = gateway.plan(NEAR)
    remote = media(transport="UDP/DTLS", prints=(UE,), **PEER) + f"a=tls-id:{THEIRS}\n"
    gateway.ask(f"Context=1001{{Modify={NEAR}{{Signals{{dtlsbsc/RelBNC{{Stream=1}}}}}},"
                f"Modify={NEAR}{{Media{{Stream=1{{Remote{{{remote}}}}}}}}}}}")  # fmt: skip
    after = gateway.plan(NEAR)
    assert (after.tls, after.remote) == (TlsRole.SERVER, before.remote)
    assert after.association != before.association
    assert gateway.plan("ip/1/2/1002").generation == 0


def test_plain_udp_waits_for_its_peer_and_has_no_role() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(media(transport='udptl'), mode='Inactive')}}}")
    assert not gateway.plan(NEAR).complete
    gateway.ask(f"Context=1001{{Modify={NEAR}{{Media{{Stream=1{{Remote{{{media(transport='udptl', **PEER)}}}}}}}}}}}")
    plan = gateway.plan(NEAR)
    assert (plan.complete, plan.tcp, plan.rtp, plan.rtcp, plan.fingerprints) == (True, None, False, None, ())


@pytest.mark.parametrize(
    ("ours", "theirs", "rtcp", "mux"),
    [
        ("", "", ("192.0.2.77", 6101), False),
        ("", "a=rtcp:7000\n", ("192.0.2.77", 7000), False),
        ("", "a=rtcp:7000 IN IP4 192.0.2.78\n", ("192.0.2.78", 7000), False),
        ("a=rtcp-mux\n", "a=rtcp-mux\na=rtcp:6100\n", None, True),
        ("a=rtcp-mux\n", "", ("192.0.2.77", 6101), False),
        ("a=rtcp:$\n", "a=rtcp-mux\n", ("192.0.2.77", 6101), False),
    ],
)
def test_rtcp(ours: str, theirs: str, rtcp: tuple[str, int] | None, mux: bool) -> None:
    gateway = Gateway()
    local, remote = media(transport="RTP/AVP") + ours, media(transport="RTP/AVP", **PEER) + theirs
    reply = gateway.ask(f"Context=${{{add(local, remote)}}}")
    plan = gateway.plan(NEAR)
    assert (plan.rtp, plan.rtcp, plan.rtcp_mux) == (True, rtcp, mux)
    assert plan.local[1] % 2 == 0
    assert "a=rtcp:" not in reply  # always the next port


def test_latching() -> None:
    gateway = Gateway()
    local, remote = media(transport="UDP"), media(transport="UDP", **PEER)
    gateway.ask(f"Context=${{{add(local, remote, signals='ipnapt/latch{napt=LATCH}')}}}")
    seen = [gateway.plan(NEAR).latch]
    for mode in ("LATCH", "RELATCH", "OFF"):
        gateway.ask(f"Context=1001{{Modify={NEAR}{{Signals{{ipnapt/latch{{napt={mode}}}}}}}}}")
        seen.append(gateway.plan(NEAR).latch)
    assert seen == [1, 1, 2, 0]


@pytest.mark.parametrize(
    ("local", "remote", "signals", "code"),
    [
        (media(transport="UDP"), media(transport="UDP/DTLS", prints=(UE,), **PEER), "", 473),
        (media(transport="UDP"), media(transport="TCP", **PEER), "", 473),
        (media(transport="UDP"), media(transport="RTP/AVP", **PEER), "", 473),
        (media(transport="UDP/DTLS"), media(transport="UDP/DTLS", prints=("sha-1 " + ":".join(["AB"] * 20),), **PEER), "", 449),
        (media(transport="UDP/DTLS", prints=(UE,)), None, "", 473),
        (media(transport="UDP/DTLS", prints=("md5 $",)), None, "", 449),
        (media(transport="RTP/AVP"), media(transport="RTP/AVP", **PEER) + "a=rtcp:0\n", "", 474),
        (media(transport="RTP/AVP"), media(transport="RTP/AVP", **PEER) + "a=rtcp:7000 IN IP4 host\n", "", 474),
        (media(transport="UDP"), None, "ipnapt/latch{napt=SOMETIMES}", 449),
    ],
)
def test_errors(local: str, remote: str | None, signals: str, code: int) -> None:
    gateway = Gateway()
    assert f"ER={code}{{" in gateway.ask(f"Context=${{{add(local, remote, signals=signals)}}}")
    assert not gateway.plans
    assert not gateway.ports.taken


@pytest.mark.parametrize(
    ("armed", "told"),
    [
        ("tlsbsc/BNCChange{Type=Rel},dtlsbsc/BNCChange{Type=Rel},g/cause", "dtlsbsc/BNCChange"),
        ("tlsbsc/BNCChange{Type=Rel},g/cause", "tlsbsc/BNCChange"),
        ("tcpbcc/BNCChange{Type=Rel},g/cause", "g/cause"),
    ],
)
def test_what_failed_is_told_as_dtls(armed: str, told: str) -> None:
    gateway, _ = dtls_call(events=armed)
    leg = LegKey(1001, NEAR, 1)
    termination = gateway.table.termination(leg)
    assert termination is not None
    action = connection_ended(termination, leg, Cause.FINGERPRINT_MISMATCH, "20260101T00000000")
    assert action is not None
    assert f"20260101T00000000:{told}" in text_of((action,))
