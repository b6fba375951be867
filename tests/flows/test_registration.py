"""REGISTER: TS 24.229 §5.2.2, TS 33.328 §7.1.2, RFC 3327, RFC 3329, RFC 3608."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.procedures.site import Limits
from pcscf.sip.flow import Flow
from tests.support.flowbed import ACCESS_UDP, Bed
from tests.support.parties import IDENTITY, PROTECTED_OFFER, SERVICE_ROUTE, Ue, answered, bed_with_ue, granted
from tests.support.virtual import run_virtually

MEDIASEC = "Security-Client: msrp-tls;mediasec\nRequire: mediasec\nProxy-Require: mediasec"


def story(tale: Callable[[Bed, Ue], Awaitable[None]], **settings: object) -> None:
    """Run `tale` with a UE that has not registered yet."""

    async def run() -> None:
        bed = Bed(**settings)  # type: ignore[arg-type]
        await bed.start()
        await tale(bed, Ue(bed, bed.ue))
        await bed.close()

    run_virtually(run)


def test_what_the_core_gets_and_what_the_ue_is_told() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.send_register(more=MEDIASEC + "\nSupported: path")
        register = await bed.core.expect("REGISTER")
        for name in ("Security-Client", "Security-Verify", "Proxy-Require", "Route"):
            assert register.get(name) is None
        assert register.values("Require") == ["path"]
        (path,) = register.values("Path")
        assert path.startswith("<sip:b")
        assert path.endswith("@198.51.100.1:5070;lr>")
        assert register.get("P-Visited-Network-ID") == '"visited.example"'
        assert "icid-value=" in register.get("P-Charging-Vector")
        assert register.get("Max-Forwards") == "69"
        assert "received=192.0.2.10" in register.values("Via")[1] or "rport=40001" in register.values("Via")[1]
        challenge = granted(register)
        challenge.status, challenge.reason = 401, "Unauthorized"
        challenge.add("Security-Server", "bfcp-tls;mediasec")
        challenge.add("P-Charging-Vector", "icid-value=secret")
        bed.core.send(challenge)
        told = await bed.ue.expect(401)
        assert told.get_all("Security-Server") == ["msrp-tls;mediasec"]
        assert told.get("P-Charging-Vector") is None
        assert len(told.values("Via")) == 1

    story(tale)


def test_what_a_200_teaches() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        (binding,) = bed.store.bindings()
        assert binding.identities == (IDENTITY,)
        assert binding.service_route == (SERVICE_ROUTE,)
        assert binding.agreed.on("msrp-tls")
        assert binding.expires_at == pytest.approx(601, abs=1)
        assert ue.routes == [SERVICE_ROUTE]
        assert bed.ue.seen[-1].get_all("Security-Server") == ["msrp-tls;mediasec"]

    story(tale)


def test_a_refresh_replaces_what_was_agreed() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        await ue.register(mediasec=False)
        (binding,) = bed.store.bindings()
        assert not binding.agreed.on("msrp-tls")

    story(tale)


def test_a_refused_refresh_leaves_the_binding_as_it_was() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        ue.send_register()
        bed.core.send(answered(await bed.core.expect("REGISTER"), 403, body=""))
        await bed.ue.expect(403)
        (binding,) = bed.store.bindings()
        assert binding.agreed.on("msrp-tls")
        assert binding.is_registered(bed.ports.now())

    story(tale)


def test_deregistration_drops_the_binding() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        await ue.register(expires=0)
        assert not bed.store.bindings()
        ue.invite()
        await bed.ue.expect(403)

    story(tale)


def test_a_star_drops_every_binding_of_the_address() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        ue.cseq += 1
        bed.ue.send(
            "REGISTER sip:ims.example SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKstar\r\n"
            f"From: {IDENTITY};tag=ra\r\nTo: {IDENTITY}\r\nCall-ID: reg@192.0.2.10\r\nCSeq: {ue.cseq} REGISTER\r\n"
            "Contact: *\r\nExpires: 0\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
        bed.core.send(answered(await bed.core.expect("REGISTER"), body=""))
        await bed.ue.expect(200)
        assert not bed.store.bindings()

    story(tale)


def test_a_query_teaches_nothing() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.ue.send(
            "REGISTER sip:ims.example SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKquery\r\n"
            f"From: {IDENTITY};tag=ra\r\nTo: {IDENTITY}\r\nCall-ID: q@192.0.2.10\r\nCSeq: 1 REGISTER\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
        answer = answered(await bed.core.expect("REGISTER"), body="")
        answer.set("Contact", "<sip:somebody@elsewhere.example>;expires=600")
        bed.core.send(answer)
        await bed.ue.expect(200)
        assert not bed.store.bindings()

    story(tale)


@pytest.mark.parametrize(("client", "told"), [
    ("", []),
    ("Security-Client: tls", []),
    ("Security-Client: msrp-tls", []),
    ("Security-Client: sdes-srtp;mediasec", ["msrp-tls;mediasec"]),
    ("Security-Client: tls;q=0.2, MSRP-TLS ; MediaSec, bfcp-tls;mediasec", ["msrp-tls;mediasec"]),
    ("Security-Client: ipsec-3gpp;alg=hmac-sha-1-96;spi-c=1;spi-s=2;port-c=5;port-s=6\nSecurity-Client: msrp-tls;mediasec",
     ["msrp-tls;mediasec"]),
])
def test_who_is_told_of_media_security(client: str, told: list[str]) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.send_register(more=client)
        bed.core.send(answered(await bed.core.expect("REGISTER"), 401, body=""))
        assert (await bed.ue.expect(401)).get_all("Security-Server") == told

    story(tale)


def test_nothing_is_announced_over_an_unprotected_interface() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.peer = bed.peer("udp-ue", Flow("udp", "gm-udp", ACCESS_UDP, ("192.0.2.11", 5060), 0))
        ue.send_register(more=MEDIASEC)
        bed.core.send(answered(await bed.core.expect("REGISTER"), 401, body=""))
        assert (await ue.peer.expect(401)).get_all("Security-Server") == []

    story(tale)


@pytest.mark.parametrize("verify", [
    "Security-Verify: bfcp-tls;mediasec",
    "Security-Verify: msrp-tls;mediasec\nSecurity-Verify: msrp-tls;mediasec",
    "Security-Verify: msrp-tls;mediasec, bfcp-tls;mediasec",
])
@pytest.mark.parametrize("status", [494, 403])
def test_an_altered_list_is_refused(verify: str, status: int) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.send_register(more=MEDIASEC)
        bed.core.send(answered(await bed.core.expect("REGISTER"), 401, body=""))
        await bed.ue.expect(401)
        ue.send_register(more=f"{MEDIASEC}\n{verify}")
        refusal = await bed.ue.expect(status)
        if status == 494:
            assert refusal.get_all("Security-Server") == ["msrp-tls;mediasec"]
            assert refusal.values("Require") == ["mediasec"]
        assert bed.core.count("REGISTER") == 1

    story(tale, policy=MediaPolicy(verify_mismatch_status=status))  # type: ignore[arg-type]


def test_after_a_494_the_list_is_mirrored_without_being_repeated() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.send_register(more=f"{MEDIASEC}\nSecurity-Verify: sdes-srtp;mediasec")
        await bed.ue.expect(494)
        ue.send_register(more="Security-Verify: msrp-tls;mediasec\nRequire: mediasec\nProxy-Require: mediasec")
        bed.core.send(granted(await bed.core.expect("REGISTER")))
        await bed.ue.expect(200)
        (binding,) = bed.store.bindings()
        assert binding.agreed.on("msrp-tls")

    story(tale)


def test_a_ue_that_does_not_confirm_gets_no_media_capability() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.send_register(more=MEDIASEC)
        bed.core.send(answered(await bed.core.expect("REGISTER"), 401, body=""))
        await bed.ue.expect(401)
        ue.send_register(more=MEDIASEC)
        bed.core.send(granted(await bed.core.expect("REGISTER")))
        await bed.ue.expect(200)
        (binding,) = bed.store.bindings()
        assert not binding.agreed.on("msrp-tls")

    story(tale)


def test_an_invite_with_an_altered_list_is_refused() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        ue.invite(more="Security-Verify: bfcp-tls;mediasec\nRequire: mediasec\nProxy-Require: mediasec")
        assert (await bed.ue.expect(494)).get_all("Security-Server") == ["msrp-tls;mediasec"]
        ue.invite(more="Security-Verify: msrp-tls;mediasec\nRequire: mediasec\nProxy-Require: mediasec", call="call-2")
        invite = await bed.core.expect("INVITE")
        assert invite.get("Require") is None
        assert invite.get("Security-Verify") is None
        bed.core.send(answered(invite, 486, body=""))
        await bed.ue.expect(486)

    story(tale)


def test_the_registrar_that_does_not_answer() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.send_register()
        await bed.ue.expect(504, within=60)
        await bed.settle(300)
        bed.watch()
        assert not bed.store.bindings()

    story(tale)


def test_a_binding_that_nobody_refreshes_expires() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register(expires=60)
        await bed.settle(50)
        bed.watch()
        assert bed.store.bindings()
        await bed.settle(20)
        bed.watch()
        assert not bed.store.bindings()

    story(tale)


def test_limits_of_bindings() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        other = Ue(bed, bed.peer("other", bed.ue.flow._replace(remote=("192.0.2.77", 1), connection=9)))
        other.send_register()
        assert (await other.peer.expect(503)).get("Retry-After")

    story(tale, limits=Limits(bindings=1))


def test_who_is_not_registered_cannot_call() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        await bed.ue.expect(403)
        await ue.register()
        stranger = Ue(bed, bed.peer("stranger", bed.ue.flow._replace(remote=("192.0.2.66", 1), connection=9)), cseq=70)
        stranger.invite()
        await stranger.peer.expect(403)
        assert bed.core.count("INVITE") == 0

    story(tale)


def test_what_a_ue_must_not_say_is_not_heard() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        ue.invite(PROTECTED_OFFER, more=(
            "P-Asserted-Identity: <sip:president@ims.example>\nP-Preferred-Identity: <sip:alice@ims.example>\n"
            "P-Charging-Vector: icid-value=mine\nRoute: <sip:evil.example;lr>"))
        invite = await bed.core.expect("INVITE")
        assert invite.get_all("P-Asserted-Identity") == [IDENTITY]
        assert invite.get("P-Preferred-Identity") is None
        assert "mine" not in invite.get("P-Charging-Vector")
        assert invite.values("Route") == [SERVICE_ROUTE]
        bed.core.send(answered(invite, 486, body=""))
        await bed.ue.expect(486)

    story(tale)


def test_requests_outside_sessions_pass() -> None:
    async def run() -> None:
        bed, ue = await bed_with_ue()
        ue.cseq += 1
        ue.peer.send(
            "MESSAGE sip:bob@ims.example SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKmsg;rport\r\n"
            f"From: {IDENTITY};tag=m\r\nTo: <sip:bob@ims.example>\r\nCall-ID: m@192.0.2.10\r\nCSeq: {ue.cseq} MESSAGE\r\n"
            "Max-Forwards: 70\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
        message = await bed.core.expect("MESSAGE")
        assert message.body == b"hi"
        assert message.get("Record-Route") is None
        bed.core.send(answered(message, 202, body=""))
        await bed.ue.expect(202)
        (binding,) = bed.store.bindings()
        bed.core.send(
            "OPTIONS sip:alice@192.0.2.10:40001;transport=tls SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bKopt\r\n"
            f"Route: <sip:{binding.token}@198.51.100.1:5070;lr>\r\nFrom: <sip:core@ims.example>;tag=o\r\nTo: {IDENTITY}\r\n"
            "Call-ID: o@core\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
        options = await bed.ue.expect("OPTIONS")
        assert options.get("Route") is None
        ue.answer(options)
        await bed.core.expect(200)
        await bed.close()

    run_virtually(run)


def test_an_options_for_the_pcscf_itself() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.ue.send(
            "OPTIONS sip:203.0.113.1:5061 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKping;rport\r\n"
            f"From: {IDENTITY};tag=m\r\nTo: <sip:203.0.113.1:5061>\r\nCall-ID: p@192.0.2.10\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
        assert "INVITE" in (await bed.ue.expect(200)).get("Allow")

    story(tale)


def test_the_core_reaches_nobody_without_a_path() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await ue.register()
        (binding,) = bed.store.bindings()
        request = (
            "OPTIONS sip:alice@192.0.2.10:40001 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bK{0}\r\n"
            "{1}From: <sip:core@ims.example>;tag=o\r\nTo: " + IDENTITY + "\r\n"
            "Call-ID: {0}@core\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
        bed.core.send(request.format("none", ""))
        await bed.core.expect(404)
        forged = binding.token[:-1] + ("A" if binding.token[-1] != "A" else "B")
        bed.core.send(request.format("forged", f"Route: <sip:{forged}@198.51.100.1:5070;lr>\r\n"))
        await bed.core.expect(403)
        bed.net.dead.add(bed.ue.flow)
        bed.core.send(request.format("dead", f"Route: <sip:{binding.token}@198.51.100.1:5070;lr>\r\n"))
        await bed.core.expect(430)

    story(tale)
