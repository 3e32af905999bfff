PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check lint docs clean

quickstart: .venv/installed
	$(BIN)/cdtr quickstart --out runs/quickstart

test: .venv/installed
	$(BIN)/python -m pytest -n auto

check: lint test

lint: .venv/installed
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
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
	rm -rf .venv runs site
