PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test test-lowest fuzz check lint docs clean

quickstart: .venv/installed
	$(BIN)/cdtr quickstart --out runs/quickstart

test: .venv/installed
	$(BIN)/python -m pytest -n auto

# The lowest versions that pyproject.toml declares, in an environment of their own, and a smoke test with them.
test-lowest:
	$(PYTHON) tests/lowest/check_lowest.py .venv-lowest

# Each test of tests/fuzz goes on for so many seconds: about an hour on two cores. CDTR_FUZZ_SEED=N: other cases.
fuzz: export CDTR_FUZZ_SECONDS ?= 150
fuzz: .venv/installed
	$(BIN)/python -m pytest -n auto tests/fuzz

check: lint test

lint: .venv/installed
	$(BIN)/ruff check src tests benchmarks docs examples
	$(BIN)/ruff format --check src tests benchmarks docs examples
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "wrote site: open site/index.html, or serve it with a search box by $(BIN)/mkdocs serve"

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-lowest runs site
