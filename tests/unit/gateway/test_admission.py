from __future__ import annotations

from pcscf.gateway.admission import Admission, Handshake


def test_so_many_at_the_same_time() -> None:
    admission = Admission(2, 100, 0.0)
    assert [admission.begin(0.0) for _ in range(3)] == [True, True, False]
    assert (admission.under_way, admission.waited) == (2, 1)
    admission.end()
    assert admission.begin(0.0)


def test_so_many_per_second() -> None:
    admission = Admission(1000, 10, 0.0)
    assert sum(admission.begin(0.0) for _ in range(50)) == 10
    assert sum(admission.begin(0.5) for _ in range(50)) == 5
    assert sum(admission.begin(1000.0) for _ in range(50)) == 10


def test_asking_for_room_takes_none() -> None:
    admission = Admission(1, 1, 0.0)
    assert all(admission.has_room(0.0) for _ in range(5))
    assert admission.begin(0.0)
    assert not admission.has_room(0.0)


def test_a_handshake_counts_once_however_often_it_is_told() -> None:
    admission = Admission(2, 100, 0.0)
    handshake, other = Handshake(admission), Handshake(admission)
    assert handshake.begin(0.0)
    assert handshake.begin(0.0)
    assert (admission.under_way, admission.waited) == (1, 0)
    assert other.begin(0.0)
    assert not Handshake(admission).begin(0.0)
    handshake.end()
    handshake.end()
    assert (admission.under_way, admission.waited) == (1, 1)
