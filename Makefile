# `make demo`: the main job on a generated sample. `make test`: the tests.
# Both set up .venv first; all they need is Python 3.11 or newer and a package registry.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test lint clean

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; set PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/imagenets-prepare --sample --root $(DEMO)
	$(BIN)/imagenets-prepare --verify --root $(DEMO)
	$(BIN)/imagenets-baseline train --root $(DEMO)
	$(BIN)/imagenets-baseline score --root $(DEMO)
	$(BIN)/imagenets-baseline report --root $(DEMO)

test: $(VENV)/.ready
	$(BIN)/python -m pytest

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(DEMO)
