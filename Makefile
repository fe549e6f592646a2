# `make repro` and `make test` each do all their own set-up; they need Python 3.11, make, git and a network.
# Set-up is done once: its stamp is older than the lock file only after the lock file changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup repro test long faults check lint fast format clean

VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONUNBUFFERED := 1
# Never more threads than cores: oversubscribed training was measured 10 to 30 times slower.
export OMP_NUM_THREADS ?= $(shell nproc)

# One process a core with one thread each; a module stays in one process, because its fixtures are shared.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses $(shell nproc) --dist loadfile

help:  ## say what the targets do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

setup: $(READY)  ## make .venv from requirements.lock, install a GL library when there is none

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(VENV)
	@touch $@

repro: $(READY)  ## run the pipeline on params.yaml (`dvc repro`, an item a core) and say where the report is
	@scripts/repro.sh
	@echo "report: $(CURDIR)/reports/index.html"

test: lint  ## everything CI runs: format, lint, types, all tests but the long ones
	$(PYTEST) -m "not long"

long: $(READY)  ## the tests that take minutes each
	$(PYTEST) -m long

faults: $(READY)  ## kill, starve and corrupt every stage, and print what was found; under an hour on two cores
	OMP_NUM_THREADS=1 python -m tests.faults --jobs $(shell nproc)

check: lint fast  ## what to run before a commit

lint: $(READY)  ## format, lint, types
	ruff format --check .
	ruff check .
	mypy

fast: $(READY)  ## the tests that need no simulator and take a minute
	$(PYTEST) -m "not sim and not slow and not long and not gpu"

format: $(READY)  ## rewrite the code in the house's format
	ruff format .
	ruff check --fix .

clean:  ## remove what the pipeline and the tools made; keeps .venv and DVC's cache
	rm -rf data/raw data/offline models index runs reports .gsa
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
