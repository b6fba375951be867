# Two commands for a fresh machine: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
TOOLS := $(VENV)/.ready-tools
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
.DEFAULT_GOAL := help
.PHONY: help setup demo test interop bench soak lint check-python

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pcscf needs Python 3.11 or newer; name it with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian and Ubuntu this one command helps:"; echo "    sudo apt-get install python3-venv"; exit 1; }

$(STAMP): pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pcscf into $(VENV) …"
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --editable .
	@touch $@

$(TOOLS): $(STAMP)
	@echo "Installing the tools for tests into $(VENV) …"
	@$(PIP) --group dev
	@touch $@

setup: $(TOOLS)  ## make the virtual environment, install the package and the tools into it

demo: $(STAMP)  ## show the main job: registration, protected sessions, and what is refused
	@$(BIN)/pcscf demo $(ARGS)

test: $(TOOLS)  ## everything: style, types, import rules, tests, peers (PEERS=skip leaves the peers out)
	@sh tests/support/peers.sh
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest $(ARGS)

interop: $(TOOLS)  ## the tests against independent programs, and docs/reference/interop.md from what came out
	@sh tests/support/peers.sh
	@$(BIN)/pytest -m interop --interop-matrix=docs/reference/interop.md $(ARGS)

bench: $(TOOLS) $(BENCH)/.ready  ## what a call costs, beside others (ARGS="--write docs/reference/bench.md" publishes it)
	@sh tests/support/peers.sh kamailio:kamailio sipp:sip-tester haproxy:haproxy
	@$(BIN)/python -m bench $(ARGS)

# Sippy is measured beside us, and has dependencies that nobody else needs.
$(BENCH)/.ready: | check-python
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check sippy==2.5.0 || echo "bench: sippy could not be installed; the report says so"
	@touch $@

soak: $(TOOLS)  ## 10,000 sessions while processes are killed at random (SOAK_SESSIONS, SOAK_KILLS, SOAK_SEED)
	@SOAK_SESSIONS=$${SOAK_SESSIONS:-10000} SOAK_KILLS=$${SOAK_KILLS:-60} $(BIN)/pytest tests/live/test_soak.py -x -s $(ARGS)

lint: $(TOOLS)  ## style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
