from __future__ import annotations

import json
from typing import Any

import pytest

from pcscf.cli.main import main
from pcscf.config.model import Config


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit, match="0"):
        main(["schema"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_it_names_its_dialect_and_every_key(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["required"] == ["home_domain", "listeners", "realms"]
    assert schema["additionalProperties"] is False


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            here = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return here | {found for below in value.values() for found in references(below)}
        return {found for below in value for found in references(below)} if isinstance(value, list) else set()

    used = references(schema)
    assert used
    assert used <= {f"#/$defs/{name}" for name in schema["$defs"]}


def test_values_are_described_as_they_are_written(schema: dict[str, Any]) -> None:
    blocks = {name: block["properties"] for name, block in schema["$defs"].items()}
    assert blocks["CoreRealm"]["next_hop"]["type"] == "string"
    assert {each["type"] for each in blocks["MediaRealm"]["ports"]["anyOf"]} == {"string", "array"}
    assert {"type": "boolean"} in blocks["Gateways"]["embedded"]["anyOf"]
    assert {each.get("type") for each in blocks["Trace"]["file"]["anyOf"]} == {"string", "null"}
    assert {each.get("type") for each in blocks["Listener"]["certificate"]["anyOf"]} == {"string", "null"}
    one, several, null = blocks["Match"]["access"]["anyOf"]
    assert one["enum"] == ["udp", "tcp", "tls"]
    assert (several["type"], several["items"], null) == ("array", one, {"type": "null"})
    assert all("description" in each or "$ref" in each for block in blocks.values() for each in block.values())
