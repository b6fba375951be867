"""The context table, driven with H.248 text: what it answers, and what it tells the relay to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

import pytest

from pcscf.errors import H248Error
from pcscf.gateway import notify
from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import self_signed, self_signed_rsa
from pcscf.gateway.config import Realm
from pcscf.gateway.context import ContextTable, TableSettings
from pcscf.gateway.credentials import Credentials
from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.model import Address, Close, Configure, ControllerOrder, Effect, LegKey, LegPlan, TcpRole, Wanted
from pcscf.gateway.policing import Contract
from pcscf.gateway.statistics import Count
from pcscf.gateway.watch import SWEEP
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import Action, Message, TransactionReply, TransactionRequest

IDENTITY = self_signed(datetime.now(UTC))
RSA = self_signed_rsa(datetime.now(UTC))
OWN = str(IDENTITY.fingerprint("sha-256"))
UE = "sha-256 " + ":".join(["AB"] * 32)


class FakePorts:
    """Ports 40000 and up of 192.0.2.1 / 2001:db8::1 (access) and 198.51.100.1 (core), at most `left` of them."""

    def __init__(self, left: int = 100) -> None:
        self.left = left
        self.taken: set[Address] = set()
        self.active: dict[LegKey, float] = {}
        self.counts: dict[LegKey, Count] = {}
        self._numbers: Iterator[int] = count(40000)

    def reserve(self, wanted: Wanted) -> Address:
        if wanted.realm == "core" and wanted.family == "IP6":
            raise H248Error(449, "Unsupported or Unknown Parameter or Property Value: no IPv6 address")
        if wanted.pair and next(self._numbers) % 2 == 0:
            next(self._numbers)
        host = "198.51.100.1" if wanted.realm == "core" else "2001:db8::1" if wanted.family == "IP6" else "192.0.2.1"
        if wanted.address not in ("", host):
            raise H248Error(449, f"Unsupported or Unknown Parameter or Property Value: {wanted.address}")
        local = (host, wanted.port if wanted.port is not None else next(self._numbers))
        if local in self.taken or len(self.taken) >= self.left:
            raise H248Error(510, "Insufficient resources")
        self.taken.add(local)
        return local

    def release(self, local: Address) -> None:
        self.taken.remove(local)

    def count(self, leg: LegKey) -> Count:
        return self.counts.get(leg, Count())

    def idle_since(self, leg: LegKey, direction: str) -> float:
        return self.active.get(leg, 0.0)


class Gateway:
    """The table with everything around it played by the test; closed legs give their ports back as the relay does."""

    def __init__(self, *, contexts: int = 10, ports: int = 100, minimum: str = "sha-256") -> None:
        self.ports = FakePorts(ports)
        realms = (Realm("access", ("192.0.2.1", "2001:db8::1")), Realm("core", ("198.51.100.1",)))
        self.credentials = Credentials((IDENTITY, RSA))
        settings = TableSettings(realms, lambda: self.credentials, 1001, contexts, minimum)
        self.table = ContextTable(settings, self.ports, self.ports)
        self.now = 0.0
        self.plans: dict[LegKey, LegPlan] = {}
        self.effects: list[Effect] = []

    def ask(self, body: str) -> str:
        """The compact text of the reply's actions to one transaction with these actions."""
        message = decode_untrusted(f"MEGACO/2 [192.0.2.9]:2944\nTransaction=1{{{body}}}".encode())
        request = message.transactions[0]
        assert isinstance(request, TransactionRequest)
        actions, self.effects = self.table.execute(request.actions, self.now)
        for effect in self.effects:
            if isinstance(effect, Close):
                del self.plans[effect.leg]
                self.ports.release(effect.local)
            elif isinstance(effect, Configure):
                self.plans[effect.leg] = effect.plan
        return text_of(actions)

    def plan(self, termination: str, stream: int = 1) -> LegPlan:
        return next(plan for leg, plan in self.plans.items() if leg.termination == termination and leg.stream == stream)


def text_of(actions: tuple[Action, ...]) -> str:
    encoded = encode_compact(Message("[192.0.2.1]:2944", (TransactionReply(1, actions),))).decode()
    return encoded[encoded.index("{") + 1 : -1].replace("\r\n", "\n")


def media(
    *, setup: str = "", transport: str = "TCP", address: str = "$", port: str = "$", prints: tuple[str, ...] = (), family: int = 4
) -> str:
    lines = ["v=0", f"c=IN IP{family} {address}", f"m=message {port} {transport} -"]
    lines += [f"a=setup:{setup}"] if setup else []
    lines += [f"a=fingerprint:{one}" for one in prints]
    return "\n" + "\n".join(lines) + "\n"


