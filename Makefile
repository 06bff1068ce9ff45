PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-all lint bench clean

run: .venv/installed          ## the quick preset: both clocks of a GPT and a DiT
	$(BIN)/twoclocks run

test: lint                    ## everything CI checks
	$(BIN)/pytest -n 2 -m "not slow"

test-all: lint                ## the slow tests too
	$(BIN)/pytest -n 2

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.venv/typing $(BIN)/mypy -p twoclocks
	$(BIN)/lint-imports

bench: .venv/installed        ## measured against peers, one process, one thread
	$(BIN)/pytest tests/benchmarks --benchmark-only -p no:xdist

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	mkdir -p .venv/typing && ln -sfn ../.. .venv/typing/twoclocks  # lets mypy see the root as the package twoclocks
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
