from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from bench.process import Failure, Process, cpu_ticks, free_port, on_cpu, pss_kib, wait_until


def test_cpu_is_user_and_system_time_whatever_the_command_is_called() -> None:
    line = "4242 (a) (b c) S 1 4242 4242 0 -1 4194560 9 8 7 6 1234 56 78 90 20 0 1 0 100 5 6"
    assert cpu_ticks(line) == 1234 + 56


def test_cpu_of_this_process_only_grows() -> None:
    stat = Path("/proc/self/stat")
    before = cpu_ticks(stat.read_text())
    end = os.times().user + 0.05
    while os.times().user < end:
        pass
    assert cpu_ticks(stat.read_text()) > before


def test_the_proportional_set_size_is_not_one_of_its_parts() -> None:
    rollup = "5500-7ffd ---p 00000000 00:00 0 [rollup]\nRss:     900 kB\nPss:     512 kB\nPss_Dirty:  100 kB\nPss_Anon: 99 kB\n"
    assert pss_kib(rollup) == 512


def test_no_port_is_given_out_twice_and_each_is_free() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.bind(("127.0.0.1", port))


def test_a_process_is_bound_to_its_cpu_and_this_one_is_not(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    code = "import os, sys; print(sorted(os.sched_getaffinity(0)), flush=True); sys.stdin.read(); import time; time.sleep(60)"
    made = Process([sys.executable, "-c", code], cpu=cpu, log=tmp_path / "log")
    try:
        wait_until(lambda: "]" in made.told(), "its line")
        assert made.told().strip() == f"[{cpu}]"
        assert made.status is None
    finally:
        made.stop()
    assert made.status == -15
    assert os.sched_getaffinity(0) == before


def test_a_thread_leaves_its_cpu_again_when_something_fails() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(ValueError, match="oh"), on_cpu(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
        raise ValueError("oh")
    assert os.sched_getaffinity(0) == before


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(Failure, match=r"waited 0\.05 s in vain for godot"):
        wait_until(lambda: False, "godot", 0.05)