def add(
    local: str, remote: str | None = None, *, realm: str = "access", mode: str = "SendReceive", events: str = "",
    signals: str = "", control: str = "", name: str = "ip/1/$/$", stream: int = 1,
) -> str:  # fmt: skip
    parts = [f"LocalControl{{Mode={mode},ipdc/realm=\"{realm}\"{control}}}", f"Local{{{local}}}"]
    parts += [f"Remote{{{remote}}}"] if remote is not None else []
    more = [f"Events=7{{{events}}}"] if events else []
    more += [f"Signals{{{signals}}}"] if signals else []
    return f"Add={name}{{{','.join([f'Media{{Stream={stream}{{{chr(44).join(parts)}}}}}', *more])}}}"


TLS_LOCAL = media(setup="passive", transport="TCP/TLS", prints=("sha-256 $",))
TLS_REMOTE = media(setup="active", transport="TCP/TLS", address="192.0.2.77", port="7654", prints=(UE,))
BAD_MASK = ',gm/saf=ON,gm/sam="[nonsense]"'
STOPPED = 'adid/ipstop{dt=10,dir="BOTH"}'
CORE_LOCAL = media(setup="active")
CORE_REMOTE = media(setup="passive", address="198.51.100.9", port="2855")


def protected_call() -> Gateway:
    """Context 1001 with ip/1/1/1001 (access, TLS) and ip/1/2/1002 (core)."""
    gateway = Gateway()
    armed = "g/cause,tcpbcc/BNCChange{Type=Rel},tlsbsc/BNCChange{Type=Rel}"
    gateway.ask(
        f"Context=${{{add(TLS_LOCAL, TLS_REMOTE, events=armed)},{add(CORE_LOCAL, CORE_REMOTE, realm='core', events='g/cause')}}}"
    )
    return gateway


def test_add_answers_with_the_whole_local_descriptor() -> None:
    gateway = Gateway()
    reply = gateway.ask(f"Context=${{{add(TLS_LOCAL, mode='Inactive')}}}")
    assert reply == (
        "C=1001{A=ip/1/1/1001{M{ST=1{L{\nv=0\no=- 0 0 IN IP4 192.0.2.1\ns=-\nt=0 0\nc=IN IP4 192.0.2.1\n"
        f"m=message 40000 TCP/TLS -\na=setup:passive\na=fingerprint:{OWN}\n}}}}}}}}}}"
    )
    plan = gateway.plan("ip/1/1/1001")
    assert plan.local == ("192.0.2.1", 40000)
    assert plan.secure
    assert plan.tcp is TcpRole.ACCEPT
    assert plan.tls is TlsRole.SERVER
    assert not plan.complete
    assert not plan.receives
    assert not plan.sends


def test_both_sides_of_a_call_become_partners() -> None:
    gateway = protected_call()
    access, core = gateway.plan("ip/1/1/1001"), gateway.plan("ip/1/2/1002")
    assert access.partner == LegKey(1001, "ip/1/2/1002", 1)
    assert core.partner == LegKey(1001, "ip/1/1/1001", 1)
    assert access.complete
    assert access.remote == ("192.0.2.77", 7654)
    assert [str(one) for one in access.fingerprints] == [UE]
    assert core.tcp is TcpRole.CONNECT
    assert core.remote == ("198.51.100.9", 2855)
    assert access.receives
    assert access.sends


@pytest.mark.parametrize("spelling", ["sha-256 $", "SHA-256 $", "$", "$ $", "- $"])
def test_every_spelling_of_the_fingerprint_request(spelling: str) -> None:
    gateway = Gateway()
    reply = gateway.ask(f"Context=${{{add(media(transport='TCP/TLS', prints=(spelling,)))}}}")
    assert f"a=fingerprint:{OWN}\n" in reply
    assert reply.count("fingerprint") == 1


def test_other_hashes_on_request_and_our_fingerprint_unasked() -> None:
    gateway = Gateway()
    reply = gateway.ask(f"Context=${{{add(media(transport='TCP/TLS', prints=('sha-512 $',)))}}}")
    assert f"a=fingerprint:{IDENTITY.fingerprint('sha-512')}\n" in reply
    reply = gateway.ask(f"Context=${{{add(media(transport='TCP/TLS/MSRP'))}}}")
    assert f"a=fingerprint:{OWN}\n" in reply
    assert "fingerprint" not in gateway.ask(f"Context=${{{add(media(transport='TCP/MSRP'))}}}")


