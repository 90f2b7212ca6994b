# Everything from nothing but Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test torture check bench docs clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("evp needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV): about 6 GB of packages, a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)  ## train a real prompt, measure it, apply it, look at it
	PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh demo

test: check  ## style, types and every test
	$(BIN)/python -m pytest

torture: $(STAMP)  ## the fault harness at every point, and its crowds at full length
	TORTURE=1 $(BIN)/python -m pytest tests/faults

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## speed, start-up and memory beside their targets, in one table
	$(BIN)/python benchmarks/run.py

docs: $(STAMP)  ## make docs/commands.md again from --help
	$(BIN)/python tools/make_command_docs.py

clean:
	rm -rf $(VENV) demo dist build
