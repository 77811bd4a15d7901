# Every target makes what it needs in .venv first. macOS's GNU make 3.81 is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
QUESTION ?= What is 17% of 2340, and which weekday is 2027-03-01?
export QUESTION

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo dev test lint check fix faults bench bench-train weights clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The model is not trained for its roles: it rambles, hence the limits, and may give up (exit code 3), which is no fault.
demo: weights  ## answer QUESTION with the small base model
	ALPHA_UMI_GENERATION__MAX_RATIONALE_TOKENS=48 ALPHA_UMI_GENERATION__MAX_TOKENS=96 \
	    $(BIN)/alpha-umi ask --max-steps 2 "$$QUESTION" || [ $$? -eq 3 ]

# In the shell and not in .env, because the command line reads both before it reads any file.
dev: $(VENV)/.dev  ## serve the agent to LangGraph Studio
	LANGGRAPH_CLI_NO_ANALYTICS=1 LANGGRAPH_NO_VERSION_CHECK=true $(BIN)/langgraph dev

test: $(VENV)/.dev  ## run the tests
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## ruff, mypy --strict and import-linter
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## everything CI runs

fix: $(VENV)/.dev  ## format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

faults: $(VENV)/.dev  ## inject faults at length and print what they did; takes minutes
	$(BIN)/python tests/reliability/faults.py

bench: $(VENV)/.dev weights  ## print the graph's overhead, the decode rate, and what sharing saves; takes 20 minutes
	@set -e; for name in overhead decode; do echo "== $$name"; $(BIN)/python tests/benchmarks/$$name.py; done
	@set -e; for name in dfsdt shared_cache; do echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name; done
	@echo "== retrieval"; $(BIN)/python tests/benchmarks/retrieval.py

bench-train: $(VENV)/.dev weights  ## print what training costs against the paper's way and TRL; takes an hour
	$(INSTALL) trl
	$(BIN)/python tests/benchmarks/train.py

clean:  ## remove what make made; threads, traces and cached weights stay
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

weights: $(VENV)/.core  ## pull the small base model; without it the tests that need it are skipped
	$(BIN)/alpha-umi models pull smollm2-135m

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	    "Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

# The developer's install contains the core one, hence both stamps.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $(VENV)/.core $@