@pytest.mark.parametrize(
    ("local", "remote", "role"),
    [
        ("active", "passive", TcpRole.CONNECT), ("active", "", TcpRole.CONNECT), ("active", "actpass", TcpRole.CONNECT),
        ("passive", "active", TcpRole.ACCEPT), ("passive", "", TcpRole.ACCEPT), ("passive", "actpass", TcpRole.ACCEPT),
        ("actpass", "active", TcpRole.ACCEPT), ("actpass", "passive", TcpRole.CONNECT), ("actpass", "", TcpRole.ACCEPT),
        ("", "active", TcpRole.ACCEPT), ("", "passive", TcpRole.CONNECT), ("", "", TcpRole.ACCEPT),
        ("holdconn", "active", None), ("active", "holdconn", None),
    ],
)  # fmt: skip
def test_who_connects(local: str, remote: str, role: TcpRole | None) -> None:
    gateway = Gateway()
    far = media(setup=remote, address="192.0.2.77", port="7654")
    gateway.ask(f"Context=${{{add(media(setup=local), far)}}}")
    assert gateway.plan("ip/1/1/1001").tcp is role


@pytest.mark.parametrize("role", ["active", "passive"])
def test_two_equal_roles_conflict(role: str) -> None:
    gateway = Gateway()
    reply = gateway.ask(f"Context=${{{add(media(setup=role), media(setup=role, address='192.0.2.77', port='1'))}}}")
    assert reply.startswith("C=-{A=ip/1/$/${ER=473{")
    assert gateway.table.contexts == {}
    assert gateway.ports.taken == set()


def test_actpass_is_settled_by_the_remote_descriptor_alone() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(media(setup='actpass', transport='TCP/TLS'), mode='Inactive')}}}")
    far = media(setup="passive", transport="TCP/TLS", address="192.0.2.77", port="7660", prints=(UE,))
    reply = gateway.ask(f"Context=1001{{Modify=ip/1/1/1001{{Media{{Stream=1{{Remote{{{far}}}}}}},Signals{{tlsbsc/EstBNC}}}}}}")
    assert reply == "C=1001{MF=ip/1/1/1001}"
    plan = gateway.plan("ip/1/1/1001")
    assert plan.tcp is TcpRole.CONNECT
    assert plan.tls is TlsRole.CLIENT
    assert plan.triggers == 0


def test_the_tls_role_persists_and_the_trigger_counts() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(CORE_LOCAL.replace('TCP -', 'TCP/TLS -'), signals='tcpbcc/EstBNC{Stream=1},tlsbsc/EstBNC')}}}")
    assert gateway.plan("ip/1/1/1001").triggers == 1
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Media{Stream=1{LocalControl{Mode=Inactive}}},Signals{tcpbcc/estbnc}}}")
    plan = gateway.plan("ip/1/1/1001")
    assert plan.tls is TlsRole.CLIENT
    assert plan.triggers == 2
    assert not plan.sends


def test_est_bnc_without_any_setup_makes_the_gateway_active() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(media(), media(address='192.0.2.77', port='5'), signals='tcpbcc/EstBNC')}}}")
    assert gateway.plan("ip/1/1/1001").tcp is TcpRole.CONNECT


def test_est_bnc_against_a_passive_role_conflicts() -> None:
    gateway = Gateway()
    assert "ER=473" in gateway.ask(f"Context=${{{add(media(setup='passive'), signals='tcpbcc/EstBNC')}}}")


def test_mode_alone_changes_only_the_gate() -> None:
    gateway = protected_call()
    before = gateway.plan("ip/1/1/1001")
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Media{Stream=1{LocalControl{Mode=ReceiveOnly}}}}}")
    after = gateway.plan("ip/1/1/1001")
    assert (after.receives, after.sends) == (True, False)
    assert after.association == before.association
    assert gateway.effects == [Configure(LegKey(1001, "ip/1/1/1001", 1), after)]


def test_nothing_changed_means_no_effect() -> None:
    gateway = protected_call()
    gateway.ask(f"Context=1001{{Modify=ip/1/1/1001{{Media{{Stream=1{{Remote{{{TLS_REMOTE}}}}}}}}}}}")
    assert gateway.effects == []


