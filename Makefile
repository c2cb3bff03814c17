# Gapscope. `make help` lists what there is; `make demo` and `make test` need nothing but Linux, Python 3.11 and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
HOME_DIR ?= home
API_PORT ?= 8000
UI_PORT  ?= 8501

.DEFAULT_GOAL := help
.PHONY: help install demo up test lint types bench browser clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Make .venv with everything that Gapscope needs (quick when nothing changed)

demo: $(VENV)/.installed ## Start everything and train the comparison on built-in clips; Ctrl-C stops all
	$(BIN)/gapscope demo --home $(HOME_DIR) --api-port $(API_PORT) --ui-port $(UI_PORT)

up: $(VENV)/.installed ## Start everything; Ctrl-C stops all
	$(BIN)/gapscope up --home $(HOME_DIR) --api-port $(API_PORT) --ui-port $(UI_PORT)

test: $(VENV)/.installed-dev browser ## Run all tests (real server, real API, real browser)
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev ## Check style and the rules who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev ## Check types
	$(BIN)/mypy

bench: $(VENV)/.installed-dev ## Measure; writes the figures of docs/benchmarks.md to artifacts/
	$(BIN)/python -m tests.bench

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
