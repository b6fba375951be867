from __future__ import annotations

import socket
import threading

import pytest

from bench.phones import Registrar, register, sources
from bench.process import Failure, free_port


def test_every_ue_has_an_address_and_port_of_its_own() -> None:
    made = list(sources(60_000))
    assert len(set(made)) == 60_000
    assert made[0] == ("127.1.0.1", 20_000)
    assert made[5_000] == ("127.1.0.2", 20_000)


def proxy(core: int, status: bytes | None = None) -> tuple[socket.socket, threading.Thread]:
    """Passes one REGISTER on to the core and the answer back, with another status if told."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(5)

    def work() -> None:
        request, phone = made.recvfrom(65_535)
        made.sendto(request, ("127.0.0.1", core))
        answer, _ = made.recvfrom(65_535)
        made.sendto(answer if status is None else answer.replace(b"200 OK", status), phone)
        answers.append(answer)

    thread = threading.Thread(target=work)
    thread.start()
    return made, thread


answers: list[bytes] = []


def test_a_ue_registers_through_a_proxy() -> None:
    core = free_port()
    made, thread = proxy(core)
    with made:
        assert register(made.getsockname()[1], core, iter([("alice", ("127.1.0.1", 20_000))])) == 1
        thread.join()
    assert b"P-Associated-URI: <sip:alice@ims.example>\r\n" in answers[-1]
    assert f"Service-Route: <sip:orig@127.0.0.1:{core};lr>\r\n".encode() in answers[-1]
    assert b"Contact: <sip:alice@127.1.0.1:20000>" in answers[-1]


def test_a_refused_registration_is_no_ue() -> None:
    core = free_port()
    made, thread = proxy(core, b"403 Forbidden")
    with made:
        with pytest.raises(Failure, match="answered with 403"):
            register(made.getsockname()[1], core, iter([("alice", ("127.1.0.1", 20_000))]))
        thread.join()
    Registrar(core).close()   # its port is free again
