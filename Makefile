# Emberlog. `make` alone lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
SAY   := printf '==> %s\n'

# The first interpreter that runs and is new enough; `make PYTHON=/path/to/python3.12` chooses another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate $(UPGRADE)

# Two sets of services at once; a set has a broker of its own, so more than two want a larger machine.
TEST_PROCESSES ?= 2

.PHONY: help install jars demo up test lint types imports compose asyncapi slow prove bench lock clean

help: ## list the targets
	@echo "Emberlog: memory for AI agents as an event-sourced stream"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "The first run makes $(VENV) from the hashed locks and fetches the broker's jars; both are kept."

install: $(STAMP) ## make .venv from the hashed locks
	@$(SAY) "$(VENV) is ready"

$(STAMP): locks/bootstrap.txt locks/dev.txt pyproject.toml
	@if $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		$(SAY) "bringing $(VENV) up to date"; exit 0; fi; \
	p="$(PYTHON)"; \
	if [ -z "$$p" ]; then \
		echo "No Python 3.11 or newer was found (tried python3.13, python3.12, python3.11, python3)." >&2; \
		echo "Install one, or name yours: make install PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "$$p is no Python 3.11 or newer. Name another: make install PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! "$$p" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$p cannot make virtual environments: its venv module is missing." >&2; \
		echo "On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; fi; \
	$(SAY) "making $(VENV) with $$("$$p" --version) ($$p)"; "$$p" -m venv --clear $(VENV)
	@$(SAY) "installing the installer (hashes checked)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/bootstrap.txt
	@$(SAY) "installing what Emberlog needs, about 200 packages the first time (hashes checked)"
	@$(BIN)/uv pip install $$([ -t 2 ] || echo --quiet) --python $(BIN)/python --require-hashes -r locks/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

jars: $(STAMP) ## fetch the broker's jars into the cache, once
	@$(BIN)/python -m ops.local.jars

demo: jars ## play a conversation through the whole line, and show what came of it
	@$(BIN)/emberlog demo

up: jars ## start everything and keep it running; Ctrl-C stops it, data stays
	@$(BIN)/emberlog up

test: jars ## the test suite, under ten minutes; TEST_PROCESSES=1 for one file after another
	@# in their order on disk: files that share a running set follow each other, so that it is started once per process
	@$(BIN)/pytest -m "not slow and not prove" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

slow: jars ## the tests marked slow; TEST_PROCESSES=1 for one file after another
	@$(BIN)/pytest -m slow -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

prove: jars ## the full sizes of the proofs, with their figures; takes long
	@# on disk: at these sizes the stores want more than memory has
	@TMPDIR=$${TMPDIR:-/var/tmp} $(BIN)/pytest -m prove -s

bench: jars ## each benchmark at a small size
	@for name in freshness locomo decide project rebuild; do \
		$(SAY) "benchmark $$name"; $(BIN)/python -m benchmarks.$$name --small; done

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

imports: $(STAMP) ## which package may import which
	@$(BIN)/lint-imports

compose: $(STAMP) ## docker-compose.yml against the Compose specification's schema
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

asyncapi: $(STAMP) ## docs/asyncapi.yaml against the schemas and against the AsyncAPI specification (by npm, kept)
	@$(BIN)/python -m schemas.asyncapi --check docs/asyncapi.yaml
	@file="$$($(BIN)/python -m tests.docs.asyncapi_specification)"; \
		$(BIN)/check-jsonschema --schemafile "$$file" docs/asyncapi.yaml

lock: $(STAMP) ## write locks/ anew from pyproject.toml (newer versions: make lock UPGRADE=--upgrade)
	@$(SAY) "locking the installer, the build backend, the application and the tools"
	@$(UV_COMPILE) locks/bootstrap.in -o locks/bootstrap.txt
	@$(UV_COMPILE) locks/build.in -o locks/build.txt
	@$(UV_COMPILE) pyproject.toml -o locks/run.txt
	@$(UV_COMPILE) --extra dev pyproject.toml -o locks/dev.txt
	@if grep -n '://' locks/*.txt; then echo "a lock holds an address: see above" >&2; exit 1; fi
	@$(SAY) "done; look at the difference before you commit it"

clean: ## remove caches and build outputs; .venv, data and jars stay
	@rm -rf dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@echo "Caches are gone. To start from nothing: rm -rf $(VENV); to drop all memories of this folder: rm -rf .emberlog"
