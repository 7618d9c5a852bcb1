# Salus: everything a newcomer types. Needs python3.11 and make; each target sets itself up in $(VENV).
#
#   make demo    three alignment cycles of a tiny model, end to end
#   make test    all tests that need no GPU, but for the long ones       make plain   those of them that need no Ray
#   make slow    the long ones; make test SLOW=yes: both
#   make lint    ruff and mypy                                           make setup   the environment alone
#   make bench   the cycle against a loop of separate programs           make clean   remove the environment and caches
#   make soak    twenty cycles while random processes are killed         make docs    the documentation, in build/site
#   make extras  trackers and exports, read by other programs
#
# Variables: PYTHON (python3.11), VENV (.venv), ARGS (more for salus, pytest or the benchmark), SALUS_TORCH_INDEX (a wheel index
# with CPU builds of torch, asked only where pip does not find torch's CPU build by itself).

PYTHON ?= python3.11
VENV ?= .venv
ARGS ?=
SALUS_TORCH_INDEX ?=

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-deps --no-compile
# A lock file names every package and its version, so nothing is resolved and several pips may install at once.
install = grep -v '^ *\#' $(1) | grep . | xargs -d '\n' -n 20 -P 3 $(PIP)
# pip compiles file by file on one core, which takes as long as the rest; what is hardly ever imported is left to its first use.
# Some of it is imported by every engine and trainer, which start at the same time and would each compile it.
RARE := tests?|testing|models|rllib|numba|nltk|fontTools|anthropic|pip
USED := torch/testing numpy/testing transformers/models/auto transformers/models/llama trl/models vllm/model_executor/models
PACKAGES = $(VENV)/lib/python3.*/site-packages
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x '/($(RARE))/' $(VENV)/lib; \
  $(BIN)/python -m compileall -qq -j 0 $(USED:%=$(PACKAGES)/%); true
hash = $(shell cat $(1) | cksum | cut -d' ' -f1)
# One stamp for each layer, named after what it was made from: nothing is installed twice.
LOCKED := $(VENV)/.salus-lock-$(call hash,requirements-cpu.lock)
TOOLS := $(VENV)/.salus-tools-$(call hash,requirements-dev.lock)
PROJECT := $(VENV)/.salus-project-$(call hash,pyproject.toml)
EXTRAS := $(VENV)/.salus-extras-$(call hash,requirements-extras.lock)
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements-cpu.lock)

# No run of these targets needs the network once set-up is done.
export HF_HUB_OFFLINE ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test plain slow soak extras setup tools lint bench docs clean

help:
	@sed -n '3,9s/^# *//p' Makefile

demo: setup
	$(BIN)/salus align demo $(ARGS)

bench: setup
	$(BIN)/python tests/benchmarks/cycle.py $(ARGS)

setup: $(LOCKED) $(PROJECT)
	@$(if $(filter command,$(origin PYTHON)),[ "$$($(PYTHON) -V)" = "$$($(BIN)/python -V)" ] || { \
	  echo "salus: $(VENV) has $$($(BIN)/python -V); name another folder for $(PYTHON) with VENV=..." >&2; exit 2; })

tools: setup $(TOOLS)

$(LOCKED):
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "salus: $(PYTHON) is not installed; install Python 3.11, or name another with make PYTHON=..." >&2; exit 2; }
	@# An environment made from another lock file may hold what this one leaves out: begin anew.
	@if ls $(VENV)/.salus-* >/dev/null 2>&1; then $(PYTHON) -m venv --clear $(VENV); else $(PYTHON) -m venv $(VENV); fi
	@echo "salus: installing the pinned packages into $(VENV) (a few minutes, once)"
	@# torch first: its CPU build is the only package that may have to come from another index.
	@$(PIP) "$(TORCH)" 2>$(VENV)/torch.log || if [ -n "$(SALUS_TORCH_INDEX)" ]; then \
	  $(PIP) --index-url "$(SALUS_TORCH_INDEX)" "$(TORCH)"; \
	else \
	  echo "salus: pip does not find $(TORCH), torch's CPU build (its words: $(VENV)/torch.log); set SALUS_TORCH_INDEX to the" \
	    "CPU wheel index that PyTorch's install page gives after --index-url, and run make again." >&2; exit 2; \
	fi
	@$(call install,requirements-cpu.lock)
	@$(COMPILE)
	@touch $@

$(TOOLS): $(LOCKED)
	@$(call install,requirements-dev.lock)
	@touch $@

$(PROJECT): $(LOCKED)
	@$(PIP) --no-build-isolation --editable .
	@touch $@

# mkdocs has an environment of its own: none of its packages is needed to run or to test Salus.
DOCS := .venv-docs
EXTRA = $(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')"

docs: setup
	@test -x $(DOCS)/bin/mkdocs || { $(PYTHON) -m venv $(DOCS) && $(EXTRA) | xargs -d '\n' $(DOCS)/bin/pip install -qq; }
	$(BIN)/python -m pipelines.docs.gather build/docs
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(DOCS)/bin/mkdocs build --strict --config-file pipelines/docs/mkdocs.yml
	@echo "salus: open build/site/index.html"

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Tests without Ray run side by side, with one thread each; those that start Ray one by one: each fills two cores by itself.
tests = $(BIN)/python -m pytest --durations=10 -m "($(1)) and not gpu" $(2) $(ARGS)
WITHOUT_RAY := not ray and not e2e
WITH_RAY := (ray or e2e)
BESIDE := -n 2 --dist loadfile

# With the long ones in one go, what several tests share is made once.
test: plain
	$(call tests,$(WITH_RAY) and not $(if $(SLOW),soak,slow))

plain: tools
	$(call tests,$(WITHOUT_RAY)$(if $(SLOW),, and not slow),$(BESIDE))

slow: tools
	@# ARGS may name a file that has none of the first kind: pytest then ends with 5.
	$(call tests,$(WITHOUT_RAY) and slow,$(BESIDE)) || test $$? -eq 5
	$(call tests,$(WITH_RAY) and slow and not soak)

soak: tools
	$(call tests,soak) -s

# The clients of pyproject's extras are in a folder that only these tests see: no version of the environment changes.
extras: $(EXTRAS)
	SALUS_EXTRAS=yes PYTHONPATH=$(BIN)/../extras $(call tests,extra) tests/pipelines/report tests/pipelines/runs/finished

$(EXTRAS): $(TOOLS) $(PROJECT)
	@rm -rf $(VENV)/extras
	@$(PIP) --target $(VENV)/extras -r requirements-extras.lock
	@touch $@

clean:
	rm -rf $(VENV) $(DOCS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find actors pipelines tests -name __pycache__ -type d -prune -exec rm -rf {} +
