# Two commands for users: `make demo` and `make test`. Both do all the set-up themselves; a second run is quick.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
# cmake, ninja and clang-format of the lock come first, whatever the system has.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

STAMPS := build/stamps
NATIVE := CMakeLists.txt pyproject.toml $(shell find cpp -type f \( -name '*.h' -o -name '*.c' -o -name '*.cc' -o -name '*.txt' -o -name '*.cmake' \))
CPP := $(shell find cpp -type f \( -name '*.h' -o -name '*.c' -o -name '*.cc' \))
JOBS ?= 2
FUZZ_RUNS ?= 1000000
GRAPH_MINUTES ?= 5

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# --- set-up: each stamp is the time when that part was last done -----------------------------------------------------

$(STAMPS)/system: scripts/setup
	@scripts/setup system
	@mkdir -p $(@D) && touch $@

$(VENV)/.installed: requirements.lock | $(STAMPS)/system
	@scripts/setup python
	@touch $@

$(VENV)/.native: $(NATIVE) $(VENV)/.installed
	@scripts/setup native
	@touch $@

$(VENV)/.torch: pyproject.toml $(VENV)/.installed
	@scripts/setup torch
	@touch $@

$(STAMPS)/fuzz-system: | $(STAMPS)/system
	@scripts/setup fuzz-system
	@touch $@

$(STAMPS)/cross-system: | $(STAMPS)/system
	@scripts/setup cross-system
	@touch $@

$(STAMPS)/ssh-system: | $(STAMPS)/system
	@scripts/setup ssh-system
	@touch $@

$(STAMPS)/mca: | $(STAMPS)/system
	@scripts/setup mca
	@touch $@

# The runtime for 64-bit ARM. Tests run it in an emulator.
$(STAMPS)/aarch64: $(NATIVE) cmake/aarch64-linux-gnu.cmake $(VENV)/.installed | $(STAMPS)/cross-system
	@cmake -S . -B build/aarch64 -G Ninja --toolchain cmake/aarch64-linux-gnu.cmake -DCMAKE_BUILD_TYPE=Release \
	  -DSANDERLING_TESTS=ON >build/logs/aarch64.log
	@cmake --build build/aarch64 -j $(JOBS)
	@touch $@

# The other runtimes that benchmarks compare with, in an environment of their own.
$(STAMPS)/peers: cli/peers.py | setup
	@sanderling bench --install-peers
	@mkdir -p $(@D) && touch $@

.PHONY: setup
setup: $(VENV)/.native ## everything that the other commands need (they call it themselves)

# --- what a user wants -----------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## compile the bird detector, run it on a clip, write a video and a report
	@sanderling demo --output build/demo

.PHONY: bench
bench: setup $(STAMPS)/peers ## run every benchmark, write benchmarks/results (wants a quiet machine; about half an hour)
	@$(PYTHON) -m benchmarks

# --- what a developer wants ------------------------------------------------------------------------------------------

.PHONY: test
test: setup $(STAMPS)/ssh-system lint ctest ctest-sanitized ctest-aarch64 $(VENV)/.torch ## every check in small: lint, C++ tests (also sanitized), Python tests
	@$(PYTHON) -m pytest -n $(JOBS) -m "not slow"

.PHONY: test-full
test-full: setup $(STAMPS)/ssh-system $(STAMPS)/peers $(STAMPS)/mca lint ctest ctest-sanitized ctest-aarch64 $(VENV)/.torch fuzz ## the long ones too: fuzzing, sweeps, training
	@$(PYTHON) -m pytest -n $(JOBS) --timeout 3600
	@$(PYTHON) -m benchmarks.differential --minutes $(GRAPH_MINUTES) --seed $$(date +%s)

.PHONY: lint
lint: setup ## ruff, mypy --strict, clang-format
	@ruff check .
	@ruff format --check --quiet .
	@mypy
	@clang-format --dry-run --Werror $(CPP)

.PHONY: format
format: setup ## format all Python and C++ files
	@ruff check --fix --quiet .
	@ruff format .
	@clang-format -i $(CPP)

.PHONY: ctest
ctest: setup
	@ctest --test-dir build/release --output-on-failure --no-tests=error

.PHONY: ctest-sanitized
ctest-sanitized: setup
	@cmake -S . -B build/sanitized -G Ninja -DCMAKE_BUILD_TYPE=Debug -DSANDERLING_SANITIZE=ON \
	  -DSANDERLING_TESTS=ON -DSANDERLING_PYTHON=OFF >build/logs/sanitized.log
	@cmake --build build/sanitized -j $(JOBS)
	@ctest --test-dir build/sanitized --output-on-failure --no-tests=error

.PHONY: ctest-aarch64
ctest-aarch64: $(STAMPS)/aarch64
	@ctest --test-dir build/aarch64 --output-on-failure --no-tests=error -j $(JOBS)

.PHONY: fuzz
fuzz: setup $(STAMPS)/fuzz-system
	@cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
	  -DSANDERLING_FUZZ=ON -DSANDERLING_PYTHON=OFF >build/logs/fuzz.log
	@cmake --build build/fuzz -j $(JOBS)
	@$(PYTHON) -m benchmarks.fuzz --build build/fuzz --runs $(FUZZ_RUNS)

.PHONY: wheel
wheel: $(VENV)/.installed ## a wheel for Linux on x86-64 in dist/, for glibc 2.28 and newer
	@$(PYTHON) scripts/wheel.py x86_64

.PHONY: wheel-aarch64
wheel-aarch64: $(VENV)/.installed ## the same for 64-bit ARM
	@$(PYTHON) scripts/wheel.py aarch64

.PHONY: clean
clean: ## remove all that was built (the environment in .venv stays)
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(VENV)/.native
