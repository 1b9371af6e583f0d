# Every target works from a fresh clone. `make` lists them.
PYTHON ?= python3
ARGS ?=
TEST_WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
# one thread a test worker: workers that share their cores are slower than workers that do not
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install train test test-slow check bench clean

help:  ## list the targets
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=python3]'
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(firstword $(MAKEFILE_LIST)) | awk -F ': ' '{ printf "  %-10s %s\n", $$1, $$2 }'

install: $(VENV)/.installed  ## make .venv with all that `qnewton` needs on a CPU

train: $(VENV)/.installed  ## run the main job; ARGS="--seed 1 --steps 5" changes it
	$(BIN)/qnewton train $(ARGS)

test: $(VENV)/.installed-test  ## the fast tests and the doctests
	$(PYTEST) -m "not slow and not gpu" $(ARGS)

test-slow: $(VENV)/.installed-test  ## the slow tests
	$(PYTEST) -m "slow and not gpu" $(ARGS)

check: $(VENV)/.installed-check  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed  ## every table of benchmarks/
	@set -e; for script in $(sort $(wildcard benchmarks/bench_*.py)); do echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

clean:  ## remove build products and caches; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make install PYTHON=python3.11'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch on its own first: it decides the versions of most other packages, and is the one download that takes long
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[$*]'
	touch $@
