# Every target first installs what it needs into .venv. macOS's GNU make 3.81 is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
QUESTION ?= What is 17% of 2340, and which weekday is 2027-03-01?
export QUESTION

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo dev test test-all lint check docs fix faults fuzz bench bench-train picture checkpoint need-data weights clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Giving up (exit code 3) is not a failure.
demo: weights $(VENV)/.llamacpp  ## answer QUESTION with the checkpoint that ships
	$(BIN)/alpha-umi ask "$$QUESTION" || [ $$? -eq 3 ]

# Set here and not in .env, because LangGraph's command line reads these two before it reads any file.
dev: $(VENV)/.serve  ## serve the agent to LangGraph Studio
	LANGGRAPH_CLI_NO_ANALYTICS=1 LANGGRAPH_NO_VERSION_CHECK=true $(BIN)/langgraph dev

JOBS ?= 2
# in the order of the folders: xdist would keep the files with few and slow tests for the end, when one process is left
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev  ## run the tests that take seconds, in JOBS processes; minutes
	$(PYTEST)

test-all: $(VENV)/.dev  ## run all tests, with more examples for each property
	$(PYTEST) -m 'not gpu and not network' --hypothesis-profile=thorough

lint: $(VENV)/.dev  ## ruff, mypy --strict and import-linter
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## build the documentation's site, build/site/index.html; a link that leads nowhere is an error
	$(BIN)/sphinx-build -W --keep-going -E -q -b html -d build/doctrees -c docs/site . build/site

check: lint docs test-all  ## everything CI runs

fix: $(VENV)/.dev  ## format the code and fix what ruff can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

KILLS ?= 30
faults: $(VENV)/.dev  ## inject KILLS faults of each kind and print what they did; 3 take a minute or two, 30 an hour
	$(BIN)/python tests/reliability/faults.py --kills $(KILLS)

N ?= 1000000
fuzz: $(VENV)/.dev  ## fuzz parsers, renderers and readers, N times each, for an hour at most; the next run continues
	$(INSTALL) -e '.[fuzz]'
	$(BIN)/python -m fuzz --n $(N)

bench: $(VENV)/.dev weights  ## print the graph's overhead, the decode rate, what an answer takes, what the shared cache saves; with DATA also tool retrieval; 40 minutes
	@set -e; for name in overhead decode ask dfsdt; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done
	@echo "== shared_cache"; $(BIN)/python -m benchmarks.shared_cache $(DATA:%=--data %)
	@echo "== shared_cache in llama.cpp"; $(BIN)/python -m benchmarks.shared_cache --engine llamacpp $(DATA:%=--data %)
	@test -z '$(DATA)' || { echo "== retrieval"; $(BIN)/python -m benchmarks.retrieval --data $(DATA); }

bench-train: $(VENV)/.dev weights  ## print what training costs against the paper's way and TRL; takes an hour
	$(INSTALL) trl
	$(BIN)/python benchmarks/train.py $(DATA:%=--data %)

picture: weights $(VENV)/.llamacpp  ## record the README's moving picture of a terminal again, into docs/
	$(BIN)/python docs/picture.py

# the tools' sheets, with real bystanders, and some of every other source so that nothing is forgotten
SOURCES = --source world:40000,mcp=$(DATA)/mcp_tools.jsonl.gz,clinc=$(DATA)/clinc.jsonl.gz --source builtin:4000 \
    --source toolbench:$(DATA)/toolbench_answers.tar.gz --limit toolbench=357 \
    --source sealtools:$(DATA)/sealtools_train.jsonl.gz,$(DATA)/sealtools_tools.jsonl.gz --limit sealtools=400 \
    --source toolrl:$(DATA)/toolrl_sft.jsonl.gz --source metatool:$(DATA)/metatool.jsonl.gz --limit metatool=300 \
    --source star:$(DATA)/star.jsonl.gz --limit star=40 \
    --source toolverifier:$(DATA)/toolverifier.csv.gz --limit toolverifier=300 --vary-names 0.3

need-data:
	@test -n '$(DATA)' || { echo 'Name the folder of the data sets: make checkpoint DATA=FOLDER' >&2; exit 2; }

checkpoint: need-data $(VENV)/.dev weights  ## train the shipped checkpoint again from the files in DATA, into build/; takes a day
	$(BIN)/alpha-umi data build $(SOURCES) --seed 21 --out build/data
	$(BIN)/alpha-umi train --config smollm2-135m-umi --data build/data --out build/training --resume
	$(BIN)/alpha-umi models compact build/training --out build/smollm2-135m-umi

clean:  ## remove what make has made; threads, traces and cached weights stay
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

weights: $(VENV)/.core  ## pull the small base model; without it the tests that need it are skipped
	$(BIN)/alpha-umi models pull smollm2-135m

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

# Where there is no wheel of it, torch computes.
$(VENV)/.llamacpp: pyproject.toml constraints.txt | $(VENV)/.core
	$(INSTALL) -q --only-binary xllamacpp -e '.[llamacpp]' && touch $@ || echo 'No llama.cpp, so torch answers.' >&2

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[serve]'
	touch $(VENV)/.core $@

# The developer's install contains the others, so it sets all stamps.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $(VENV)/.core $(VENV)/.serve $(VENV)/.llamacpp $@
