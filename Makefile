# Every target creates and uses .venv; each is quick when nothing changed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
WORKBENCH := $(PY) -m workbench
RUNS ?= runs
BENCH_RUNS ?= bench-runs
PORT ?= 7860
JOBS ?= 2
# the newest Python that the dependencies support, or PYTHON=... from the command line
PYTHON ?= $(firstword $(foreach v,3.13 3.12 3.11,$(shell python$(v) -c 'import sys; print(sys.executable)' 2>/dev/null)) python3)
# tests and runs of a tiny model are faster on one thread each than on all of them
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo chat app test test-slow lint format bench bench-methods notebooks notebooks-save screenshots browser clean \
  faults load soak fuzz escapes lower-bounds licences golden

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "[setup] creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing (Debian and Ubuntu: apt-get install python3-venv)"; rm -rf $(VENV); exit 1; }

# One stamp per set of dependencies: a changed pyproject.toml installs again.
$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/python
	@echo "[setup] installing what the workbench runs on (the first time takes minutes)"
	@$(PY) -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "[setup] installing what tests, lint and notebooks need"
	@$(PY) -m pip install --disable-pip-version-check -e '.[dev,notebook]'
	@touch $@

setup: $(VENV)/.dev  ## create .venv and install everything

demo: $(VENV)/.runtime  ## set up, train the demo run, open the app
	@$(WORKBENCH) run anchored --name demo --reuse --runs-dir $(RUNS)
	@$(WORKBENCH) app --port $(PORT) --runs-dir $(RUNS)

$(VENV)/.chat: $(VENV)/.runtime
	@$(PY) -m pip install --disable-pip-version-check -q -e '.[chat]'
	@touch $@

STEPS ?= 8
CHAT_MODEL = $(RUNS)/.models/smollm2-135m-instruct
chat: $(VENV)/.chat  ## train a real chat model of 135 M parameters for a few steps, open the app (STEPS=2 is short)
	@$(PY) -m workbench.tasks.chats.model --out $(CHAT_MODEL)
	@env -u OMP_NUM_THREADS $(WORKBENCH) run chats --name chat --reuse --runs-dir $(RUNS) --set policy.model=$(CHAT_MODEL) steps=$(STEPS)
	@$(WORKBENCH) app --port $(PORT) --runs-dir $(RUNS)

app: $(VENV)/.runtime  ## open the app on http://127.0.0.1:7860
	@$(WORKBENCH) app --port $(PORT) --runs-dir $(RUNS)

# The browser tests drive a real Chromium; Debian's package is installed when none is found.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 || { \
	  echo "[setup] installing Chromium for the browser tests"; \
	  SUDO=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
	  { $$SUDO apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -y -qq chromium fonts-dejavu-core >/dev/null; } \
	  || { echo "Chromium is missing and could not be installed: install it by hand, then call make test again"; exit 1; }; }

test: $(VENV)/.dev browser lint  ## set up, lint, run all tests
	@$(PY) -m pytest -n $(JOBS) --dist loadgroup
	@PYTHONPATH=tests $(PY) -m pytest -p fork_children --nbmake notebooks -n $(JOBS) --timeout 900

bench: $(VENV)/.dev browser  ## timings: a step's cost, the store and the pages at a million rollouts
	@$(WORKBENCH) bench --cost --runs-dir $(BENCH_RUNS)
	@$(PY) -m workbench.bench.store --dir $(BENCH_RUNS)/store --json $(BENCH_RUNS)/store.json
	@$(PY) -m workbench.bench.app --dir $(BENCH_RUNS)/app --json $(BENCH_RUNS)/app.json

bench-methods: $(VENV)/.runtime  ## every weighting against the others (up to 90 minutes)
	@$(WORKBENCH) bench --runs-dir $(BENCH_RUNS) --jobs $(JOBS)

screenshots: $(VENV)/.dev browser  ## pictures of every page, light and dark, for the README
	@$(PY) tests/screenshots.py .github/images

notebooks: $(VENV)/.dev  ## execute the seven notebooks, in parallel
	@PYTHONPATH=tests $(PY) -m pytest -p fork_children --nbmake notebooks -n $(JOBS) --timeout 900

notebooks-save: $(VENV)/.dev browser  ## execute them and keep their outputs, figures as pictures
	@$(PY) tests/notebook_outputs.py

test-slow: $(VENV)/.dev browser  ## the longer checks, such as the long crash test
	@$(PY) -m pytest -n $(JOBS) --dist loadgroup -m slow --timeout 3600

faults: $(VENV)/.dev  ## a run's life under every fault; writes the table of the README
	@$(PY) tests/fault_table.py

load: $(VENV)/.dev browser  ## 20 runs, 50 tabs, 1,000 calls at once: latencies and errors
	@$(PY) tests/load.py

MINUTES ?= 60
soak: $(VENV)/.dev browser  ## the app's memory over an hour of live watching (MINUTES=2 is short)
	@$(PY) tests/soak.py --minutes $(MINUTES)

$(VENV)/.fuzz: $(VENV)/.dev
	@$(PY) -m pip install --disable-pip-version-check -q -e '.[dev,notebook,fuzz]'
	@touch $@

SECONDS_EACH ?= 20
fuzz: $(VENV)/.fuzz  ## coverage-guided fuzzing of everything that is parsed; prints counts
	@$(PY) tests/fuzz.py --seconds $(SECONDS_EACH)

escapes: $(VENV)/.dev  ## ways out of the query box, each with its refusal
	@$(PY) tests/escapes.py

lower-bounds: $(VENV)/.dev browser  ## the quick tests with the lowest versions that pyproject.toml allows
	@$(PY) tests/lower_bounds.py

licences: $(VENV)/.dev  ## every package that an installation brings along, with its licence
	@$(PY) tests/licences.py

golden: $(VENV)/.dev  ## write the golden run's numbers anew: say in the commit why they changed
	@$(PY) tests/golden_run.py

lint: $(VENV)/.dev  ## ruff, ruff format, mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: $(VENV)/.dev  ## apply ruff's fixes and formatting
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
