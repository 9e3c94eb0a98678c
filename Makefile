# `make demo`: the main job on a generated sample. `make test`: all tests, on the built wheel, two
# files at a time. `make test-quick`: the fast ones, on the files as they are. `make test-extras`:
# the ones that need optional libraries. `make lint`: style, types, import rules. `make docs`: the site, in
# build/docs; a link that leads nowhere is an error.
# `make figures PHOTOS=FOLDER LISTS=FOLDER`: measures again what docs/performance.md says, an hour.
# Each sets up what it needs; all it takes is Python 3.11 or newer and a package registry.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
EXTRAS := .venv-extras
BIN := $(VENV)/bin
DEMO := demo
SOURCES := pyproject.toml README.md LICENSE $(shell find imagenets ! -path '*/__pycache__*')
WHEEL := build/wheel

# A folder that has all but the sources, so that Python can only find the installed wheel.
ELSEWHERE := build/elsewhere
PYTEST = mkdir -p $(ELSEWHERE) && \
	ln -sfn $(CURDIR)/tests $(CURDIR)/docs $(CURDIR)/benchmarks $(CURDIR)/Makefile $(CURDIR)/*.md $(CURDIR)/*.cff $(CURDIR)/*.txt \
		$(CURDIR)/pyproject.toml $(ELSEWHERE) && \
	cd $(ELSEWHERE) && $(CURDIR)/$(1)/bin/python -m pytest --installed $(2) $(ARGS)

# Two processes, each with whole files in turn: what a file prepares is prepared once.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

# Installs the wheel again. The files keep the times of their sources: by these Numba knows
# whether the code that it has compiled is still good.
INSTALL = $(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	--no-compile --force-reinstall $(WHEEL)/*.whl && \
	site=$$($(1)/bin/python -Pc 'import imagenets; print(imagenets.__path__[0])') && \
	(cd imagenets && find . -name '*.py' -exec sh -c 'touch -c -r "$$1" "$$0/$$1"' "$$site" {} \;)

.PHONY: demo test test-quick test-extras lint docs figures clean

$(VENV)/.packages: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; set PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dev]'
	touch $@

$(WHEEL)/.built: $(VENV)/.packages $(SOURCES)
	rm -rf $(WHEEL)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-w $(WHEEL) .
	touch $@

$(VENV)/.ready: $(WHEEL)/.built
	$(call INSTALL,$(VENV))
	touch $@

$(EXTRAS)/.packages: pyproject.toml constraints-extras.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; set PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(EXTRAS)
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-extras.txt '.[extras]'
	touch $@

$(EXTRAS)/.ready: $(EXTRAS)/.packages $(WHEEL)/.built
	$(call INSTALL,$(EXTRAS))
	touch $@

demo: $(VENV)/.ready
	$(BIN)/imagenets-prepare --sample --root $(DEMO)
	$(BIN)/imagenets-prepare --verify --root $(DEMO)
	$(BIN)/imagenets-baseline train --root $(DEMO) --preset sample-plus
	$(BIN)/imagenets-baseline score --root $(DEMO)
	$(BIN)/imagenets-baseline report --root $(DEMO)

test: $(VENV)/.ready
	$(call PYTEST,$(VENV),$(PARALLEL)) -m 'not extras'

test-quick: $(VENV)/.packages
	PYTHONPATH=$(CURDIR) $(BIN)/pytest $(PARALLEL) -m 'not slow and not extras' $(ARGS)

test-extras: $(EXTRAS)/.ready
	$(call PYTEST,$(EXTRAS)) -m extras

lint: $(VENV)/.packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=$(CURDIR) $(BIN)/lint-imports

docs: $(VENV)/.packages
	PYTHONPATH=$(CURDIR) $(BIN)/sphinx-build -q -W --keep-going -c docs . build/docs

figures: $(VENV)/.packages
	$(BIN)/python benchmarks/figures.py measure --photos "$(PHOTOS)" --lists "$(LISTS)" $(ARGS)
	$(BIN)/python benchmarks/figures.py write

clean:
	rm -rf $(VENV) $(EXTRAS) $(DEMO) build
