"""`pcscf schema`: the JSON Schema of the configuration, with which an editor completes keys and marks mistakes."""

from __future__ import annotations

import json
import sys

from pcscf.config.model import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> None:
    """Print the JSON Schema of the configuration. `pcscf check` checks more: what fits together, and what exists."""
    described = {"$schema": DIALECT, **Config.model_json_schema(), "title": "Configuration of pcscf"}
    sys.stdout.write(json.dumps(described, indent=2) + "\n")