def test_the_strongest_offered_hash_counts() -> None:
    gateway = Gateway()
    strong = "sha-512 " + ":".join(["CD"] * 64)
    far = media(transport="TCP/TLS", address="192.0.2.77", port="9", prints=(UE, strong.lower(), "md5 " + ":".join(["01"] * 16)))
    gateway.ask(f"Context=${{{add(media(transport='TCP/TLS'), far)}}}")
    assert [str(one) for one in gateway.plan("ip/1/1/1001").fingerprints] == [strong]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("Context=5{Modify=ip/1/1/1{Media{Stream=1{LocalControl{Mode=Inactive}}}}}", 411),
        ("Context=${Modify=ip/1/1/1}", 421),
        ("Context=1001{Modify=ip/1/1/999}", 430),
        ("Context=1001{Modify=ip/1/$/$}", 430),
        ("Context=1001{Subtract=ip/2/*/*}", 431),
        ("Context=1001{Add=ip/1/1/1001}", 433),
        (f"Context=1001{{{add(CORE_LOCAL)}}}", 434),
        ("Context=${Add=ip/1/$/$}", 441),
        ("Context=1001{Modify=ip/1/1/1001{Media{Stream=2{LocalControl{Mode=Inactive}}}}}", 441),
        ("Context=1001{Modify=ip/1/1/1001{Packages{g-1}}}", 444),
        ("Context=1001{AuditValue=ip/1/1/1001{Audit{DigitMap}}}", 444),
        (f"Context=${{{add(CORE_LOCAL, realm='nowhere')}}}", 449),
        (f"Context=${{{add(CORE_LOCAL, control=',ds/dscp=64')}}}", 449),
        (f"Context=${{{add(CORE_LOCAL, control=BAD_MASK)}}}", 449),
        (f"Context=${{{add(CORE_LOCAL, control=',wonder/thing=1')}}}", 440),
        (f"Context=${{{add(CORE_LOCAL, events='wonder/thing')}}}", 440),
        (f"Context=${{{add(CORE_LOCAL, events='g/wonder')}}}", 451),
        (f"Context=${{{add(CORE_LOCAL, events='hangterm/thb{timerx=0}')}}}", 449),
        (f"Context=${{{add(CORE_LOCAL, signals='tcpbcc/wonder')}}}", 452),
        (f"Context=${{{add(CORE_LOCAL, signals='tcpbcc/EstBNC{Stream=4}')}}}", 449),
        (f"Context=${{{add(CORE_LOCAL, mode='Loopback')}}}", 517),
        (f"Context=${{{add(media(transport='SCTP'))}}}", 515),
        (f"Context=${{{add('v=0')}}}", 474),
        (f"Context=${{{add(media(address='host.example'))}}}", 474),
        (f"Context=${{{add(media(address='192.0.2.1', family=6))}}}", 474),
        (f"Context=${{{add(media(port='70000'))}}}", 474),
        (f"Context=${{{add(media(setup='maybe'))}}}", 474),
        (f"Context=${{{add(media(transport='TCP/TLS', prints=('sha-256 AB:CD',)))}}}", 474),
        (f"Context=${{{add(media(transport='TCP/TLS', prints=('md5 $',)))}}}", 449),
        (f"Context=${{{add(TLS_LOCAL, media(transport='TCP', address='192.0.2.77', port='9'))}}}", 473),
        (f"Context=${{{add(TLS_LOCAL, TLS_REMOTE.replace(UE, 'sha-1 ' + ':'.join(['AB'] * 20)))}}}", 449),
        (f"Context=${{{add(media(transport='TCP/TLS', prints=(UE,)))}}}", 473),
        (f"Context=${{{add(media(address='203.0.113.5'))}}}", 449),
        (f"Context=${{{add(CORE_LOCAL, name='tdm/1/$/$')}}}", 430),
        ("Context=1001{Topology{ip/1/1/1001,ip/1/2/1002,Isolate}}", 501),
        ("Context=1001{Move=ip/1/1/1001}", 501),
        ("Context=-{AuditValue=ip/1/1/1001{Audit{}}}", 430),
        ("Context=*{Modify=ip/9/*/*{Media{Stream=1{LocalControl{Mode=Inactive}}}}}", 431),
        (f"Context=*{{{add(CORE_LOCAL)}}}", 421),
    ],
)
def test_errors(body: str, code: int) -> None:
    gateway = protected_call()
    plans, taken = dict(gateway.plans), set(gateway.ports.taken)
    assert f"ER={code}{{" in gateway.ask(body)
    assert set(gateway.table.contexts) == {1001}
    assert gateway.plans == plans
    assert gateway.ports.taken == taken


