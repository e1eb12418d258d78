# make help lists what there is. PYTHON=python3.12 chooses an interpreter, PIP_ARGS goes to pip.
PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
VENV = .venv
BENCH = .venv-bench
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help lab test lint format labs bench clean

help:  ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

lab: $(VENV)/labs.done  ## Open JupyterLab on the index of the labs (ARGS="--no-browser --port 9000")
	cd labs && ../$(VENV)/bin/jupyter lab index.ipynb $(ARGS)

test: $(VENV)/test.done  ## All tests: library, every lab under nbval, the browser where a Chromium is found
	$(VENV)/bin/python -m pytest $(ARGS)
	$(VENV)/bin/python -m pytest --nbval labs -W default -p no:cacheprovider

lint: $(VENV)/lint.done  ## ruff and mypy
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/lint.done  ## Let ruff format and mend what it can
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

labs: $(VENV)/test.done  ## Run every lab and store its outputs, as they are committed
	$(VENV)/bin/python labs/execute.py $(ARGS)

bench: $(BENCH)/bench.done  ## All benchmarks beside their peers, in an environment of their own
	$(BENCH)/bin/python -m benchmarks $(ARGS)

clean:  ## Remove the environments
	rm -rf $(VENV) $(BENCH)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ddml_kit needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/labs.done: $(VENV)/bin/python pyproject.toml constraints.txt labs/overrides.json
	$(VENV)/bin/python $(PIP_INSTALL) -e '.[labs]'
	mkdir -p $(VENV)/share/jupyter/lab/settings
	cp labs/overrides.json $(VENV)/share/jupyter/lab/settings/overrides.json
	touch $@

$(VENV)/test.done: $(VENV)/labs.done
	$(VENV)/bin/python $(PIP_INSTALL) -e '.[test]'
	touch $@

$(VENV)/lint.done: $(VENV)/labs.done
	$(VENV)/bin/python $(PIP_INSTALL) -e '.[lint]'
	touch $@

$(BENCH)/bench.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(PIP_INSTALL) -e '.[bench]'
	$(BENCH)/bin/python $(PIP_INSTALL) --no-deps byzfl torchattacks  # what they ask for is old, or not needed
	touch $@
