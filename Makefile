# Two commands set everything up on a machine with Python 3.11+, a C++ compiler and make:
#   make quickstart     install into .venv and .venv-vllm, and turn the bundled sample crawl into a corpus
#   make test           install into .venv and run the tests (under five minutes on two cores)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed
VLLM   := .venv-vllm/.installed

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-slow lint format bench parity real preselect prox screenshot lock sample clean

help:            ## Show the commands
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

install: $(DONE) ## Create .venv with the locked versions

# Any build of torch will do. PyPI's for Linux brings gigabytes of CUDA; the one for CPUs comes with
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install
$(DONE): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "curate needs Python 3.11 or later: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

quickstart: $(DONE) $(VLLM) ## Run the bundled sample crawl into out/quickstart, and clean its pages with a refiner into out/quickstart-prox
	$(BIN)/curate run pipelines/quickstart.yaml --out out/quickstart
	.venv-vllm/bin/curate run pipelines/prox.yaml --out out/quickstart-prox --workers 1

test: $(DONE)    ## The tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4

# vLLM fixes older versions of numba and numpy than we use, so it has an environment of its own. --no-deps leaves out
# torchvision, torchaudio and torchcodec, whose builds break transformers beside a torch for CPUs, and which text needs not.
$(VLLM): pyproject.toml requirements-vllm.lock
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-vllm.lock
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test-slow: $(DONE) $(VLLM) ## Fault schedules, servers, engines, vLLM
	$(BIN)/python -m pytest -m slow

lint: $(DONE)    ## ruff, mypy --strict, the sample crawl is what its script writes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python pipelines/sample/build.py --check

format: $(DONE)  ## Let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DONE)   ## Filters against datatrove, engines, pass-through, driver memory; prints tables
	$(BIN)/python tests/bench/run_all.py

parity: $(DONE)  ## Hold our datatrove profile against datatrove itself on real text (hours)
	$(BIN)/python tests/parity/run.py

real: $(DONE)    ## The shipped recipe over the real data beside the checkout, into out/real
	$(BIN)/python tests/bench/real.py

preselect: $(DONE) ## The shipped PreSelect scorer and what it is compared with, from the same real data (an hour)
	$(BIN)/python tests/bench/preselect/texts.py out/preselect/texts
	$(BIN)/curate run tests/bench/preselect/distinct.yaml --out out/preselect/distinct
	$(BIN)/curate fit scorers/recipes/mini-lms-v1.yaml --out out/preselect/lms --work out/preselect/lms-work
	$(BIN)/curate fit scorers/recipes/encyclopedic-mini-v1.yaml --out out/preselect/encyclopedic-mini-v1
	$(BIN)/curate fit scorers/preselect-mini-v1/recipe.yaml --work out/preselect/work
	$(BIN)/python tests/bench/preselect/judge.py

prox: $(DONE) $(VLLM) ## The shipped refiner and what it is compared with, from the same real data (three hours)
	$(BIN)/curate run tests/bench/prox/pairs.yaml --out out/prox/pairs
	$(BIN)/curate run tests/bench/prox/extracted_pairs.yaml --out out/prox/extracted_pairs
	$(BIN)/curate fit scorers/prox-mini-v1/recipe.yaml --work out/prox/work
	$(BIN)/python tests/bench/prox/held_out.py
	.venv-vllm/bin/curate run tests/bench/prox/refine.yaml --out out/prox/refined --workers 1
	$(BIN)/python tests/bench/prox/judge.py
	.venv-vllm/bin/python tests/bench/prox/throughput.py 30
	$(BIN)/python tests/bench/prox/curve.py

screenshot: $(DONE) ## The picture of the report that README shows; wants Chromium
	$(BIN)/python tests/bench/screenshot.py

lock: $(DONE)    ## Write requirements.lock anew, from the newest versions that fit pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --upgrade --editable . --group dev
	$(BIN)/python -m pip freeze --exclude-editable --exclude curate --exclude pip | sed 's/^\(torch==[0-9.]*\)+.*/\1/' > requirements.lock

sample: $(DONE)  ## Pack the sample pages as WARC again
	$(BIN)/python pipelines/sample/build.py

clean:           ## Remove .venv, out and caches
	rm -rf $(VENV) .venv-vllm out .pytest_cache .mypy_cache .ruff_cache .hypothesis
