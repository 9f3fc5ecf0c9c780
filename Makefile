# Needs python3 (3.11 or later), make and git; everything else is fetched, pinned by hash, into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = PYTHONPATH="$$(echo tools/bootstrap/pip-*.whl)" $(BIN)/python -m pip --disable-pip-version-check -q
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --upgrade pyproject.toml

# Tests wait for processes as long as they compute: more workers than cores keep all cores busy. Unit tests wait less.
WORKERS ?= 4
PYTEST = $(BIN)/pytest -n $(WORKERS) --dist worksteal

# Tests start some thousand processes: each would compile all of Hanse again, for a third of the time that all take.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint types mypy pyright complete rewritten suite coverage unit test-matrix planted transports faults trials judge fuzz fmt lock bench clean

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile

demo: $(VENV)/.demo ## Serve examples/countries
	$(BIN)/hanse run examples/countries/app.py

test: $(VENV)/.dev ## Check everything: linters, types, layers, tests, examples, snippets
	@$(MAKE) -j2 lint rewritten # each works on one core for long
	@$(MAKE) types
	@$(MAKE) suite

lint: $(VENV)/.dev ## Check style, layers and dependencies
	$(BIN)/ruff check -q .
	$(BIN)/ruff format --check -q .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/deptry src

types: $(VENV)/.dev ## Check types with mypy and pyright, and that all public ones are complete
	@$(MAKE) -j2 pyright mypy complete # each works on one core for long

pyright: $(VENV)/.dev
	$(BIN)/basedpyright --project pyproject.toml --pythonpath $(BIN)/python

mypy: $(VENV)/.dev
	$(BIN)/mypy

complete: $(VENV)/.dev
	PATH="$$PWD/$(BIN):$$PATH" $(BIN)/basedpyright --verifytypes hanse --ignoreexternal

# Each worker would rewrite the assertions of all tests by itself. What cannot be collected, the suite tells.
rewritten: $(VENV)/.dev
	@-$(BIN)/pytest --collect-only -qq >/dev/null

suite: $(VENV)/.dev ## Run all tests
	$(PYTEST)

coverage: $(VENV)/.dev ## Run all tests, and measure which lines and branches they run; takes twice as long
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

unit: WORKERS = 3
unit: $(VENV)/.dev ## Run the fast tests
	$(PYTEST) tests/unit

test-matrix: ## Run all tests on each supported Python that is found
	@tools/matrix

planted: $(VENV)/.dev ## Hunt every planted bug, and write docs/testing/planted-bugs.md
	$(BIN)/python tools/planted.py

transports: $(VENV)/.dev ## Run the suite of transports on all of them, and write docs/reference/transports.md
	$(BIN)/python tools/transports.py

faults: $(VENV)/.dev ## Kill and break what really runs, and write docs/testing/faults-survived.md
	$(BIN)/python tools/faults.py

trials: $(VENV)/.dev ## Release, kill and abort a real system under requests, and write docs/testing/trials.md
	$(BIN)/python tools/trials.py

judge: $(VENV)/.dev ## Try the judge of releases on thousands of rollouts, and write docs/testing/judge-figures.md
	$(BIN)/python tools/judge.py

fuzz: $(VENV)/.dev ## Send the door what it should not get, for an hour (MINUTES=, HOURS=)
	$(BIN)/python tools/fuzz.py $(if $(MINUTES),$(MINUTES),$$(( 60 * $(if $(HOURS),$(HOURS),1) )))

fmt: $(VENV)/.dev ## Format, and repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.dev ## Pin the newest versions of everything
	$(COMPILE) --all-extras --group dev -o locks/dev.txt
	$(COMPILE) --extra standard --group demo -c locks/dev.txt -o locks/demo.txt

bench: .venv-bench/.installed ## Measure beside peers, and write bench/RESULTS.md
	.venv-bench/bin/python bench/run.py

clean: ## Remove what this file made
	rm -rf .venv .venv-3.* .venv-bench .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv-bench/.installed: locks/demo.txt bench/requirements.txt bench/requirements-moleculerpy.txt bench/requirements-sim.txt bench/package.json pyproject.toml
	bench/install $(PYTHON) .venv-bench

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hanse needs Python 3.11: make PYTHON=python3.11")'
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.demo: $(BIN)/python locks/demo.txt pyproject.toml
	$(PIP) install --require-hashes -r locks/demo.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(BIN)/python locks/dev.txt pyproject.toml
	$(PIP) install --require-hashes -r locks/dev.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.demo
