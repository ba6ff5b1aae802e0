# riskwatch: `make help` lists what there is.
.PHONY: help install test lint format bench fuzz wheel clean
.DEFAULT_GOAL := help
VENV := .venv
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; \
	then echo $$p; break; fi; done)
STAMP := $(VENV)/.installed

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "riskwatch needs Python 3.11, 3.12 or 3.13"; exit 2; }
	@echo "installing the locked versions into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check "uv>=0.9"
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(VENV)/bin/uv sync -q --frozen
	@touch $@

install: $(STAMP) ## the locked versions, in an environment of their own

lint: $(STAMP) ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint ## lint, types and every test
	$(VENV)/bin/python -m pytest -q -n2 --benchmark-disable

bench: $(STAMP) ## the benchmarks, as ratios within one run
	$(VENV)/bin/python -m pytest -q tests/bench --benchmark-only

fuzz: $(STAMP) ## a million mutated messages through the codec
	RISKWATCH_FUZZ=1000000 $(VENV)/bin/python -m pytest -q tests/property/test_codec_fuzz.py

format: $(STAMP) ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

wheel: $(STAMP) ## build the wheel into dist/
	$(VENV)/bin/uv build -q --wheel

clean: ## remove what was built
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
