# Everything here needs Python 3.11 or newer, git and make, and nothing else prepared.
# `make` alone lists the targets. ARGS="…" is passed on: make test ARGS="-k curves -x".

.DEFAULT_GOAL := help
.PHONY: help environment demo test coverage lint style format-check types imports format build wheel-test docs docs-serve examples conformance bench-memory games bench-ray bench-runtime soak-memory soak-runtime bars clean

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The first of these that is new enough and can make a virtual environment; PYTHON=/path/to/python3.12 overrides it.
PYTHON ?= python3.13 python3.12 python3.11 python3 python
PROJECT := $(shell cksum < pyproject.toml | cut -d ' ' -f 1)
DEMO := $(VENV)/.demo-$(PROJECT)
DEV := $(VENV)/.dev-$(PROJECT)
CONFORMANCE := .venv-conformance/.ready-$(PROJECT)
PEERS := .venv-peers/.ready-$(PROJECT)
RAY := .venv-ray/.ready-$(PROJECT)
GAMES_BIN := .venv-games/bin
GAMES := .venv-games/.ready-$(PROJECT)
PIP := $(BIN)/python -m pip --disable-pip-version-check
OFFLINE := $(BIN)/python tests/offline.py --

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: $(DEV)  ## Make the virtual environment for the other targets

demo: $(DEMO)  ## Watch an agent remember, be checked, be corrected and forget (ARGS="--seed 2")
	$(BIN)/mars demo $(ARGS)

test: $(DEV)  ## Run all tests with the network switched off (ARGS="-k name")
	$(OFFLINE) $(BIN)/python -m pytest $(ARGS)

coverage: $(DEV)  ## Run all tests and show the coverage of branches; under 90 % fails
	$(OFFLINE) $(BIN)/python -m pytest --cov --cov-branch --cov-report=term-missing --cov-fail-under=90 $(ARGS)

lint: style format-check types imports  ## Check style, format, types and the direction of imports

style: $(DEV)  ## Check style with ruff
	$(BIN)/ruff check

format-check: $(DEV)  ## Check that the code is formatted
	$(BIN)/ruff format --check

types: $(DEV)  ## Check types with mypy --strict
	$(BIN)/mypy

imports: $(DEV)  ## Check that imports point one way only
	$(BIN)/lint-imports --no-cache  # its cache outlives a new __init__.py

format: $(DEV)  ## Format the code and sort its imports
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

build: $(DEV)  ## Build sdist and wheel into dist/ and check what they hold
	$(BIN)/python tests/build_check.py dist

wheel-test: $(if $(WHEEL),,build)  ## Run the fast tests against the built wheel, in a clean environment, from an empty directory
	sh tests/wheel_test.sh $(BIN)/python $(or $(WHEEL),dist) $(ARGS)

docs: $(DEV)  ## Build the documentation as a site into build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build $(ARGS)

docs-serve: $(DEV)  ## Show the documentation at http://127.0.0.1:8000 while you write it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --livereload $(ARGS)

examples: $(DEV)  ## Run every example and say what came of it, network off (ARGS="--only chat.py")
	$(OFFLINE) $(BIN)/python -m benchmarks.examples $(ARGS)

conformance: $(CONFORMANCE)  ## Run LangGraph's and LangChain's own tests on our store, saver and retriever (fetches them)
	.venv-conformance/bin/python tests/conformance/run.py $(ARGS)

bench-memory: $(PEERS)  ## Measure our memory beside others', network off (ARGS="--rows 1000 --systems mars,chroma")
	.venv-peers/bin/python tests/offline.py -- .venv-peers/bin/python -m benchmarks.peers $(ARGS)

games: $(GAMES)  ## Play TextWorld's games with and without memory (ARGS="--games 2 --tries 2 --json")
	@$(GAMES_BIN)/mars eval textworld --seed 301 --folder build/textworld $(ARGS)

bench-ray: $(RAY)  ## Play the same episodes on SQLite, PostgreSQL and Ray, and kill one of Ray's workers, network off
	.venv-ray/bin/python tests/offline.py -- .venv-ray/bin/python -m benchmarks.simulation_engines $(ARGS)

bench-runtime: $(DEV)  ## Measure a turn beside an empty graph, and 1,000 turns, into benchmarks/results/runtime.json
	$(BIN)/python -m benchmarks.runtime_speed $(ARGS)

soak-memory: $(DEV)  ## Kill writers again and again and look at what they leave (RUNS=1000)
	$(BIN)/python -m benchmarks.soak_memory --runs $(or $(RUNS),1000) $(ARGS)

soak-runtime: $(DEV)  ## Kill processes within a turn again and again, resume and compare (RUNS=500, ARGS="--sabotage ledger")
	$(BIN)/python -m benchmarks.soak_runtime --runs $(or $(RUNS),500) $(ARGS)

bars: $(DEV)  ## Measure what the project promises (ONLY=name, ISSUE=2, ALL=1 for the slow ones too)
	$(BIN)/python benchmarks/bars.py $(if $(ONLY),--only $(ONLY)) $(if $(ISSUE),--issue $(ISSUE)) $(if $(ALL),--all) $(ARGS)

clean:  ## Remove the environments, the builds and the caches
	rm -rf .venv .venv-wheel .venv-conformance .venv-peers .venv-ray .venv-games build dist out ./*.egg-info .coverage .coverage.* htmlcov
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHON); do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$($$python --version)"; exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with the module venv was found (tried: $(PYTHON))." >&2; \
	echo "Install one (Debian and Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(DEMO): | $(BIN)/python
	@echo "Installing what MARS needs into $(VENV); this takes a minute the first time."
	@$(PIP) install -qq --upgrade 'pip>=25.1'
	@$(PIP) install -qq --editable '.[plot]'
	@rm -f $(VENV)/.demo-* && touch $@

$(DEV): | $(BIN)/python
	@echo "Installing MARS and its tools into $(VENV); this takes a minute or two the first time."
	@$(PIP) install -qq --upgrade 'pip>=25.1'
	@$(PIP) install -qq --group dev --editable '.[plot]'
	@rm -f $(VENV)/.dev-* $(VENV)/.demo-* && touch $@ $(DEMO)

$(CONFORMANCE): | $(BIN)/python
	@echo "Installing what others test with into .venv-conformance; this takes a minute or two the first time."
	@$(BIN)/python -m venv --clear .venv-conformance
	@.venv-conformance/bin/python -m pip install -qq --upgrade 'pip>=25.1'
	@.venv-conformance/bin/python -m pip install -qq --group conformance --editable .
	@touch $@

$(PEERS): | $(BIN)/python
	@echo "Installing the memories of others into .venv-peers; this takes a few minutes the first time."
	@$(BIN)/python -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip install -qq --upgrade 'pip>=25.1'
	@.venv-peers/bin/python -m pip install -qq --group peers --editable .
	@touch $@

$(GAMES): | $(BIN)/python
	@echo "Building TextWorld into .venv-games; this takes a minute or two the first time."
	@$(BIN)/python -m venv --clear .venv-games
	@$(GAMES_BIN)/python -m pip install -qq --upgrade 'pip>=25.1'
	@$(GAMES_BIN)/python -m pip install -qq --editable '.[textworld]' pytest
	@touch $@

$(RAY): | $(BIN)/python
	@echo "Installing Ray into .venv-ray; this takes a minute or two the first time."
	@$(BIN)/python -m venv --clear .venv-ray
	@.venv-ray/bin/python -m pip install -qq --upgrade 'pip>=25.1'
	@.venv-ray/bin/python -m pip install -qq --group ray --editable .
	@touch $@
