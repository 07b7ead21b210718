# Two commands for users: `make demo` and `make test`. Each sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Silences a warning of each process that forks after it has used a tokenizer.
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-fast lint bench install clean

demo: .venv/.runtime
	@test -f models/tiny/config.json || $(BIN)/python -m rlvr.tiny --out models/tiny
	$(BIN)/python -m rlvr.train recipe=grpo_tiny

# The slow ones start engines that take all cores, so they come one after the other.
test: test-fast lint
	$(BIN)/python -m pytest -m "slow or gpu"

test-fast: .venv/.dev
	$(BIN)/python -m pytest -m "not slow and not gpu" -n auto

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/.dev
	$(BIN)/python -m bench.train_cpu

install: .venv/.runtime

.venv/.runtime: docker/cpu.lock docker/install_cpu.sh
	PYTHON=$(PYTHON) bash docker/install_cpu.sh .venv docker/cpu.lock
	@touch $@

.venv/.dev: .venv/.runtime docker/dev.lock
	$(BIN)/python -m pip install -qq --no-deps -r docker/dev.lock
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache
