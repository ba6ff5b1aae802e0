# Targets of the project. They need GNU make (3.81 or newer) and Python 3.11, 3.12 or 3.13.
#
#   make demo            makes .venv on the first run; ARGS="--speed 100" is passed on
#   PYTHON=python3.12    makes .venv with this interpreter

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test docs bench bench-episodes bench-streams chaos fuzz model kill9 kill9-commands limits mutants lint \
  audit-deps format wheel env clean

UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.riskwatch-ready
READY_DEV := .venv/.riskwatch-ready-dev
PYTHON ?=
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3 python)
WORKERS ?= 2
# Tests on real servers spend most of their time waiting, so there is one process more than there
# are processors.
TESTERS ?= 3
FUZZ ?= 1000000
KILLS ?= 3000
LIVES ?= 10000
CHAOS ?= 100
SCHEDULES ?= 100000
ARGS ?=

# These commands always use .venv, even if another virtual environment is active.
unexport VIRTUAL_ENV
unexport UV_PROJECT_ENVIRONMENT
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## show an episode on the screen; installs everything on the first run
	@$(BIN)/riskwatch demo $(ARGS)

test: $(READY_DEV) lint ## run all checks and tests; the end lists what was skipped
	@$(BIN)/python -m pytest -q -n $(TESTERS) --dist loadscope --no-loadscope-reorder --durations=20 \
	  --ignore=tests/bench $(ARGS)

bench: $(READY_DEV) ## run the benchmarks; figures are ratios within one run
	@$(BIN)/python -m pytest tests/bench -p no:xdist --benchmark-only $(ARGS)

bench-episodes: $(READY_DEV) ## run the scoreboard: every episode, every seed, report in scoreboard.html
	@$(BIN)/riskwatch bench --jobs $(WORKERS) --html scoreboard.html --database sqlite:///scoreboard.db $(ARGS)

bench-streams: $(READY_DEV) ## benchmark the workers on a real broker and a real Postgres
	@$(BIN)/python -m tests.bench.streams $(ARGS)

fuzz: $(READY_DEV) ## run the property tests with FUZZ examples each
	@RISKWATCH_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q tests/property $(ARGS)

model: $(READY_DEV) ## model-check the kill switch: all short sequences, LIVES long random ones
	@RISKWATCH_MODEL_RUNS=$(LIVES) $(BIN)/python -m pytest -q -s tests/property/test_killswitch_model.py $(ARGS)

kill9: $(READY_DEV) ## kill replays by SIGKILL, KILLS times
	@RISKWATCH_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/crash $(ARGS)

kill9-commands: $(READY_DEV) ## kill replays by SIGKILL at each phase of people's commands, KILLS times
	@RISKWATCH_KILLS=$(KILLS) $(BIN)/python -m pytest -q -s -p no:xdist tests/crash/test_kill9_commands.py $(ARGS)

limits: $(READY_DEV) ## check that two clients exceed no limit together, in SCHEDULES random schedules
	@RISKWATCH_SCHEDULES=$(SCHEDULES) $(BIN)/python -m pytest -q -s -p no:xdist tests/property/test_order_limits.py $(ARGS)

chaos: $(READY_DEV) ## kill workers on real servers CHAOS times, and disturb them in other ways
	@RISKWATCH_CHAOS=$(CHAOS) $(BIN)/python -m pytest -q tests/chaos -s $(ARGS)

mutants: $(READY_DEV) ## plant each bug of the list and run its tests; ARGS="M05 M38" plants only these
	@$(BIN)/python -m tests.mutants $(ARGS)

lint: $(READY_DEV) ## run ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

audit-deps: $(READY_DEV) ## check locked packages for known vulnerabilities; ARGS=--continue only reports
	@$(BIN)/python .ci/audit_deps.py $(ARGS)

docs: $(READY_DEV) ## build the documentation site in site/; ARGS=--serve shows it on the loopback
	@if [ "$(ARGS)" = --serve ]; then NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --quiet; \
	else NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet && echo "site/index.html"; fi

format: $(READY_DEV) ## format the code with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: $(READY_DEV) ## build dist/riskwatch-*.whl
	@$(BIN)/python -m hatchling build -t wheel

env: ## write .env for docker compose, with random passwords; never overwrites it
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import secrets' >/dev/null 2>&1 && exec "$$python" deploy/env.py .env; \
	done; \
	echo "riskwatch needs Python to make passwords. Tried: $(PYTHONS)" >&2; exit 1

clean: ## delete everything that can be made again
	@rm -rf .venv dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	@find riskwatch streams migrations tests -type d -name __pycache__ -prune -exec rm -rf {} +

# Stamp files: a second run does nothing until the locked versions change.
$(READY): uv.lock pyproject.toml | $(BIN)/uv
	@echo "riskwatch: installing the locked versions"
	@$(BIN)/uv sync --quiet --frozen --no-dev --inexact
	@touch $@

$(READY_DEV): uv.lock pyproject.toml | $(BIN)/uv
	@echo "riskwatch: installing the locked versions and the tools"
	@$(BIN)/uv sync --quiet --frozen --inexact
	@touch $(READY) $@

# A candidate must run, have a supported version, and be able to make virtual environments.
$(BIN)/uv:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    >/dev/null 2>&1 || continue; \
	  echo "riskwatch: making .venv with $$("$$python" --version) (once, about a minute)"; \
	  "$$python" -m venv --clear .venv \
	    && $(BIN)/python -m pip install --quiet "uv==$(UV_VERSION)" && exit 0; \
	  echo "riskwatch: .venv could not be made, see above" >&2; exit 1; \
	done; \
	echo "riskwatch needs Python 3.11, 3.12 or 3.13 with the venv module. Tried: $(PYTHONS)" >&2; \
	echo "On Debian or Ubuntu: apt install python3 python3-venv. On macOS: brew install python@3.13." >&2; \
	echo "Then run make again, or name it: make demo PYTHON=/path/to/python3" >&2; \
	exit 1
