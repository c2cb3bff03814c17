# Gapscope. `make help` lists what there is; `make demo` and `make test` need nothing but Linux, Python 3.11 and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
HOME_DIR ?= home
API_PORT ?= 8000
UI_PORT  ?= 8501
TEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo up test lint types faults fuzz fuzz-api load soak audit bench screenshots browser clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Make .venv with everything that Gapscope needs (quick when nothing changed)

demo: $(VENV)/.installed ## Start everything and train the comparison on built-in clips; Ctrl-C stops all
	$(BIN)/gapscope demo --home $(HOME_DIR) --api-port $(API_PORT) --ui-port $(UI_PORT)

up: $(VENV)/.installed ## Start everything; Ctrl-C stops all
	$(BIN)/gapscope up --home $(HOME_DIR) --api-port $(API_PORT) --ui-port $(UI_PORT)

test: $(VENV)/.installed-dev browser ## Run all tests (real server, real API, real browser)
	$(BIN)/python -m pytest -r fER --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev ## Check style and the rules who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev ## Check types
	$(BIN)/mypy

faults: $(VENV)/.installed-dev ## Full disks, power losses, stepping clocks, a million events and a hundred runs under kills (over an hour)
	$(BIN)/python -m pytest tests/faults/long_*.py
	$(BIN)/python -m tests.faults.journal_kills
	$(BIN)/python -m tests.faults.random_kills

fuzz: $(VENV)/.installed-dev ## Decode ten thousand broken clips (about five minutes)
	$(BIN)/python -m tests.faults.fuzz

fuzz-api: $(VENV)/.installed-dev ## Send a hundred thousand odd requests to the API (about half an hour)
	$(BIN)/python -m tests.faults.fuzz_api

load: $(VENV)/.installed-dev ## Fifty clients at once while a run trains (about two minutes)
	$(BIN)/python -m tests.load.clients

soak: $(VENV)/.installed-dev browser ## Half an hour of runs, browsers and uploads: nothing may grow
	$(BIN)/python -m tests.load.soak --minutes 30

audit: $(VENV)/.installed-dev ## Ask for known vulnerabilities of what is installed (needs the internet), and for unlisted licences
	$(BIN)/pip-audit --strict --skip-editable --progress-spinner off
	$(BIN)/python -m tests.licences && git diff --exit-code docs/licences.md

bench: $(VENV)/.installed-dev ## Measure; writes the figures of docs/benchmarks.md to artifacts/
	$(BIN)/python -m tests.bench

screenshots: $(VENV)/.installed-dev browser ## Pictures of every page of a running Gapscope, in artifacts/pages
	$(BIN)/python -m tests.bench.screenshots --ui http://127.0.0.1:$(UI_PORT) --api http://127.0.0.1:$(API_PORT)

browser: # Chromium for the browser tests, where this machine lets us install it; the tests say so where it does not
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq chromium >/dev/null; \
	else $(BIN)/python -m playwright install chromium; fi

clean: ## Remove .venv and caches (never your home folder)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache artifacts

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gapscope needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Gapscope into $(VENV): about 6 GB with PyTorch, a few minutes ..."
	@$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Gapscope and its tools into $(VENV): about 6 GB with PyTorch, a few minutes ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed
