# The one interface: what a newcomer runs, CI runs.
PYTHON ?= $(shell command -v python3.11 2>/dev/null || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV ?= .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed

.PHONY: help install quickstart test check format bench bench-peers install-vllm test-vllm clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(STAMP)  ## set up .venv with pinned versions

# torch comes first and alone, so that the CPU build is taken where one is at hand.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

quickstart: install  ## train and compare four models on real or simulated data
	$(BIN)/llmrec quickstart

test: install  ## run the test suite
	$(BIN)/python -m pytest

check: install  ## lint, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_import_arrows.py

format: install  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install  ## measure our own speed figures
	$(BIN)/python eval/benchmarks/run.py

bench-peers: install  ## measure against RecTools and RecBole in an environment of their own
	$(MAKE) -C eval/benchmarks peers PYTHON=$(PYTHON)
	$(BIN)/python eval/benchmarks/peers.py

install-vllm: $(VLLM_STAMP)  ## set up .venv-vllm with vLLM on a CPU, pinned versions

# The file lists everything, so nothing is resolved and nothing else comes along.
$(VLLM_STAMP): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r constraints-vllm.txt
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(VLLM_STAMP)

test-vllm: install-vllm  ## test the vLLM engine and a vLLM server on this machine
	$(VLLM_VENV)/bin/python -m pytest -m vllm tests/with_vllm

clean:  ## remove environments and caches
	rm -rf $(VENV) $(VLLM_VENV) .mypy_cache .ruff_cache .pytest_cache
