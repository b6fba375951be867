"""a=tls-id: which exchange keeps the DTLS association, which makes another, and what either side is told (RFC 8842 §3.1, §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.iq.media import legs
from pcscf.mediasec.model import Direction, Leg, LinePlan, MediaPlan, Mode
from pcscf.mediasec.plan import decide, settle
from pcscf.mediasec.rewrite import rewrite_answer, rewrite_offer
from pcscf.sdp.lines import Sdp
from tests.unit.mediasec.descriptions import (
    ACCESS_SIDE,
    ALL_AGREED,
    AUDIO,
    CORE_ADDRESS,
    CORE_FINGERPRINT,
    CORE_SIDE,
    EVERYTHING,
    REQUESTED,
    UE_FINGERPRINT,
    description,
    fax,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
THEIRS, OTHER = "the-association-of-the-ue", "another-association-of-the-ue"
OTHER_FINGERPRINT = UE_FINGERPRINT.replace("sha-256 00", "sha-256 FF")
TLS_IN_CORE = replace(MediaPolicy(), fax=MediumPolicy(core="tls"))


def names() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"our-association-{next(numbers):04}"


def ue(setup: str, tls_id: str = "", *, fingerprint: str = UE_FINGERPRINT, port: int = 6_100, hold: bool = False) -> Sdp:
    lines = [f"a=setup:{setup}", fingerprint, REQUESTED, *([f"a=tls-id:{tls_id}"] if tls_id else [])]
    return description(*fax(*lines, port=port), address="0.0.0.0" if hold else "192.0.2.61")


def core(port: int = 7_100) -> Sdp:
    return description(*fax(secure=False, port=port), address=CORE_ADDRESS)


class Dialog:
    """Exchange after exchange, each beside the one before."""

    def __init__(self, policy: MediaPolicy | None = None) -> None:
        self.policy = policy or MediaPolicy()
        self.names = names()
        self.plan: MediaPlan | None = None
        self.asked: MediaPlan | None = None
        self.offered = self.answered = ""   # the tls-id that we sent to the UE

    def offers(self, offer: Sdp, direction: Direction) -> None:
        self.asked = decide(
            self.policy, ALL_AGREED, offer, direction, EVERYTHING, previous=self.plan, new_tls_id=self.names)
        assert self.asked.action == "forward"
        out = rewrite_offer(self.asked, offer, CORE_SIDE if direction is FROM_UE else ACCESS_SIDE)
        self.offered = out.media[0].value("tls-id") or ""

    def exchange(self, offer: Sdp, answer: Sdp, direction: Direction) -> Leg:
        """The access leg."""
        self.offers(offer, direction)
        assert self.asked is not None
        self.plan = settle(self.asked, answer)
        assert self.plan.action == "forward"
        back = rewrite_answer(self.plan, answer, ACCESS_SIDE if direction is FROM_UE else CORE_SIDE)
        self.answered = back.media[0].value("tls-id") or ""
        (line,) = self.plan.lines
        assert line.standing is None
        assert line.access is not None
        return line.access

    def of_ue(self, offer: Sdp, answer: Sdp | None = None) -> Leg:
        return self.exchange(offer, answer or core(), FROM_UE)

    def of_core(self, answer: Sdp, offer: Sdp | None = None) -> Leg:
        return self.exchange(offer or core(), answer, FROM_CORE)


def association(leg: Leg) -> tuple[object, ...]:
    return leg.tls, leg.tls_id, leg.peer_tls_id, leg.peer_address, leg.peer_fingerprints


def test_an_offer_of_the_ue_and_its_repetition() -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("actpass", THEIRS))
    assert (first.tls, first.tls_id, first.peer_tls_id) == ("server", "our-association-0001", THEIRS)
    assert (dialog.offered, dialog.answered) == ("", first.tls_id)   # nothing of it reaches the core
    assert association(dialog.of_ue(ue("actpass", THEIRS))) == association(first)
    assert dialog.answered == first.tls_id


@pytest.mark.parametrize("again", [
    ue("actpass", OTHER), ue("actpass", THEIRS, fingerprint=OTHER_FINGERPRINT), ue("actpass", THEIRS, port=6_200),
    ue("passive", THEIRS),
], ids=["tls-id", "fingerprint", "address", "setup"])  # fmt: skip
def test_what_the_ue_changes_makes_another_association_and_we_name_it_anew(again: Sdp) -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("active", THEIRS))
    second = dialog.of_ue(again)
    assert second.tls_id == dialog.answered == "our-association-0002"
    assert association(second) != association(first)


@pytest.mark.parametrize("port", [7_100, 7_200])
def test_what_the_core_changes_is_nothing_to_the_ue(port: int) -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("actpass", THEIRS))
    again = dialog.of_core(ue("active", THEIRS), core(port))
    assert dialog.offered == first.tls_id   # RFC 8842 §5.5: the name that it had
    assert association(again) == association(first)


def test_the_role_of_the_association_stays() -> None:
    """The UE waits where we opened; a further offer with actpass leaves the roles to us, and they are as they were."""
    dialog = Dialog()
    first = dialog.of_core(ue("passive", THEIRS))
    assert (first.tls, first.tls_id, dialog.offered) == ("client", "our-association-0001", "our-association-0001")
    again = dialog.of_ue(ue("actpass", THEIRS))
    assert association(again) == association(first)
    assert again.setup == "active"


@pytest.mark.parametrize(("answer", "keeps"), [
    (ue("active", THEIRS), True), (ue("active"), True), (ue("active", OTHER), False), (ue("passive", THEIRS), False),
    (ue("active", THEIRS, fingerprint=OTHER_FINGERPRINT), False), (ue("active", THEIRS, port=6_200), False),
], ids=["same", "unnamed", "tls-id", "setup", "fingerprint", "address"])  # fmt: skip
def test_what_the_answer_of_the_ue_changes(answer: Sdp, keeps: bool) -> None:
    dialog = Dialog()
    first = dialog.of_core(ue("active", THEIRS))
    again = dialog.of_core(answer)
    assert (association(again) == association(first)) == keeps
    assert again.tls_id == dialog.offered == first.tls_id   # we wanted to keep it, and that is what the UE was told


def test_a_ue_that_names_nothing_is_told_no_name_in_answers() -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("actpass"))
    assert dialog.answered == ""
    assert association(dialog.of_ue(ue("actpass"))) == association(first)
    assert dialog.of_ue(ue("actpass", OTHER)).tls_id == dialog.answered != first.tls_id


@pytest.mark.parametrize("bad", ["too-short", "x" * 256, "of a ue with blanks in it", "}of-a-ue-that-means-harm{"])
def test_an_illegal_name_is_none(bad: str) -> None:
    assert Dialog().of_ue(ue("actpass", bad)).peer_tls_id == ""


def test_hold_keeps_it() -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("actpass", THEIRS))
    assert association(dialog.of_ue(ue("actpass", THEIRS, hold=True))) == association(first)
    assert association(dialog.of_core(ue("active", THEIRS, hold=True))) == association(first)
    assert association(dialog.of_ue(ue("actpass", THEIRS))) == association(first)


def test_until_the_answer_is_here_the_association_stands_and_a_refusal_leaves_it() -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("actpass", THEIRS))
    dialog.offers(ue("actpass", OTHER), FROM_UE)
    assert dialog.asked is not None
    ((_, access, _),) = legs(dialog.asked)
    assert access == first
    # refused: the next exchange is beside the one before
    assert association(dialog.of_ue(ue("actpass", THEIRS))) == association(first)
    assert dialog.answered == first.tls_id


@pytest.mark.parametrize("closed_by", ["offer", "answer"])
def test_a_line_that_was_closed_opens_with_another_association(closed_by: str) -> None:
    dialog = Dialog()
    first = dialog.of_ue(ue("actpass", THEIRS))
    assert dialog.plan is not None
    before = dialog.plan.lines[0].connection
    dialog.offers(ue("actpass", THEIRS, port=0 if closed_by == "offer" else 6_100), FROM_UE)
    assert dialog.asked is not None
    assert [access for _, access, _ in legs(dialog.asked)] == [first]
    dialog.plan = settle(dialog.asked, core(0))
    assert (dialog.plan.lines[0].access, dialog.plan.lines[0].connection) == (None, before + 1)
    again = dialog.of_ue(ue("actpass", THEIRS))
    assert dialog.plan.lines[0].connection > before + 1
    assert again.tls_id == dialog.answered != first.tls_id


def test_a_fax_that_gives_way_to_voice_and_comes_back_has_another_association() -> None:
    dialog = Dialog()
    first = dialog.of_core(ue("active", THEIRS))
    voice = description(*AUDIO, address=CORE_ADDRESS)
    dialog.offers(voice, FROM_CORE)
    assert dialog.asked is not None
    dialog.plan = settle(dialog.asked, description(*AUDIO))
    again = dialog.of_core(ue("active", OTHER))
    assert again.tls_id == dialog.offered != first.tls_id


def test_with_tls_in_the_core_each_side_has_an_association_of_its_own() -> None:
    dialog = Dialog(TLS_IN_CORE)

    def far(setup: str, tls_id: str) -> Sdp:
        lines = fax(f"a=setup:{setup}", CORE_FINGERPRINT, f"a=tls-id:{tls_id}", port=7_100)
        return description(*lines, address=CORE_ADDRESS)

    def sides() -> tuple[Leg, Leg]:
        assert dialog.plan is not None
        line: LinePlan = dialog.plan.lines[0]
        assert line.mode in {Mode.TERMINATE, Mode.PROTECT}
        assert line.access is not None
        assert line.core is not None
        return line.access, line.core

    dialog.of_ue(ue("actpass", THEIRS), far("active", "association-of-the-core"))
    access, beyond = sides()
    assert dialog.offered == beyond.tls_id != access.tls_id == dialog.answered
    assert beyond.peer_tls_id == "association-of-the-core"
    dialog.of_ue(ue("actpass", OTHER), far("active", "association-of-the-core"))
    assert association(sides()[1]) == association(beyond)
    assert association(sides()[0]) != association(access)
    access, _ = sides()
    dialog.of_core(ue("active", OTHER), far("actpass", "another-one-of-the-core"))
    assert association(sides()[0]) == association(access)
    assert association(sides()[1]) != association(beyond)
