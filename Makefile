PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check lint clean

quickstart: .venv/installed
	$(BIN)/cdtr quickstart --out runs/quickstart

test: .venv/installed
	$(BIN)/python -m pytest

check: lint test

lint: .venv/installed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
