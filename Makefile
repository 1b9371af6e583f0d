# Every target works from a fresh clone. `make` lists them.
PYTHON ?= python3
ARGS ?=
TEST_WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# the CUDA of the driver, 12 or 13, decides which extra is installed; none without an NVIDIA driver or with CUDA_MAJOR=
CUDA_MAJOR ?= $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[A-Z ]*Version: *\([0-9]*\).*/\1/p' | \
  awk '$$1 >= 12 { print ($$1 > 13 ? 13 : $$1) }')
CUDA_EXTRA = $(if $(CUDA_MAJOR),[cuda$(CUDA_MAJOR)])
# the tested versions are those for a CPU and for CUDA 13
CONSTRAINTS = $(if $(filter 12,$(CUDA_MAJOR)),,-c constraints.txt)
PIP := -m pip install --disable-pip-version-check --quiet
PIP_INSTALL = $(BIN)/python $(PIP) $(CONSTRAINTS)
# what runs on a GPU node: its own Python where it has the packages, with this folder on the path, or that of .venv
BIN_PYTHON ?= $(BIN)/python
ON_GPU = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" $(BIN_PYTHON)
NEEDS_VENV = $(filter $(BIN)/python,$(BIN_PYTHON))
CUDA_VENV := .venv-cuda
# peers of the benchmarks: their pins exclude each other, and NWQLib needs Python 3.12; one that is missing is said so
PYTHON312 ?= python3.12
PEER_VENVS := .venv-peers/.installed .venv-qrisp/.installed .venv-nwqlib/.installed
# one thread a test worker: workers that share their cores are slower than workers that do not
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install train test test-slow test-gpu check check-signatures record-signatures bench bench-solvers bench-tensornet bench-peers roofline clean

help:  ## list the targets
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=python3]'
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(firstword $(MAKEFILE_LIST)) | awk -F ': ' '{ printf "  %-18s %s\n", $$1, $$2 }'

install: $(VENV)/.installed  ## make .venv with all that `qnewton` needs, on an NVIDIA GPU too where there is one

train: $(VENV)/.installed  ## run the main job; ARGS="--seed 1 --steps 5" changes it
	$(BIN)/qnewton train $(ARGS)

test: $(VENV)/.installed-test  ## the fast tests and the doctests
	$(PYTEST) -m "not slow and not gpu" $(ARGS)

test-slow: $(VENV)/.installed-test  ## the slow tests
	$(PYTEST) -m "slow and not gpu" $(ARGS)

# the libraries of a node may be of other versions than the tested ones: their warnings are no failures
test-gpu: $(if $(NEEDS_VENV),$(VENV)/.installed-test)  ## the tests that need a GPU; BIN_PYTHON=python3 on a node without .venv
	QNEWTON_REQUIRE_GPU=1 $(ON_GPU) -m pytest -W default -m gpu $(ARGS)

check: $(VENV)/.installed-check  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-signatures: $(CUDA_VENV)/.installed $(VENV)/.installed-test  ## compare the record of cuQuantum with the real package; ask its path finder
	$(CUDA_VENV)/bin/python tests/standins/record_signatures.py --check $(ARGS)
	$(BIN)/python tests/standins/real_paths.py $(CUDA_VENV)/bin/python

record-signatures: $(CUDA_VENV)/.installed  ## write that record anew
	$(CUDA_VENV)/bin/python tests/standins/record_signatures.py $(ARGS)

bench: $(VENV)/.installed  ## every table of benchmarks/ but that of the peers
	@set -e; for script in $(filter-out %/bench_peers.py,$(sort $(wildcard benchmarks/bench_*.py))); do echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

bench-peers: $(VENV)/.installed $(PEER_VENVS)  ## qulacs, lightning, Aer, Qrisp, NWQLib on the same systems; ARGS="--limit 20"
	$(BIN)/python benchmarks/bench_peers.py $(ARGS)

bench-solvers: $(VENV)/.installed  ## every solver and encoding against its prediction; gram against walk; warm norms
	$(BIN)/python benchmarks/bench_solvers.py $(ARGS)

bench-tensornet: $(VENV)/.installed  ## screened Poisson beyond any state vector; ARGS="--quick" in a minute
	$(BIN)/python benchmarks/bench_tensornet.py $(ARGS)

roofline: $(if $(NEEDS_VENV),$(VENV)/.installed)  ## time the kernels on a GPU; BIN_PYTHON=python3 on a node without .venv
	$(ON_GPU) profiling/roofline.py $(ARGS)

clean:  ## remove build products and caches; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make install PYTHON=python3.11'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch on its own first: it decides the versions of most other packages, and is the one download that takes long
	$(if $(CONSTRAINTS),$(PIP_INSTALL) torch)
	$(PIP_INSTALL) -e '.$(CUDA_EXTRA)'
	touch $@

# signatures are read and paths found without a GPU, so without most toolkit libraries that the extra adds
$(CUDA_VENV)/.installed: constraints.txt
	test -x $(CUDA_VENV)/bin/python || $(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_VENV)/bin/python $(PIP) -c constraints.txt cupy-cuda13x cuquantum-python-cu13 nvidia-cublas nvidia-cusolver
	touch $@

.venv-peers/.installed: benchmarks/peers-constraints.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python $(PIP) -c $< qulacs pennylane pennylane_lightning qiskit qiskit-aer
	touch $@

.venv-qrisp/.installed:
	$(PYTHON) -m venv .venv-qrisp
	-.venv-qrisp/bin/python $(PIP) qrisp==0.9.10
	touch $@

.venv-nwqlib/.installed:
	-$(PYTHON312) -m venv .venv-nwqlib && .venv-nwqlib/bin/python $(PIP) 'nwqlib[aer]==1.0.3.post2'
	mkdir -p .venv-nwqlib && touch $@

# with the CUDA extra again: what the tests need must not bring another torch
comma := ,
$(VENV)/.installed-%: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[$(if $(CUDA_MAJOR),cuda$(CUDA_MAJOR)$(comma))$*]'
	touch $@