def test_a_failed_modify_changes_nothing() -> None:
    gateway = protected_call()
    before = gateway.plan("ip/1/1/1001")
    far = TLS_REMOTE.replace("7654", "7700")
    reply = gateway.ask(
        f"Context=1001{{Modify=ip/1/1/1001{{Media{{Stream=1{{Remote{{{far}}}}},Stream=2{{Local{{{media()}}}}},"
        f"Stream=3{{Local{{{media(transport='SCTP')}}}}}}}}}}}"
    )
    assert "ER=515" in reply
    assert gateway.plan("ip/1/1/1001") == before
    assert len(gateway.ports.taken) == 2


def test_limits() -> None:
    gateway = Gateway(contexts=1, ports=1)
    assert "ER=510" in gateway.ask(f"Context=${{{add(CORE_LOCAL, realm='core')},{add(CORE_LOCAL)}}}")
    assert set(gateway.table.contexts) == {1001}
    assert "C=-{ER=412{" in gateway.ask(f"Context=${{{add(CORE_LOCAL)}}}")
    assert "ER=449" in Gateway().ask(f"Context=${{{add(media(family=6), realm='core')}}}")


def test_execution_stops_at_the_first_failure_and_what_succeeded_stays() -> None:
    gateway = Gateway()
    reply = gateway.ask(
        f"Context=${{{add(CORE_LOCAL)},{add(CORE_LOCAL, realm='nowhere')},{add(CORE_LOCAL)}}},Context=-{{AuditValue=ROOT}}"
    )
    assert reply.startswith("C=1001{A=ip/1/1/1001{")
    assert reply.count("A=ip") == 2
    assert "ROOT" not in reply
    assert len(gateway.plans) == 1


def test_an_optional_command_may_fail() -> None:
    gateway = protected_call()
    reply = gateway.ask("Context=1001{O-Modify=ip/1/1/99,AuditValue=ip/1/1/1001}")
    assert "ER=430" in reply
    assert "AV=ip/1/1/1001" in reply


def test_subtract_everything_with_one_wildcarded_response() -> None:
    gateway = protected_call()
    assert gateway.ask("Context=1001{W-Subtract=*{Audit{}}}") == "C=1001{S=*}"
    assert gateway.table.contexts == {}
    assert gateway.plans == {}
    assert gateway.ports.taken == set()
    assert {effect.leg.termination for effect in gateway.effects if isinstance(effect, Close)} == {"ip/1/1/1001", "ip/1/2/1002"}
    assert "ER=411" in gateway.ask("Context=1001{W-Subtract=*{Audit{}}}")


def test_subtract_one_leaves_the_other_alone() -> None:
    gateway = protected_call()
    assert gateway.ask("Context=1001{Subtract=IP/1/1/1001{Audit{}}}") == "C=1001{S=ip/1/1/1001}"
    assert gateway.plan("ip/1/2/1002").partner is None


def test_subtract_in_all_contexts() -> None:
    gateway = protected_call()
    gateway.ask(f"Context=${{{add(CORE_LOCAL)}}}")
    assert gateway.ask("Context=*{W-Subtract=*}") == "C=*{S=*}"
    assert gateway.table.contexts == {}


def test_add_and_subtract_in_one_transaction_leave_no_trace() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(CORE_LOCAL)},Subtract=*}}")
    assert gateway.ports.taken == set()
    assert gateway.effects == []


def test_ids_are_not_used_again() -> None:
    gateway = protected_call()
    gateway.ask("Context=1001{W-Subtract=*}")
    reply = gateway.ask(f"Context=${{{add(CORE_LOCAL, name='$')}}}")
    assert reply.startswith("C=1002{A=ip/1/1/1003{")


def test_ipv6() -> None:
    gateway = Gateway()
    reply = gateway.ask(f"Context=${{{add(media(family=6))}}}")
    assert "o=- 0 0 IN IP6 2001:db8::1\n" in reply
    assert "c=IN IP6 2001:db8::1\n" in reply


def test_an_empty_remote_forgets_the_peer_and_an_empty_local_the_port() -> None:
    gateway = protected_call()
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Media{Stream=1{Remote{}}}}}")
    assert not gateway.plan("ip/1/1/1001").complete
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Media{Stream=1{Local{}}}}}")
    assert len(gateway.ports.taken) == 1
    assert gateway.plan("ip/1/2/1002").partner is None


