"""Every rule about answers, and the roles that come out of offer and answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.plan import Agreed, Direction, LinePlan, MediaPlan, Mode, decide, settle
from tests.unit.mediasec.descriptions import (
    ALL_AGREED,
    AUDIO,
    CORE_ADDRESS,
    CORE_FINGERPRINT,
    EVERYTHING,
    NOTHING_AGREED,
    REQUESTED,
    UE_ADDRESS,
    UE_FINGERPRINT,
    UE_HASH,
    WEAK_HASH,
    bfcp,
    description,
    fax,
    msrp,
    rules,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
ACTIVE, ACTPASS, PASSIVE, HOLD = (f"a=setup:{value}" for value in ("active", "actpass", "passive", "holdconn"))
E2AE = (UE_FINGERPRINT, REQUESTED)


def exchange(
    direction: Direction,
    offer: tuple[str, ...],
    answer: tuple[str, ...],
    agreed: Agreed = ALL_AGREED,
    policy: MediaPolicy = MediaPolicy(),  # noqa: B008 - immutable
) -> MediaPlan:
    """The settled plan of an offer and its answer."""
    ue, core = UE_ADDRESS, CORE_ADDRESS
    offerer, answerer = (ue, core) if direction is FROM_UE else (core, ue)
    plan = decide(policy, agreed, description(*offer, address=offerer), direction, EVERYTHING)
    return settle(plan, description(*answer, address=answerer))


@dataclass(frozen=True)
class Row:
    rule: str
    mode: Mode
    offer: tuple[str, ...]
    answer: tuple[str, ...]
    action: str = "forward"


ANSWERS_OF_THE_CORE = [
    Row("AA1", Mode.TERMINATE, msrp(ACTIVE, *E2AE), msrp(PASSIVE, secure=False)),
    Row("AA1", Mode.TERMINATE, msrp(ACTIVE, *E2AE), msrp(secure=False, cema=False)),
    Row("AA1", Mode.TERMINATE, bfcp(ACTPASS, *E2AE), bfcp(ACTIVE, secure=False)),
    Row("AA1", Mode.TERMINATE, fax(ACTPASS, *E2AE), fax(secure=False)),
    Row("AA1", Mode.TERMINATE, fax(*E2AE), fax(HOLD, secure=False)),
    Row("AA2", Mode.RELEASED, msrp(ACTIVE, *E2AE), msrp(secure=False, port=0)),
    Row("AA3", Mode.RELEASED, msrp(ACTIVE, *E2AE), msrp(PASSIVE, CORE_FINGERPRINT), "release-session"),
    Row("AA3", Mode.RELEASED, msrp(ACTIVE, *E2AE), AUDIO, "release-session"),
    Row("AA3", Mode.RELEASED, msrp(ACTIVE, *E2AE), msrp(ACTIVE, secure=False), "release-session"),
    Row("AA4", Mode.TERMINATE, msrp(ACTIVE, *E2AE), msrp(CORE_FINGERPRINT, secure=False)),
    Row("AA4", Mode.TERMINATE, msrp(ACTIVE, *E2AE), msrp("a=3ge2ae:applied", secure=False)),
    Row("AA5", Mode.PASS, msrp(ACTIVE, UE_FINGERPRINT), msrp(PASSIVE, CORE_FINGERPRINT)),
    Row("AA5", Mode.PASS, msrp(ACTIVE, UE_FINGERPRINT), msrp(port=0)),
    Row("AA6", Mode.PLAIN, msrp(secure=False), msrp(secure=False)),
    Row("AA6", Mode.PLAIN, AUDIO, AUDIO),
    Row("AA6", Mode.PLAIN, AUDIO, ()),
    Row("AA6", Mode.RELEASED, bfcp(ACTPASS, secure=False), msrp(PASSIVE, secure=False), "release-session"),
    Row("AA7", Mode.RELEASED, msrp(ACTIVE, *E2AE), ()),
    Row("A9", Mode.UNUSED, msrp(ACTIVE, port=0), msrp(ACTIVE)),
]

ANSWERS_OF_THE_UE = [
    Row("CA1", Mode.PROTECT, msrp(ACTPASS, secure=False), msrp(ACTIVE, UE_FINGERPRINT)),
    Row("CA1", Mode.PROTECT, msrp(ACTPASS, secure=False), (UE_FINGERPRINT, *msrp(PASSIVE))),
    Row("CA1", Mode.PROTECT, msrp(ACTPASS, secure=False), msrp(UE_FINGERPRINT)),
    Row("CA1", Mode.PROTECT, msrp(ACTPASS, secure=False), msrp(HOLD, UE_FINGERPRINT)),
    Row("CA1", Mode.PROTECT, bfcp(ACTPASS, secure=False), bfcp(ACTIVE, UE_FINGERPRINT)),
    Row("CA1", Mode.PROTECT, bfcp(ACTPASS, secure=False), bfcp(HOLD, UE_FINGERPRINT)),
    Row("CA1", Mode.PROTECT, fax(secure=False), fax(PASSIVE, UE_FINGERPRINT)),
    Row("CA1", Mode.PROTECT, fax(secure=False), fax(UE_FINGERPRINT)),
    Row("CA2", Mode.RELEASED, msrp(secure=False), msrp(port=0)),
    Row("CA2", Mode.RELEASED, msrp(secure=False), ()),
    Row("CA3", Mode.FAILED, msrp(secure=False), msrp(ACTIVE), "release-session"),
    Row("CA3", Mode.FAILED, msrp(secure=False), msrp(f"a=fingerprint:sha-1 {WEAK_HASH}"), "release-session"),
    Row("CA3", Mode.FAILED, msrp(secure=False), msrp("a=fingerprint:md5 00:11"), "release-session"),
    Row("CA4", Mode.FAILED, msrp(secure=False), msrp(UE_FINGERPRINT, secure=False), "release-session"),
    Row("CA4", Mode.FAILED, msrp(secure=False), AUDIO, "release-session"),
    Row("CA5", Mode.FAILED, msrp(PASSIVE, secure=False), msrp(PASSIVE, UE_FINGERPRINT), "release-session"),
    Row("CA5", Mode.FAILED, msrp(ACTPASS, secure=False), msrp(ACTPASS, UE_FINGERPRINT), "release-session"),
    Row("CA5", Mode.FAILED, fax(secure=False), fax(HOLD, UE_FINGERPRINT), "release-session"),
    Row("CA6", Mode.PASS, msrp(ACTPASS, CORE_FINGERPRINT), msrp(ACTIVE, UE_FINGERPRINT)),
    Row("CA6", Mode.PLAIN, AUDIO, AUDIO),
    Row("C7", Mode.UNUSED, fax(secure=False, port=0), fax(secure=False, port=0)),
]


def test_every_rule_about_answers_has_a_row() -> None:
    tested = {row.rule for row in (*ANSWERS_OF_THE_CORE, *ANSWERS_OF_THE_UE)}
    assert {rule for rule in rules() if len(rule) > 2 and rule[1] == "A"} - tested == {"AA8"}   # of TLS in the core


@pytest.mark.parametrize("row", ANSWERS_OF_THE_CORE, ids=lambda row: f"{row.rule}-{row.mode}")
def test_answer_of_the_core(row: Row) -> None:
    _check(row, FROM_UE)


@pytest.mark.parametrize("row", ANSWERS_OF_THE_UE, ids=lambda row: f"{row.rule}-{row.mode}")
def test_answer_of_the_ue(row: Row) -> None:
    _check(row, FROM_CORE)


def _check(row: Row, direction: Direction) -> None:
    plan = exchange(direction, row.offer, row.answer)
    (line,) = plan.lines
    assert (line.rule, line.mode, plan.action) == (row.rule, row.mode, row.action)
    assert len(line.reason) > 15
    assert plan.warning == (line.reason if plan.action == "release-session" else "")
    assert line.gateway == (line.access is not None) == (line.core is not None)
    if line.mode in {Mode.RELEASED, Mode.FAILED, Mode.UNUSED}:
        assert not line.gateway


def test_another_live_stream_keeps_the_session() -> None:
    plan = exchange(FROM_CORE, (*AUDIO, *msrp(secure=False)), (*AUDIO, *msrp(ACTIVE)))
    assert (plan.action, [line.mode for line in plan.lines]) == ("forward", [Mode.PLAIN, Mode.FAILED])


def test_a_declined_stream_does_not_keep_the_session() -> None:
    plan = exchange(FROM_CORE, (*AUDIO, *msrp(secure=False)), ("m=audio 0 RTP/AVP 0", *msrp(ACTIVE)))
    assert plan.action == "release-session"


def test_a_rejected_offer_has_no_answer() -> None:
    plan = decide(MediaPolicy(), ALL_AGREED, description(*msrp(REQUESTED)), FROM_UE)
    assert settle(plan, description(*msrp())) is plan


def test_answers_of_a_fork_do_not_disturb_one_another() -> None:
    plan = decide(MediaPolicy(), ALL_AGREED, description(*msrp(ACTIVE, *E2AE)), FROM_UE)
    declined = settle(plan, description(*msrp(secure=False, port=0)))
    taken = settle(plan, description(*msrp(PASSIVE, secure=False)))
    assert (declined.lines[0].mode, taken.lines[0].mode) == (Mode.RELEASED, Mode.TERMINATE)


def test_min_hash_of_the_answer_is_that_of_the_medium() -> None:
    policy = replace(MediaPolicy(), msrp=MediumPolicy(min_hash="sha-1"))
    answer = msrp(ACTIVE, f"a=fingerprint:SHA-1 {WEAK_HASH.lower()}")
    (line,) = exchange(FROM_CORE, msrp(secure=False), answer, policy=policy).lines
    assert line.mode is Mode.PROTECT
    assert line.access is not None
    assert line.access.peer_fingerprints == (("sha-1", WEAK_HASH),)


def roles(line: LinePlan) -> tuple[object, ...]:
    """Access: what we send, TCP, TLS; core: what we send, TCP."""
    assert line.access is not None
    assert line.core is not None
    return line.access.setup, line.access.tcp, line.access.tls, line.core.setup, line.core.tcp


# (UE's offer, core's answer): access setup, TCP, TLS; core setup, TCP. "" leaves the attribute out.
MSRP_OF_THE_UE = {
    ("active", "passive"): ("passive", "accept", "server", "active", "connect"),
    ("active", ""): ("passive", "accept", "server", "active", "connect"),
    ("", "passive"): ("passive", "accept", "server", "active", "connect"),
    ("", ""): ("passive", "accept", "server", "active", "connect"),
    ("holdconn", "holdconn"): ("passive", "accept", "server", "active", "connect"),
    ("actpass", "passive"): ("passive", "accept", "server", "actpass", "connect"),
    ("actpass", "active"): ("passive", "accept", "server", "actpass", "accept"),
    ("actpass", ""): ("passive", "accept", "server", "actpass", "connect"),
    ("passive", "active"): ("active", "connect", "client", "passive", "accept"),
    ("passive", ""): ("active", "connect", "client", "passive", "accept"),
}
# (core's offer, UE's answer)
MSRP_OF_THE_CORE = {
    ("active", "active"): ("actpass", "accept", "server", "passive", "accept"),
    ("active", "passive"): ("actpass", "connect", "client", "passive", "accept"),
    ("", ""): ("actpass", "connect", "client", "passive", "accept"),
    ("actpass", "active"): ("actpass", "accept", "server", "active", "connect"),
    ("actpass", "passive"): ("actpass", "connect", "client", "passive", "accept"),
    ("actpass", ""): ("actpass", "connect", "client", "passive", "accept"),
    ("passive", "active"): ("passive", "accept", "server", "active", "connect"),
    ("passive", ""): ("passive", "accept", "server", "active", "connect"),
}
BFCP_OF_THE_UE = {
    ("active", "passive"): ("passive", "accept", "server", "actpass", "connect"),
    ("actpass", "active"): ("passive", "accept", "server", "actpass", "accept"),
    ("passive", "active"): ("active", "connect", "server", "actpass", "accept"),
    ("", ""): ("passive", "accept", "server", "actpass", "connect"),
    ("holdconn", "holdconn"): ("holdconn", None, None, "holdconn", None),
    ("actpass", "holdconn"): ("holdconn", None, None, "actpass", None),
}
BFCP_OF_THE_CORE = {
    ("actpass", "active"): ("actpass", "accept", "client", "passive", "accept"),
    ("actpass", "passive"): ("actpass", "connect", "client", "passive", "accept"),
    ("active", "active"): ("actpass", "accept", "client", "passive", "accept"),
    ("passive", "active"): ("actpass", "accept", "client", "active", "connect"),
    ("passive", ""): ("actpass", "connect", "client", "active", "connect"),
    ("holdconn", "holdconn"): ("holdconn", None, None, "holdconn", None),
    ("actpass", "holdconn"): ("actpass", None, None, "holdconn", None),
}
FAX_OF_THE_UE = {
    ("actpass", ""): ("passive", None, "server", "", None),
    ("active", ""): ("passive", None, "server", "", None),
    ("passive", ""): ("active", None, "client", "", None),
    ("", ""): ("passive", None, "server", "", None),
}
FAX_OF_THE_CORE = {
    ("", "active"): ("actpass", None, "server", "", None),
    ("", "passive"): ("actpass", None, "client", "", None),
    ("", ""): ("actpass", None, "server", "", None),
}


def written(setup: str) -> tuple[str, ...]:
    return (f"a=setup:{setup}",) if setup else ()


@pytest.mark.parametrize(
    ("medium", "table"), [(msrp, MSRP_OF_THE_UE), (bfcp, BFCP_OF_THE_UE), (fax, FAX_OF_THE_UE)], ids=["msrp", "bfcp", "fax"]
)  # fmt: skip
def test_roles_when_the_ue_offers(medium: object, table: dict[tuple[str, str], tuple[object, ...]]) -> None:
    assert callable(medium)
    for (offered, answered), expected in table.items():
        plan = exchange(FROM_UE, medium(*written(offered), *E2AE), medium(*written(answered), secure=False))
        assert roles(plan.lines[0]) == expected, (offered, answered)


@pytest.mark.parametrize(
    ("medium", "table"),
    [(msrp, MSRP_OF_THE_CORE), (bfcp, BFCP_OF_THE_CORE), (fax, FAX_OF_THE_CORE)],
    ids=["msrp", "bfcp", "fax"],
)
def test_roles_when_the_core_offers(medium: object, table: dict[tuple[str, str], tuple[object, ...]]) -> None:
    assert callable(medium)
    for (offered, answered), expected in table.items():
        plan = exchange(FROM_CORE, medium(*written(offered), secure=False), medium(*written(answered), UE_FINGERPRINT))
        assert roles(plan.lines[0]) == expected, (offered, answered)


def test_sessmatch_offers_the_core_actpass_as_its_path_is_ours() -> None:
    policy = replace(MediaPolicy(), msrp=MediumPolicy(sessmatch=True))
    for offered, offering in (("active", "actpass"), ("actpass", "actpass"), ("passive", "passive")):
        offer = description(*msrp(*written(offered), *E2AE, cema=False))
        (line,) = decide(policy, ALL_AGREED, offer, FROM_UE).lines
        assert line.core is not None
        assert line.core.setup == offering


@pytest.mark.parametrize(
    ("offered", "answered", "access", "core"),
    [
        ("active", "passive", "accept", "connect"),
        ("active", "", "accept", "connect"),
        ("passive", "active", "connect", "accept"),
        ("actpass", "active", "connect", "accept"),
        ("actpass", "passive", "accept", "connect"),
        ("", "", "accept", "connect"),
    ],
)
def test_a_passing_line_keeps_its_setup_from_end_to_end(offered: str, answered: str, access: str, core: str) -> None:
    plan = exchange(FROM_UE, msrp(*written(offered), UE_FINGERPRINT), msrp(*written(answered), CORE_FINGERPRINT))
    assert roles(plan.lines[0]) == (answered, access, None, offered, core)


def test_a_plain_line_lets_the_ue_open() -> None:
    plan = exchange(FROM_UE, msrp(ACTPASS, secure=False), msrp(ACTIVE, secure=False), NOTHING_AGREED)
    assert roles(plan.lines[0]) == ("passive", "accept", None, "actpass", "accept")


def test_a_plain_line_bears_an_illegal_answer() -> None:
    plan = exchange(FROM_UE, msrp(ACTIVE, secure=False), msrp(ACTPASS, secure=False), NOTHING_AGREED)
    assert roles(plan.lines[0]) == ("passive", "accept", None, "active", "connect")


def test_what_the_gateway_learns_of_the_peers() -> None:
    (line,) = exchange(FROM_CORE, msrp(ACTPASS, secure=False, port=4100), msrp(ACTIVE, UE_FINGERPRINT)).lines
    assert line.access is not None
    assert line.core is not None
    assert (line.access.peer_address, line.access.peer_setup) == ((UE_ADDRESS, 9), "active")
    assert line.access.peer_fingerprints == (("sha-256", UE_HASH),)
    assert (line.core.peer_address, line.core.peer_fingerprints) == ((CORE_ADDRESS, 4100), ())


CORE_PATH = f"msrp://{CORE_ADDRESS}:9/s4Lt;tcp"
UE_PATH = f"msrps://{UE_ADDRESS}:9/s4Lt;tcp"


def path_facts(line: LinePlan) -> tuple[str, str, str, str, str]:
    """path_mode, and of each side what it is told and what it told."""
    assert line.access is not None
    assert line.core is not None
    return line.path_mode, line.access.path, line.access.peer_path, line.core.path, line.core.peer_path


def test_each_side_gets_the_path_of_the_other_with_our_address_and_its_scheme() -> None:
    answer = msrp(secure=False, cema=False, host=CORE_ADDRESS)
    plan = exchange(FROM_UE, msrp(ACTIVE, UE_FINGERPRINT, REQUESTED, cema=False), answer)
    assert path_facts(plan.lines[0]) == ("aware", "msrps://$:$/s4Lt;tcp", UE_PATH, "msrp://$:$/s4Lt;tcp", CORE_PATH)
    answer = msrp(ACTIVE, UE_FINGERPRINT, cema=False)
    plan = exchange(FROM_CORE, msrp(secure=False, cema=False, host=CORE_ADDRESS), answer)
    assert path_facts(plan.lines[0]) == ("aware", "msrps://$:$/s4Lt;tcp", UE_PATH, "msrp://$:$/s4Lt;tcp", CORE_PATH)


def test_an_answer_without_cema_has_the_paths_mapped_from_then_on() -> None:
    answer = msrp("a=setup:passive", secure=False, cema=False, host=CORE_ADDRESS)
    plan = exchange(FROM_UE, msrp(ACTIVE, UE_FINGERPRINT, REQUESTED), answer)
    assert path_facts(plan.lines[0]) == ("aware", "msrps://$:$/s4Lt;tcp", UE_PATH, UE_PATH, CORE_PATH)
    assert plan.lines[0].core is not None
    assert plan.lines[0].core.peer_address == (CORE_ADDRESS, 9)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (msrp(ACTPASS, UE_FINGERPRINT, REQUESTED), msrp(ACTIVE, secure=False, cema=False)),   # it dials past the gateway
        (msrp(ACTIVE, UE_FINGERPRINT, REQUESTED), msrp(secure=False, cema=False, path="msrp://192.0.2.1:9/};tcp")),
        (msrp(ACTIVE, UE_FINGERPRINT, REQUESTED, path="msrps://192.0.2.1:9/};tcp"), msrp(secure=False, cema=False)),
        (msrp(ACTIVE, UE_FINGERPRINT, REQUESTED), msrp(secure=False)),
    ],
)
def test_otherwise_what_cema_left_untouched_stays_so(offered: tuple[str, ...], answered: tuple[str, ...]) -> None:
    assert exchange(FROM_UE, offered, answered).lines[0].path_mode == "agnostic"


@pytest.mark.parametrize("path", ["sip:x", "msrps://192.0.2.1:9/};tcp", "msrps://192.0.2.9:1/r;tcp msrps://192.0.2.1:9/x;tcp"])
def test_an_answer_whose_path_cannot_be_mapped_ends_the_line(path: str) -> None:
    of_core = exchange(FROM_UE, msrp(ACTIVE, UE_FINGERPRINT, REQUESTED, cema=False), msrp(secure=False, cema=False, path=path))
    assert (of_core.action, of_core.lines[0].mode, of_core.lines[0].rule) == ("release-session", Mode.RELEASED, "AA3")
    of_ue = exchange(FROM_CORE, msrp(secure=False, cema=False), msrp(ACTIVE, UE_FINGERPRINT, cema=False, path=path))
    assert (of_ue.action, of_ue.lines[0].mode, of_ue.lines[0].rule) == ("release-session", Mode.FAILED, "CA5")
    plain = exchange(FROM_UE, msrp(secure=False, cema=False), msrp(secure=False, cema=False, path=path), NOTHING_AGREED)
    assert (plain.action, plain.lines[0].mode, plain.lines[0].rule) == ("release-session", Mode.RELEASED, "AA6")
