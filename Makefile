# make demo and make test need Python 3.11 or newer and a package index, nothing else.
PYTHON ?= python3
VENV := .venv/bin
QUICK := tests/cohort tests/io tests/phantoms tests/annotator/test_mask_edits.py \
	tests/evaluation tests/segmentation/test_coarse.py tests/segmentation/test_dice.py \
	tests/test_cli.py tests/test_house.py tests/test_installation.py

.PHONY: help setup demo test test-quick test-slow coverage lint bench clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# made anew when requirements.txt changes; the stamp is written last
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check \
		--root-user-action=ignore -r requirements.txt
	touch $@

setup: .venv/installed  ## the environment alone, in .venv

demo: .venv/installed  ## the whole pipeline on 300 simulated radiographs, into demo/
	PYTHON=$(VENV)/python ./demo.sh

# a file's tests share their fixtures, so one process takes the whole file
test: .venv/installed  ## the fast tests, on two cores
	$(VENV)/python -m pytest -n 2 --dist loadfile

test-quick: .venv/installed  ## the tests that train no network
	$(VENV)/python -m pytest -n 2 --dist loadfile $(QUICK)

test-slow: .venv/installed  ## the long tests: every backbone, several devices, the wheel
	$(VENV)/python -m pytest -m slow

coverage: .venv/installed  ## the fast tests, with a report of the lines they leave out
	$(VENV)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

lint: .venv/installed  ## style, formatting, types, spelling
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/codespell

bench: .venv/installed  ## speed and memory, each against what a user would otherwise run
	$(VENV)/python -m benchmarks

clean:  ## remove the demo's files and the environment
	rm -rf demo .venv