def test_release_signal_forgets_the_peer() -> None:
    gateway = protected_call()
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Signals{tlsbsc/RelBNC}}}")
    assert gateway.plan("ip/1/1/1001").remote is None


def test_source_filters() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(TLS_LOCAL, TLS_REMOTE, control=',gm/saf=ON')}}}")
    source = gateway.plan("ip/1/1/1001").source
    assert source is not None
    assert [str(one) for one in source.networks or ()] == ["192.0.2.77/32"]
    assert source.ports is None
    gateway.ask(
        "Context=1001{Modify=ip/1/1/1001{Media{Stream=1{LocalControl{"
        'gm/sam="[192.0.2.0]/24",gm/spf=ON,gm/spr="1000-2000",ds/dscp=0x2E}}}}}'
    )
    plan = gateway.plan("ip/1/1/1001")
    assert plan.source is not None
    assert [str(one) for one in plan.source.networks or ()] == ["192.0.2.0/24"]
    assert plan.source.ports == (1000, 2000)
    assert plan.dscp == 0x2E


def test_audits() -> None:
    gateway = protected_call()
    assert gateway.ask("Context=-{AuditValue=ROOT{Audit{}}}") == "C=-{AV=ROOT}"
    packages = gateway.ask("Context=-{AuditValue=ROOT{Audit{Packages}}}")
    assert "ipdc-1" in packages
    assert "tlsbsc-1" in packages
    assert gateway.ask("Context=-{AuditValue=ROOT{Audit{Media{TerminationState{ServiceStates}}}}}") == (
        "C=-{AV=ROOT{M{TS{SI=IV}}}}"
    )
    everything = gateway.ask("Context=*{AuditValue=*{Audit{}}}")
    assert everything == "C=1001{AV=ip/1/1/1001,AV=ip/1/2/1002}"
    one = gateway.ask("Context=1001{AuditValue=ip/1/1/1001{Audit{Media,Events}}}")
    assert "MO=SR" in one
    assert "m=message 7654 TCP/TLS -" in one
    assert "E=7{g/cause" in one
    assert "ipdc/realm={" in gateway.ask("Context=-{AuditCapability=ROOT{Audit{Media}}}")
    assert "ER=431" in Gateway().ask("Context=*{AuditValue=*{Audit{}}}")


def test_statistics_are_told_when_they_are_asked_for_and_at_the_end() -> None:
    gateway = protected_call()
    gateway.ports.counts = {LegKey(1001, "ip/1/1/1001", 1): Count(received=30, sent=7, dropped=2)}
    gateway.now = 2.5
    asked = "Context=1001{AuditValue=ip/1/1/1001{Audit{Statistics}}}"
    assert gateway.ask(asked) == "C=1001{AV=ip/1/1/1001{SA{nt/dur=2500,nt/os=7,nt/or=30}}}"
    assert gateway.ask("Context=1001{Modify=ip/1/2/1002{Audit{Statistics}}}") == (
        "C=1001{MF=ip/1/2/1002{SA{nt/dur=2500,nt/os=0,nt/or=0}}}"
    )
    assert gateway.ask("Context=1001{Subtract=ip/1/2/1002{Audit{}}}") == "C=1001{S=ip/1/2/1002}"
    gateway.now = 4.0
    assert gateway.ask("Context=1001{Subtract=ip/1/1/1001}") == "C=1001{S=ip/1/1/1001{SA{nt/dur=4000,nt/os=7,nt/or=30}}}"


@pytest.mark.parametrize(
    ("properties", "contract"),
    [
        ("tman/pol=ON,tman/sdr=64000,tman/mbs=16000", Contract(64000, 16000, None)),
        ("tman/pol=ON,tman/sdr=64000,tman/pdr=100000", Contract(64000, 64000, 100000)),
        ("tman/pol=ON,tman/pdr=100000", Contract(None, 0, 100000)),
        ("tman/pol=ON,tman/pdr=100000,tman/dvt=500000", Contract(None, 0, 100000, 0.05)),
        ("tman/pol=ON,tman/pdr=100000,tman/dvt=0", Contract(None, 0, 100000, 0.0)),
        ("tman/pol=ON,tman/dvt=500000", None),
        ("tman/pol=OFF,tman/sdr=64000", None),
        ("tman/sdr=64000", None),
        ("tman/pol=ON", None),
    ],
)
def test_policing(properties: str, contract: Contract | None) -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(CORE_LOCAL, control=',' + properties)}}}")
    [plan] = gateway.plans.values()
    assert plan.contract == contract


