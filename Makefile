# `make demo` shows the project on real data; `make test` runs the tests, `make docs` builds
# the site into site/. All create the virtual environment they need.

PYTHON ?= python3
VENV ?= .venv
# Where PyTorch comes from: `auto` (see tools/install_torch.sh), `default` (pip's index), or the address of an index.
TORCH_INDEX ?= auto
BIN := $(VENV)/bin

.PHONY: demo test lint docs develop clean

demo: $(VENV)/installed
	$(BIN)/art-levelset demo

test: develop
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict art_levelset

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

develop: $(VENV)/installed-dev

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/torch: | $(BIN)/python
	sh tools/install_torch.sh $(BIN)/python $(TORCH_INDEX)
	touch $@

$(VENV)/installed: pyproject.toml | $(VENV)/torch
	$(BIN)/pip install -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/torch
	$(BIN)/pip install -e ".[dev]"
	$(BIN)/pip install --no-deps adv-lib  # without visdom, which is not needed and cannot be built by a new setuptools
	touch $@

$(VENV)/installed-docs: pyproject.toml | $(VENV)/torch
	$(BIN)/pip install -e ".[docs]"
	touch $@
