# make demo and make test need Python 3.11 or newer and a package index, nothing else.
PYTHON ?= python3
VENV := .venv/bin

.PHONY: help setup demo test test-slow lint bench clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# made anew when requirements.txt changes; the stamp is written last
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

setup: .venv/installed  ## the environment alone, in .venv

demo: .venv/installed  ## the whole pipeline on 300 simulated radiographs, into demo/
	PYTHON=$(VENV)/python ./demo.sh

test: .venv/installed  ## the fast tests, ten to fifteen minutes
	$(VENV)/python -m pytest

test-slow: .venv/installed  ## the long tests: every backbone, several devices
	$(VENV)/python -m pytest -m slow

lint: .venv/installed  ## style and formatting
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

bench: .venv/installed  ## speed and memory, each against what a user would otherwise run
	$(VENV)/python -m benchmarks

clean:  ## remove the demo's files and the environment
	rm -rf demo .venv