@pytest.mark.parametrize("value", ["sdr=0", "sdr=fast", "pdr=-1", "mbs=1.5", "sdr=9999999999999"])
def test_rates_that_are_none(value: str) -> None:
    assert "ER=449" in Gateway().ask(f"Context=${{{add(CORE_LOCAL, control=f',tman/pol=ON,tman/{value}')}}}")


def test_context_properties_are_kept_and_audited() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{Priority=3,Emergency,{add(CORE_LOCAL)}}}")
    assert gateway.ask("Context=1001{ContextAudit{Priority,Emergency}}") == "C=1001{PR=3,EG}"


def test_root_takes_events_properties_and_orders() -> None:
    gateway = Gateway()
    assert gateway.ask(
        "Context=-{Modify=ROOT{Media{TerminationState{root/MGProvisionalResponseTimerValue=500}},Events=1{it/ito{mit=3000}}}}"
    ) == "C=-{MF=ROOT}"
    assert notify.inactivity_period(gateway.table.root_events) == 30.0
    assert "MGProvisionalResponseTimerValue=500" in gateway.ask("Context=-{AuditValue=ROOT{Audit{Media}}}")
    services = 'Services{Method=HandOff,Reason="903 MGC Directed Change",MgcIdToTry=[192.0.2.3]:2944}'
    gateway.ask(f"Context=-{{ServiceChange=ROOT{{{services}}}}}")
    [order] = gateway.effects
    assert isinstance(order, ControllerOrder)
    assert order.services.mgc_id_to_try == "[192.0.2.3]:2944"


def test_forget_all_closes_every_leg() -> None:
    gateway = protected_call()
    effects = gateway.table.forget_all()
    assert len(effects) == 2
    assert gateway.table.contexts == {}


# --- events
# --------------------------------------------------------------------------------------------------------------


def observed(gateway: Gateway, termination: str, cause: Cause) -> str | None:
    leg = LegKey(1001, termination, 1)
    found = gateway.table.termination(leg)
    assert found is not None
    action = notify.connection_ended(found, leg, cause, "20261122T04220137")
    return text_of((action,)) if action is not None else None


def test_a_failed_handshake_is_notified_as_armed() -> None:
    gateway = protected_call()
    assert observed(gateway, "ip/1/1/1001", Cause.FINGERPRINT_MISMATCH) == (
        "C=1001{N=ip/1/1/1001{OE=7{20261122T04220137:tlsbsc/BNCChange{ST=1,Type=Rel},"
        '20261122T04220137:g/cause{ST=1,Generalcause=FP,Failurecause="TLS certificate fingerprint mismatch"}}}}'
    )


def test_a_failed_connect_is_notified_as_tcp() -> None:
    gateway = protected_call()
    text = observed(gateway, "ip/1/1/1001", Cause.CONNECT_TIMEOUT)
    assert text is not None
    assert "tcpbcc/BNCChange" in text
    assert "Generalcause=FT" in text
    core = observed(gateway, "ip/1/2/1002", Cause.CONNECT_REFUSED)
    assert core is not None
    assert "BNCChange" not in core


def test_what_is_not_armed_is_not_notified() -> None:
    gateway = protected_call()
    gateway.ask("Context=1001{Modify=ip/1/2/1002{Events=8{hangterm/thb{timerx=60}}}}")
    assert observed(gateway, "ip/1/2/1002", Cause.CONNECT_REFUSED) is None
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Events=9{tlsbsc/BNCChange{Stream=2},tcpbcc/BNCChange{Type=Est}}}}")
    assert observed(gateway, "ip/1/1/1001", Cause.FINGERPRINT_MISMATCH) is None
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Events}}")
    assert observed(gateway, "ip/1/1/1001", Cause.FINGERPRINT_MISMATCH) is None


def test_a_termination_nobody_speaks_of_is_notified() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(CORE_LOCAL, events='hangterm/thb{timerx=60}')}}}")
    watch = gateway.table.watch
    assert watch.next_timer() == 60.0
    gateway.now = 50.0
    gateway.ask("Context=1001{AuditValue=ip/1/1/1001{Audit{}}}")
    assert watch.handle_timer(60.0) == []
    assert watch.next_timer() == 110.0
    [one] = watch.handle_timer(110.0)
    assert text_of((notify.expired(one, "20261122T04220137"),)) == (
        "C=1001{N=ip/1/1/1001{OE=7{20261122T04220137:hangterm/thb}}}"
    )
    assert watch.next_timer() == 170.0
    gateway.ask("Context=1001{W-Subtract=*}")
    assert watch.handle_timer(1000.0) == []
    assert watch.next_timer() is None


