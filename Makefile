# Two commands: `make demo` shows the main job, `make test` proves everything. Both install what they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 4

# Tests start many processes: what is compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test core soak docs year clean

demo: $(VENV)/.demo
	@$(BIN)/whoelse demo

test:
	@$(MAKE) --no-print-directory -j2 $(VENV)/.test servers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m compileall -q -j 0 engine tests
	@$(MAKE) --no-print-directory -j2 types suite

.PHONY: servers types suite
servers:
	@sh tests/install-servers.sh
types:
	@$(BIN)/mypy
suite:
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal

# The pure core alone: no files, no sockets, under five seconds; its properties run with everything else.
CORE := calendar classify compose conduct machine match message needs people render sequence until yaml
core: $(VENV)/.test
	@$(BIN)/pytest -m 'not io and not real and not hypothesis' $(CORE:%=tests/test_%.py)

# Makes anew what is generated in docs/; a test holds that what is checked in is current.
docs: $(VENV)/.test
	@$(BIN)/python docs/make.py

# Plays a year of five reps and their clients and writes docs/year.md; some minutes.
CLIENTS ?= 400
year: $(VENV)/.test
	@$(BIN)/python tests/year.py $(CLIENTS)

# Stoppable; goes on at the next seed and appends to docs/soak.md.
STORMS ?= 100000
KILLS ?= 10000
PAIRS ?= 1000
MUTATIONS ?= 100000
CROSSINGS ?= 10000
soak: $(VENV)/.test
	@$(BIN)/python tests/soak.py storms $(STORMS)
	@$(BIN)/python tests/soak.py crossings $(CROSSINGS)
	@$(BIN)/python tests/soak.py stories $(KILLS)
	@$(BIN)/python tests/soak.py pairs $(PAIRS)
	@$(BIN)/python tests/soak.py mutations $(MUTATIONS)

$(VENV)/.demo: pyproject.toml
	@$(MAKE) --no-print-directory install EXTRAS=demo STAMP=$@

$(VENV)/.test: pyproject.toml
	@$(MAKE) --no-print-directory install EXTRAS=test STAMP=$@

.PHONY: install
install:
	@$(PYTHON) -c 'import sys; sys.exit("whoelse needs Python 3.11 or newer; say which with: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing whoelse[$(EXTRAS)] into $(VENV) ..."
	@$(BIN)/pip install --no-compile --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $(STAMP)

clean:
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache
