"""For all tests: property tests know no time limit, and a build server tries the same examples each time."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["tests.support.interop", "tests.support.sctp"]

settings.register_profile("pcscf", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("pcscf")
