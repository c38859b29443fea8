# Everything sets itself up: `make demo` and `make test` are all a fresh machine needs.

# Some machines forbid it, and hundreds of the tests' processes would each compile every module again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INSTALL := sh tests/support/install.sh

# The core, which the tests must cover to this share of branches.
CORE := */sealgate/wire/*,*/sealgate/signing/*,*/sealgate/verify/*,*/sealgate/accounts/*,*/sealgate/session/*,*/sealgate/reason.py
BRANCHES_MIN := 95
# These two are the whole suite, each test once (tests/conftest.py says which are of the core). Branches that only a
# mistake put into the core takes are not covered ones: those tests need no coverage.
CORE_TESTS := 'core and not system and not replaces_core'
OTHER_TESTS := 'system or replaces_core or not core'

# The core that runs: plain, or compiled by mypyc.
VARIANT ?= plain
RUN_plain := $(BIN)
RUN_compiled := build/compiled-venv/bin
RUN = $(or $(RUN_$(VARIANT)),$(error VARIANT is plain or compiled))

UPSTREAM ?=
TESTS ?= tests
# Most of a system test is waiting. Each job has servers of its own.
JOBS ?= 2
# In the order of tests/conftest.py.
IN_PARALLEL = $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile --no-loadscope-reorder)
KIND ?= any
SEEDS ?= 1000
START ?= 0
SEED ?=
HOURS ?=
BENCH ?=
PROFILE ?=
INTEROP ?=
FAULTS ?= tests/faults tests/system/test_rolling.py
TARGET ?=
SECONDS ?= 60
WORKERS ?= 1

.PHONY: help setup emulators plain compiled compile demo test test-others coverage interop check faults pacing rotation simulate ledger format bench profile fuzz fuzz-corpus clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with everything to run and test

$(READY): pyproject.toml constraints.txt $(BIN)/python
	@echo "Installing Sealgate and its dependencies into $(VENV)"
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install -c constraints.txt -e '.[dev]'
	@touch $@

$(BIN)/python:
	@found=; for python in python3.11 python3.12 python3.13 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Sealgate needs Python 3.11 or newer; found $$(python3 --version 2>/dev/null || echo no Python at all)." >&2; \
	    echo "Install it (Debian 12: apt-get install python3; macOS: brew install python@3.11) and run this again." >&2; \
	    exit 1; \
	fi; \
	$$found -c 'import ensurepip, venv' 2>/dev/null || $(INSTALL) venv || exit 1; \
	$$found -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

demo: $(VARIANT)  ## attack a small set-up and see what stops (UPSTREAM=amqp://... to use a real RabbitMQ)
	@$(RUN)/sealgate demo $(if $(UPSTREAM),--upstream '$(UPSTREAM)')

emulators: setup  ## a Vault and an AWS for the tests of key sources: 120 MB more in .venv
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install -c constraints.txt -e '.[emulators]'

plain: setup

compiled: setup  ## build/compiled, the package with its core compiled, and a Python that imports it
	@$(INSTALL) gcc
	@$(BIN)/python tests/support/compiled.py

compile: compiled

test: $(VARIANT)  ## run the whole suite (VARIANT=compiled, TESTS=... for a part of it, JOBS=1 one after the other)
	@$(RUN_TESTS) $(RUN)/python -m pytest $(IN_PARALLEL) $(TESTS)

test-others: $(VARIANT)  ## what `make coverage` leaves of the suite
	@$(RUN_TESTS) $(RUN)/python -m pytest $(IN_PARALLEL) -m $(OTHER_TESTS)

coverage: setup  ## run the core's own tests, and fail when they leave too many of its branches out
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --quiet --core $(IN_PARALLEL) -m $(CORE_TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --include='$(CORE)'
	@$(BIN)/coverage json --quiet -o - --include='$(CORE)' \
	    | $(BIN)/python tests/support/branches.py $(BRANCHES_MIN)

faults: $(VARIANT)  ## faults at full size, with figures (FAULTS="tests/faults/test_slow_peers.py -k loris" for a part)
	@$(RUN_TESTS) $(RUN)/python -m pytest --full $(FAULTS)

# With the servers there, a test that cannot find one fails; without, it is skipped and the rest runs.
define RUN_TESTS
$(INSTALL) gcc || true; \
if $(INSTALL) rabbitmq redis; then servers=1; else servers=0; \
    echo "Without these servers only the tests that need none of them are run." >&2; fi; \
env SEALGATE_TESTS_REQUIRE_SERVERS=$$servers SEALGATE_TESTS_EXPECT=$(VARIANT)
endef

pacing: $(VARIANT)  ## rates at full size, with figures: a minute of paced tasks while gateway and broker die
	@$(RUN_TESTS) $(RUN)/python -m pytest --full tests/system/test_pacing.py

rotation: $(VARIANT)  ## keys rotated at full size, with figures: seven minutes at 200 tasks/s, and 1,000 in virtual time
	@$(RUN_TESTS) $(RUN)/python -m pytest --full tests/system/test_rotation.py tests/cli/test_rotation_orders.py

interop: setup  ## client libraries' own suites, directly and through Sealgate (INTEROP="--suite kombu")
	@$(INSTALL) rabbitmq
	@env PYTHONPATH=tests $(BIN)/python -m interop $(INTEROP)

simulate: $(VARIANT)  ## the core among simulated peers (SEEDS=1000 START=0 WORKERS=1, HOURS=1 of CPU time; SEED=7 for one, told in full)
	@PYTHONPATH=tests $(RUN)/python -m sim.run --kind $(KIND) --start $(START) --workers $(WORKERS) \
	    $(if $(SEED),--seed $(SEED),$(if $(HOURS),--cpu-hours $(HOURS),--seeds $(SEEDS)))

ledger: $(VARIANT)  ## 10,000 simulated conversations: delivery tags as on a direct connection
	@PYTHONPATH=tests $(RUN)/python -m sim.run --kind ledger --seeds 10000 --workers $(WORKERS)

check: setup  ## lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy hatch_build.py
	@$(BIN)/lint-imports

format: setup  ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: compile  ## CPU time per message and more, beside HAProxy and the floor (BENCH="--runs 3 --only costs")
	@$(INSTALL) haproxy gcc redis rabbitmq
	@env PYTHONPATH=tests $(BIN)/python -m benchmarks $(BENCH)

profile: compile $(VENV)/.profile  ## where a gateway's time goes, as a flame graph (PROFILE="--action sign --seconds 30")
	@$(INSTALL) gcc redis
	@env PYTHONPATH=tests $(BIN)/python -m benchmarks.profile $(PROFILE)

$(VENV)/.profile: $(READY)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install -c constraints.txt -e '.[profile]'
	@touch $@

fuzz: $(VENV)/.fuzz  ## CPU SECONDS=60 of atheris for each target (TARGET="header table" WORKERS=2)
	@PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS) --workers $(WORKERS) $(TARGET)

fuzz-corpus: $(VENV)/.fuzz  ## write what fuzzing has learnt into the tree, as few inputs as cover it
	@PYTHONPATH=tests $(BIN)/python -m fuzz.run --keep $(TARGET)

$(VENV)/.fuzz: $(READY)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install -c constraints.txt -e '.[fuzz]'
	@touch $@

clean:  ## remove what was made here
	rm -rf $(VENV) build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz .import_linter_cache
	find proxy tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
