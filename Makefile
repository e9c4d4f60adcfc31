# `make help` lists the targets. Everything is set up inside this folder; `make clean` takes it away again.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Found once, and only when something has to be set up. Override it: make setup PYTHON=/path/to/python3.12
PYTHON = $(eval PYTHON := $(shell sh requirements/find_python.sh || echo false))$(PYTHON)
UV = "$(PYTHON)" requirements/run_uv.py
INSTALL = $(UV) pip install --quiet --no-deps --no-build-isolation --editable . --python
LOCK = cd requirements && $(subst requirements/,,$(UV)) pip compile --quiet --universal --fork-strategy fewest \
	--generate-hashes --no-header --python-version 3.11 $(if $(UPGRADE),--upgrade)
REPORTS := build/reports
PROJECT := pyproject.toml hatch_build.py

.PHONY: help setup demo test lint types contracts test-core test-project test-engines test-tensorflow torture bench mutants lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

setup: .venv/.ready .venv-flink/.ready ## make both environments from the locks; quick when up to date

demo: setup ## the whole story on real engines, checked; keep it running with ARGS=--keep
	.venv/bin/ion demo $(ARGS)

test: lint types contracts test-core test-project test-engines ## everything, in order of cost

lint: setup ## ruff: rules and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup ## mypy, strict, on ion and policies
	.venv/bin/mypy

contracts: setup ## which room may import which
	.venv/bin/lint-imports

test-core: .venv-core/.ready ## ion installed alone, without dagster: its unit tests
	.venv-core/bin/python -m pytest -m "not torture" tests/unit --junitxml=$(REPORTS)/core.xml $(ARGS)

test-project: setup ## all tests that need no engine
	.venv/bin/python -m pytest -m "not integration and not torture" --ignore=tests/unit -n 2 --junitxml=$(REPORTS)/project.xml $(ARGS)

test-engines: setup ## real Spark, Flink, MLflow, PostgreSQL, Chromium; one at a time
	.venv/bin/python -m pytest -m "integration and not torture" --junitxml=$(REPORTS)/engines.xml $(ARGS)

test-tensorflow: .venv-tensorflow/.ready ## what Keras tells, in an environment of 1.4 GB of its own; not part of `make test`
	.venv-tensorflow/bin/python -m pytest tests/tensorflow --junitxml=$(REPORTS)/tensorflow.xml $(ARGS)

torture: setup ## the long forms of tests that `make test` runs in short
	.venv/bin/python -m pytest -m torture --timeout 7200 --junitxml=$(REPORTS)/torture.xml $(ARGS)

bench: setup .venv-bench/.ready ## measure propagation, overhead and cost, beside the peers
	.venv/bin/python -m bench $(ARGS)

mutants: .venv-mutants/.ready ## plant bugs in evidence, ledger and gate; 90 % must be noticed (docs/mutants.md)
	rm -rf mutants
	.venv-mutants/bin/mutmut run $(ARGS)
	.venv-mutants/bin/python tests/mutants.py mutants

lock: .uv/.ready ## write requirements/*.txt again from *.in; UPGRADE=1 takes newer versions
	$(LOCK) uv.in -o uv.txt
	$(LOCK) core.in -o core.txt
	$(LOCK) main.in -o main.txt
	$(LOCK) -c main.txt test.in -o test.txt
	$(LOCK) flink.in -o flink.txt
	$(LOCK) -c core.txt mutants.in -o mutants.txt
	$(LOCK) bench.in -o bench.txt
	$(LOCK) -c core.txt tensorflow.in -o tensorflow.txt

clean: ## remove the environments and what tools left; .ion/ stays
	rm -rf .uv .venv .venv-bench .venv-core .venv-flink .venv-mutants .venv-tensorflow mutants build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# --- environments: a `.ready` file is newer than everything its environment was made from
.uv/.ready: requirements/uv.txt
	@test "$(PYTHON)" != false
	@sh requirements/check_java.sh
	rm -rf .uv
	"$(PYTHON)" -m pip install --quiet --no-warn-script-location --root-user-action=ignore --require-hashes \
		--requirement requirements/uv.txt --target .uv
	@touch $@

.venv/.ready: requirements/main.txt requirements/test.txt $(PROJECT) | .uv/.ready
.venv-core/.ready: requirements/core.txt $(PROJECT) | .uv/.ready
.venv-flink/.ready: requirements/flink.txt $(PROJECT) | .uv/.ready
.venv-mutants/.ready: requirements/mutants.txt $(PROJECT) | .uv/.ready
.venv-tensorflow/.ready: requirements/tensorflow.txt $(PROJECT) | .uv/.ready

# The peers alone, without ion.
.venv-bench/.ready: requirements/bench.txt | .uv/.ready
	@test -x .venv-bench/bin/python || $(UV) venv --quiet --clear --python "$(PYTHON)" .venv-bench
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python .venv-bench $<
	@touch $@

# --compile-bytecode: where PYTHONDONTWRITEBYTECODE is set, every start would compile dagster again.
%/.ready:
	@test -x $*/bin/python || $(UV) venv --quiet --clear --python "$(PYTHON)" $*
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $* $(filter requirements/%,$^)
	$(INSTALL) $*
	@touch $@
