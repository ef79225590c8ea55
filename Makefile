# Each target is one line over a tool's own command; everything runs inside .venv.
PYTHON ?= python3
BIN := .venv/bin
export KEDRO_DISABLE_TELEMETRY = 1

.PHONY: run run-airborne test lint viz bench

run: .venv/installed  ## the whole two-stage recipe, from raw annotations to the report
	$(BIN)/kedro run --pipeline=two_stage && $(BIN)/kedro headline

run-airborne: .venv/installed-airborne  ## the same graph on real airborne photographs
	$(BIN)/kedro run --pipeline=two_stage --env=airborne && $(BIN)/kedro headline --env=airborne

test: .venv/installed-dev  ## every test
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/installed-dev  ## style, types and import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

viz: .venv/installed  ## the graph in the browser
	$(BIN)/kedro viz run

bench: .venv/installed-dev  ## every measurement in benchmarks/
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e . && touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]" && touch $@

.venv/installed-airborne: .venv/installed
	$(BIN)/pip install -q --no-deps -c constraints.txt deepforest && touch $@
