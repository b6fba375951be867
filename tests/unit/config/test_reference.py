from __future__ import annotations

from pathlib import Path

from pcscf.config.load import POLICIES
from pcscf.config.model import Config
from pcscf.config.reference import reference, rows
from pcscf.config.tree import plain, read_tree

PROJECT = Path(__file__).parents[3]


def keys(value: object, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {f"{prefix}{key}" for key in value} | {
        found for key, below in value.items() for found in keys(below, f"{prefix}{key}.")
    }


def test_the_reference_page_is_what_the_models_say() -> None:
    page = (PROJECT / "docs/reference/configuration.md").read_text()
    assert page == reference(), "renew it: python -m pcscf.config.reference > docs/reference/configuration.md"


def test_every_key_has_a_meaning() -> None:
    assert [row.key for row in rows(Config) if not row.meaning] == []


def test_default_yaml_shows_every_key() -> None:
    file = plain(read_tree((POLICIES / "default.yaml").read_bytes(), "default.yaml"))
    text = (POLICIES / "default.yaml").read_text()
    shown = keys({**file, "policies": {"N": file["policies"][0]}})
    shown |= {f"listeners.NAME.{key}" for key in file["listeners"]["gm-udp"]}
    shown |= {f"realms.{name.upper()}-NAME.{key}" for name in file["realms"] for key in keys(file["realms"][name])}
    assert "[{certificate: gw.pem, key: gw.key}]" in text
    shown |= {f"gateways.embedded.certificates.files.N.{key}" for key in ("certificate", "key")}
    shown |= {f"gateways.embedded.media.NAME.{key}" for key in file["gateways"]["embedded"]["media"]["access"]}
    medium = {f"policies.N.media.{name}." for name in ("msrp", "bfcp", "fax")}
    missing = {row.key for row in rows(Config)} - shown
    missing = {key for key in missing if not any(key.startswith(each) for each in medium)}
    shown_for_msrp = {"policies.N.media.default.sessmatch", "policies.N.media.default.aware"}
    commented = {"name", "visited_network", "listeners.NAME.certificate", "listeners.NAME.key"}
    commented |= {f"gateways.known.N.{key}" for key in ("mid", "address", "weight", "realms", "drain")}
    commented |= {f"gateways.iq.tls.{key}" for key in ("ca", "certificate", "key", "peers")}
    assert missing - commented - shown_for_msrp == set()
    assert all(f"{key.rpartition('.')[2]}:" in text for key in commented)
