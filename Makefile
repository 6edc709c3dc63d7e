# Everything that is done with this repository; `make` alone lists it. Needs make and Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PACKAGES := libs/kaa_common services/tekton services/creds services/epr services/tsx services/kpc libs/kaa_cli
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# More arguments for the command of a target: make run ARGS="--http-port 8081"
ARGS ?=

# Containers often forbid Python to keep what it compiled; then every process compiles all of it again, and the tests
# start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run demo test check bench bench-connections bench-credentials fuzz bench-edge bench-register bench-register-pages clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-22s%s\n", $$1, $$2 }' Makefile

setup: .venv/.runtime .venv/.development ## install everything into .venv

run: .venv/.runtime ## run the platform on this machine until Ctrl-C
	@exec $(BIN)/kaa up $(ARGS)

demo: .venv/.runtime ## connect a device and show every step of it
	@$(BIN)/kaa demo $(ARGS)

# Four at a time, also where there are two processors: they wait for servers as much as they compute.
test: .venv/.runtime .venv/.development ## run all tests
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.runtime .venv/.development ## lint, formatting, types, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs services tests tools examples
	$(BIN)/python tools/protocol_doc.py --check

bench: .venv/.runtime ## compare a device's request with a bare NATS request, on the platform that runs
	@$(BIN)/kaa bench $(ARGS)

bench-connections: .venv/.runtime .venv/.development ## weigh 10,000 idle devices, and time one that works among them
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/connections.py

bench-credentials: .venv/.runtime .venv/.development ## time cut-off on three replicas, and token validation
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/credentials.py

fuzz: .venv/.runtime .venv/.development ## look for input that surprises the MQTT core, for a minute: ARGS=-max_total_time=600
	$(INSTALL) atheris
	@cd .venv && PYTHONPATH=../tests ../$(BIN)/python ../tests/fuzz/mqtt.py $(ARGS)

bench-edge: .venv/.runtime .venv/.development ## compare a device's wait for an echo with that for a bare NATS reply
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/edge.py

bench-register: .venv/.runtime .venv/.development ## compare changes of metadata with what lies below them
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/register.py $(ARGS)

bench-register-pages: .venv/.runtime .venv/.development ## time the register's lists and searches among 100,000 endpoints
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/register_pages.py $(ARGS)

clean: ## remove what make has made; what the platform keeps in .kaa stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis __pycache__
	find libs services tests tools examples -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

# The packages are built with the pinned build tools of the environment itself, so a build downloads nothing else.
.venv/.runtime: .venv/bin/python constraints.txt $(PACKAGES:%=%/pyproject.toml)
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation $(PACKAGES:%=--editable %)
	@touch $@

.venv/.development: .venv/.runtime requirements-dev.txt
	$(INSTALL) --requirement requirements-dev.txt
	@touch $@
