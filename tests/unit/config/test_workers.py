from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcscf.config.load import ConfigErrors, load_gateway
from pcscf.config.values import PortRange
from pcscf.config.workers import as_written, mid_of_worker, share, workers_of

FILE = """\
iq: {port: 2950}
controllers: ["192.0.2.1", "[2001:db8::1]:2950"]
realms:
  access: {addresses: [192.0.2.7, '2001:db8::7'], ports: [20000-20999, 22000-22009]}
  core: {addresses: 198.51.100.7, ports: 30000-30009}
workers: 3
"""


def written(folder: Path, text: str = FILE) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def test_every_worker_has_a_name_and_ports_of_its_own(tmp_path: Path) -> None:
    workers = workers_of(load_gateway(written(tmp_path)))
    assert [each.own_mid for each in workers] == ["[127.0.0.1]:2950", "[127.0.0.1]:2951", "[127.0.0.1]:2952"]
    assert [each.iq.port for each in workers] == [2950, 2951, 2952]
    assert [each.http.port for each in workers] == [9294, 9295, 9296]
    assert [str(each.realms["core"].ports[0]) for each in workers] == ["30000-30001", "30002-30003", "30004-30005"]
    ports = [port for each in workers for one in each.realms["access"].ports for port in range(one.first, one.last + 1)]
    assert len(ports) == len(set(ports)) == 1008
    assert {each.workers for each in workers} == {1}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "gw.all").write_text("")
    text = FILE + "certificates: {files: [{certificate: gw.all}]}\nlimits: {half_open: 7}\n"
    for each in workers_of(load_gateway(written(tmp_path, text))):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        path = elsewhere / "worker.json"
        path.write_text(json.dumps(as_written(each)))
        assert load_gateway(path) == each


def test_one_worker_is_the_file_itself(tmp_path: Path) -> None:
    file = load_gateway(written(tmp_path), ["workers=1"])
    assert workers_of(file) == (file,)


@pytest.mark.parametrize(("mid", "names"), [
    ("[192.0.2.1]:2945", ["[192.0.2.1]:2945", "[192.0.2.1]:2946"]),
    ("[2001:db8::1]", ["[2001:db8::1]:2944", "[2001:db8::1]:2945"]),
    ("<gw.example>:2950", ["<gw.example>:2950", "<gw.example>:2951"]),
    ("gw1", ["gw1_0", "gw1_1"]),
])
def test_names(mid: str, names: list[str]) -> None:
    assert [mid_of_worker(mid, number) for number in range(2)] == names


def test_shares_have_an_even_number_of_ports_across_ranges() -> None:
    ports = (PortRange(1024, 1026), PortRange(2000, 2007))
    shares = [share(ports, number, 2) for number in range(2)]
    assert shares == [(PortRange(1024, 1026), PortRange(2000, 2000)), (PortRange(2001, 2004),)]


def test_too_few_ports_for_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"realms\.core\.ports: 10 ports for 6 workers"):
        load_gateway(written(tmp_path), ["workers=6"])
