# Two commands set everything up: `make demo` and `make test`. See README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help demo test check bench docs format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed-demo ## the whole main job with an embedded broker (ARGS=--json for one JSON line)
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(VENV)/.installed-dev ## install what the tests need, mosquitto included, and run them (ARGS= goes to pytest)
	@sh tests/install_mosquitto.sh
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.installed-dev ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/.installed-dev ## ratios side by side in one run; writes benchmarks/results.json
	@sh tests/install_mosquitto.sh
	@$(BIN)/python -m benchmarks.run $(ARGS)

docs: $(VENV)/.installed-dev ## generate what is generated under docs/
	@$(BIN)/python -m docs.generate

format: $(VENV)/.installed-dev ## let ruff write the layout
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# One stamp per extra, made again when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "installing edge-deploy[$*] into $(VENV) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11" >&2; echo "hint: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "hint: on Debian and Raspberry Pi OS: sudo apt-get install python3-venv" >&2; exit 1; }
