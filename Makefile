# Two commands for a newcomer: `make demo` and `make test`. Each sets up everything it needs.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check

# One more than there are cores, as tests wait for engines and servers too; at most 4
WORKERS = $(shell $(BIN)/python -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")

# What the demo learns from, instead of its own texts: make demo TEXT=folder   or   make demo HUB=name@revision
TEXT ?=
HUB ?=

.PHONY: help demo test check docs vllm clean distclean

help:
	@echo "make demo       raise a tiny model, keep its ages, let them talk (about 5 minutes on 2 cores)"
	@echo "make test       everything that CI checks: lint, types, import rules, tests"
	@echo "make check      the same without the tests"
	@echo "make docs       write docs/reference.md and docs/images/schema.svg from the code"
	@echo "make vllm       build .vllm, an environment with vLLM (CPU build where there is no GPU)"
	@echo "make clean      remove caches; your home/ folder with ages and conversations stays"
	@echo "make distclean  also remove the Python environment"

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit("Selves needs Python 3.11 or later; this is %d.%d. Try: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@touch $@

# torch goes first and alone: its version decides what everything else resolves to
.venv/demo: .venv/python pyproject.toml constraints.txt
	$(PIP) install -q --progress-bar on -c constraints.txt torch
	$(PIP) install -q --progress-bar on -c constraints.txt -e ".[demo]"
	@touch $@

.venv/dev: .venv/demo
	$(PIP) install -q --progress-bar on -c constraints.txt -e ".[dev]"
	@touch $@

demo: .venv/demo
	@TEXT="$(TEXT)" HUB="$(HUB)" bash runs/demo.sh

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

test: check
	bash tests/system.sh
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

docs: .venv/dev
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_schema.py

# vLLM pins its own torch and transformers, so it gets an environment of its own
vllm:
	PYTHON=$(PYTHON) bash serving/vllm_environment.sh .vllm

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
