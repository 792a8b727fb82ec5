# On a machine with Python 3.11+, a C++ compiler and make:
#   make quickstart     install what a run needs into .venv, and turn the bundled sample crawl into a corpus and its report
#   make models         add torch and vLLM to the same .venv
#   make test           install what the tests need and run them (3,500 tests, eight minutes of two slow cores)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LIGHT  := $(VENV)/.light
TEST   := $(VENV)/.test
MODELS := $(VENV)/.models

.DEFAULT_GOAL := help
.PHONY: help install quickstart models test test-slow lint format docs release bench parity real preselect prox screenshot lock sample clean

help:            ## Show the commands
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# requirements.lock says behind every package who needs it: light, models, test. pip puts in these lines and nothing else.
# Any build of torch will do. PyPI's for Linux brings gigabytes of CUDA; the one for CPUs comes with
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make models
# --no-compile: Python compiles what it imports, when it does. To compile all that is installed takes a third of the installation.
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
INSTALL = awk '/ $(1)( |$$)/ {print $$1}' requirements.lock > $(VENV)/$(1).txt && $(PIP) --requirement $(VENV)/$(1).txt && touch $@

$(LIGHT): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "curate needs Python 3.11 or later: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	$(call INSTALL,light)

$(MODELS): $(LIGHT)
	$(call INSTALL,models)

$(TEST): $(LIGHT)
	$(call INSTALL,test)

install: $(LIGHT) ## Create .venv with what `curate run` needs

models: $(MODELS) ## Add torch and vLLM's build for CPUs to .venv

quickstart: $(LIGHT) ## Run the bundled sample crawl into out/quickstart and write its report
	$(BIN)/curate run quickstart --out out/quickstart
	$(BIN)/curate report out/quickstart
	@echo "Next: source $(BIN)/activate && curate sample out/quickstart --dropped -n 3"

test: $(TEST)    ## The tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4

test-slow: $(TEST) $(MODELS) ## Fault schedules, servers, engines, vLLM
	$(BIN)/python -m pytest -m slow

lint: $(TEST)    ## ruff, mypy --strict, the sample crawl is what its script writes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python pipelines/sample/build.py --check

format: $(TEST)  ## Let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(TEST)    ## Build the documentation into out/docs
	$(BIN)/sphinx-build -q -W -b html docs out/docs

release: $(TEST) ## Build wheel and sdist into dist, and try the wheel in an empty environment
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m pytest -m slow tests/test_package.py

bench: $(TEST)   ## Filters against datatrove, engines, pass-through, driver memory; prints tables
	$(BIN)/python tests/bench/run_all.py

parity: $(TEST)  ## Hold our datatrove profile against datatrove itself on real text (hours)
	$(BIN)/python tests/parity/run.py

real: $(TEST)    ## The shipped recipe over the real data beside the checkout, into out/real
	$(BIN)/python tests/bench/real.py

preselect: $(TEST) ## The shipped PreSelect scorer and what it is compared with, from the same real data (an hour)
	$(BIN)/python tests/bench/preselect/texts.py out/preselect/texts
	$(BIN)/curate run tests/bench/preselect/distinct.yaml --out out/preselect/distinct
	$(BIN)/curate fit scorers/recipes/mini-lms-v1.yaml --out out/preselect/lms --work out/preselect/lms-work
	$(BIN)/curate fit scorers/recipes/encyclopedic-mini-v1.yaml --out out/preselect/encyclopedic-mini-v1
	$(BIN)/curate fit scorers/preselect-mini-v1/recipe.yaml --work out/preselect/work
	$(BIN)/python tests/bench/preselect/judge.py

prox: $(TEST) $(MODELS) ## The shipped refiner and what it is compared with, from the same real data (three hours)
	$(BIN)/curate run tests/bench/prox/pairs.yaml --out out/prox/pairs
	$(BIN)/curate run tests/bench/prox/extracted_pairs.yaml --out out/prox/extracted_pairs
	$(BIN)/curate fit scorers/prox-mini-v1/recipe.yaml --work out/prox/work
	$(BIN)/python tests/bench/prox/held_out.py
	$(BIN)/curate run tests/bench/prox/refine.yaml --out out/prox/refined --workers 1
	$(BIN)/python tests/bench/prox/judge.py
	$(BIN)/python tests/bench/prox/throughput.py 30
	$(BIN)/python tests/bench/prox/curve.py

screenshot: $(TEST) ## The picture of the report that README shows; wants Chromium
	$(BIN)/python tests/bench/screenshot.py

lock:            ## Write requirements.lock anew, from the newest versions that fit pyproject.toml and vLLM's build for CPUs
	$(PYTHON) .ci/lock.py

sample: $(TEST)  ## Pack the sample pages as WARC again
	$(BIN)/python pipelines/sample/build.py

clean:           ## Remove .venv, out and caches
	rm -rf $(VENV) out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
