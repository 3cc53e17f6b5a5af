# `make help` lists the targets. Each one first installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full check docs bench constraints

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (minutes the first time)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (minutes the first time)"
	@$(PIP) install --require-hashes -r constraints.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## the whole story on synthetic data: CPU, minutes
	@$(BIN)/python -m mpma_lightning demo

test: $(STAMP) ## the tests, without those marked full
	@$(TESTS) -m "not full"

test-full: $(STAMP) ## all tests, with many examples of each property
	@$(TESTS) --hypothesis-profile=many

check: $(STAMP) ## ruff, mypy and the direction of imports
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports

docs: $(STAMP) ## the pages and the docstrings as a site, docs/_build/index.html
	@$(PIP) install --no-build-isolation -e ".[docs]"
	@$(BIN)/python -m sphinx -q --fail-on-warning -c docs . docs/_build
	@echo "docs/_build/index.html"

bench: $(STAMP) ## every script of benchmarks/, one after another
	@set -e; for script in benchmarks/*.py; do \
	  test -e "$$script" || { echo "benchmarks/ holds no script"; break; }; \
	  echo "== $$script"; $(BIN)/python "$$script"; done

constraints: ## pin the newest versions pyproject.toml allows into constraints.txt (needs uv and the package index)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --upgrade -o constraints.txt
