# make run, make test: both set up .venv first, once. 'make help' lists the rest.
PYTHON ?=
ARGS ?=

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# Relative names throughout: a folder with a space in its name must work.
SET_UP := PYTHON='$(PYTHON)' .ci/set-up

# A virtual environment does not survive being moved, nor the removal or another choice of its interpreter.
ifneq ($(wildcard $(VENV)/place),)
OUTDATED := $(shell { read -r place; read -r python; } < $(VENV)/place; \
	[ -x $(BIN)/python ] && [ "$$place" = "$$(pwd -P)" ] && [ "$$python" = '$(PYTHON)' -o -z '$(PYTHON)' ] || echo outdated)
endif

.DEFAULT_GOAL := help
.PHONY: run test lint format types imports check clean help outdated

run: $(VENV)/ready  ## open the window
	@.ci/qt-libraries window
	@$(BIN)/lab $(ARGS)

test: $(VENV)/ready-dev  ## run all tests without a display, several at a time; ARGS='-k name' chooses some
	@.ci/qt-libraries offscreen
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/ready-dev  ## check the code's style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/ready-dev  ## bring the code into style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/ready-dev  ## check the types
	$(BIN)/mypy

imports: $(VENV)/ready-dev  ## check that imports only point down the layers
	$(BIN)/lint-imports

check: lint types imports  ## lint, types and imports

clean:  ## remove what was set up and built here (runs and settings stay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*##/\1/p' Makefile | awk '{name = $$1; $$1 = ""; printf "make %-8s %s\n", name, $$0}'
	@echo "The first of them sets up $(VENV) from constraints.txt; PYTHON=python3.12 chooses the interpreter."

$(VENV)/ready: pyproject.toml constraints.txt $(OUTDATED)
	@$(SET_UP) run

$(VENV)/ready-dev: $(VENV)/ready
	@$(SET_UP) dev
