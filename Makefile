# Two commands set everything up: `make demo` and `make test`. See README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 3

.PHONY: help demo test test-frontends engine2 check bench soak docs format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.installed-demo ## the whole main job with an embedded broker (ARGS=--json for one JSON line)
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(VENV)/.installed-dev ## install what the tests need (a real mosquitto and others), and run them (ARGS= goes to pytest)
	@sh tests/install_tools.sh
	@$(MAKE) --no-print-directory engine2
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# The second engine, tflite-runtime, has no wheels beyond Python 3.11 and needs NumPy 1: a virtual environment of its own.
ENGINE2 := .venv-tflite-runtime
ENGINE2_TESTS := tests/inference/test_tflite.py tests/inference/test_model.py tests/inference/test_delegates.py \
  tests/inference/test_shared_models.py

engine2: $(VENV)/bin/python
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then \
	  $(MAKE) --no-print-directory $(ENGINE2)/.installed && \
	  EDGE_DEPLOY_ENGINE=tflite-runtime $(ENGINE2)/bin/python -m pytest -q $(ENGINE2_TESTS); \
	else echo "tflite-runtime is not tested: it has no wheel for this Python" >&2; fi

$(ENGINE2)/.installed: pyproject.toml
	@echo "installing the second engine into $(ENGINE2) ..." >&2
	@$(PYTHON) -m venv $(ENGINE2)
	@$(ENGINE2)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[tflite-runtime]" pytest pytest-timeout hypothesis
	@touch $@

# TensorFlow, torch and all the other front-ends, several GB: beside the light .venv, together in one (docs/adr/0011).
FRONTENDS := .venv-frontends

test-frontends: $(FRONTENDS)/.installed ## install every framework that models come from, and test the converter against each
	@$(FRONTENDS)/bin/python -m pytest -n 2 --dist loadfile $(or $(ARGS),tests/frontends)

$(FRONTENDS)/.installed: pyproject.toml
	@echo "installing all front-ends into $(FRONTENDS); several GB, this takes minutes ..." >&2
	@$(PYTHON) -m venv $(FRONTENDS)
	@$(FRONTENDS)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[frontends,bench]" \
	  pytest pytest-timeout pytest-xdist hypothesis pycocotools
	@touch $@

check: $(VENV)/.installed-dev ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(FRONTENDS)/.installed ## ratios side by side in one run; writes benchmarks/results.json
	@sh tests/install_tools.sh --only-brokers
	@$(FRONTENDS)/bin/python -m benchmarks.run $(ARGS)

soak: $(VENV)/.installed-dev ## kill a real agent 500 times under updates from a real broker (about 20 minutes)
	@sh tests/install_tools.sh
	@EDGE_DEPLOY_KILLS=$${EDGE_DEPLOY_KILLS:-500} $(BIN)/python -m pytest -q --timeout=7200 tests/system/test_sigkills.py $(ARGS)

docs: $(VENV)/.installed-dev ## generate what is generated under docs/
	@$(BIN)/python docs/generate_update_states.py

format: $(VENV)/.installed-dev ## let ruff write the layout
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what the other targets made
	rm -rf $(VENV) $(ENGINE2) $(FRONTENDS) .venv-mediapipe .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

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