def test_deadlines_of_ended_terminations_do_not_pile_up() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(CORE_LOCAL, events='hangterm/thb{timerx=3600}')}}}")
    watch = gateway.table.watch
    for number in range(1002, 1002 + 3 * SWEEP):
        gateway.now += 0.1
        gateway.ask(f"Context=${{{add(CORE_LOCAL, events='hangterm/thb{timerx=3600}')}}}")
        gateway.ask(f"Context={number}{{W-Subtract=*}}")
        assert len(watch) <= SWEEP + 1
    [one] = watch.handle_timer(3600.0)
    assert one.context == 1001


def test_media_that_stopped_is_notified() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(CORE_LOCAL, events=STOPPED)}}}")
    leg = LegKey(1001, "ip/1/1/1001", 1)
    gateway.ports.active[leg] = 8.0
    watch = gateway.table.watch
    assert watch.handle_timer(10.0) == []
    assert watch.next_timer() == 18.0
    [one] = watch.handle_timer(18.0)
    assert one.event.name == "adid/ipstop"
    gateway.ask("Context=1001{Modify=ip/1/1/1001{Events=8{g/cause}}}")
    assert watch.handle_timer(1000.0) == []


def test_a_new_connection_is_another_association_and_the_tls_role_is_said_anew() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(TLS_LOCAL, TLS_REMOTE, signals='tlsbsc/EstBNC{Stream=1}')}}}")
    first = gateway.plan("ip/1/1/1001")
    assert (first.tls, first.generation) == (TlsRole.CLIENT, 0)

    def tell(remote: str, signals: str = "") -> LegPlan:
        more = f",Signals{{{signals}}}" if signals else ""
        assert "ER=" not in gateway.ask(f"Context=1001{{Modify=ip/1/1/1001{{Media{{Stream=1{{Remote{{{remote}}}}}}}{more}}}}}")
        return gateway.plan("ip/1/1/1001")

    same = tell(TLS_REMOTE)
    assert same.association == first.association
    server = tell(TLS_REMOTE + "a=connection:new\n")
    assert (server.tls, server.generation) == (TlsRole.SERVER, 1)
    assert server.association != first.association
    kept = tell(TLS_REMOTE)
    assert kept.association == server.association
    client = tell(TLS_REMOTE + "a=Connection:NEW\n", "tlsbsc/EstBNC{Stream=1}")
    assert (client.tls, client.generation) == (TlsRole.CLIENT, 2)
    assert tell(TLS_REMOTE + "a=connection:existing\n").association == client.association


def test_the_first_connection_is_not_a_new_one() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(TLS_LOCAL, TLS_REMOTE + 'a=connection:new' + chr(10))}}}")
    assert gateway.plan("ip/1/1/1001").generation == 0


def test_a_stream_that_is_protected_again_has_its_tls_role_said_anew() -> None:
    gateway = Gateway()
    gateway.ask(f"Context=${{{add(TLS_LOCAL, TLS_REMOTE, signals='tlsbsc/EstBNC{Stream=1}')}}}")
    plain, far = media(setup="passive"), media(setup="active", address="192.0.2.77", port="7654")
    for local, remote in ((plain, far), (TLS_LOCAL, TLS_REMOTE)):
        reply = gateway.ask(f"Context=1001{{Modify=ip/1/1/1001{{Media{{Stream=1{{Local{{{local}}},Remote{{{remote}}}}}}}}}}}")
        assert "ER=" not in reply
    plan = gateway.plan("ip/1/1/1001")
    assert (plan.secure, plan.tls) == (True, TlsRole.SERVER)


@pytest.mark.parametrize(("minimum", "counts"), [("sha-1", True), ("sha-224", True), ("sha-256", False)])
def test_sha_224_counts_where_it_is_wanted(minimum: str, counts: bool) -> None:
    gateway = Gateway(minimum=minimum)
    weak = "sha-224 " + ":".join(["CD"] * 28)
    far = media(transport="TCP/TLS", address="192.0.2.77", port="9", prints=(weak, "sha-1 " + ":".join(["01"] * 20)))
    reply = gateway.ask(f"Context=${{{add(media(transport='TCP/TLS'), far)}}}")
    assert ("Error" not in reply and "ER=449" not in reply) is counts
    if counts:
        assert [str(one) for one in gateway.plan("ip/1/1/1001").fingerprints] == [weak]
