# The two commands that matter: `make repro` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
UV := $(VENV)/bin/uv

# Stage commands call `python`: they get the one of .venv, and the package of this working copy.
# Only here a path has the folder of this clone in it, whose name may hold spaces: all others are relative.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/src
export DVC_NO_ANALYTICS := 1
# Without bytecode every stage would spend half a minute on compiling torch and transformers.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env repro verify test smoke bench release web page lab site cache-archive cache-restore lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' Makefile

env: $(READY) ## build the environment in .venv (Python 3.11 or 3.12; PYTHON=... chooses one)

# uv and setuptools come from the lock too, so that every package is verified by its hash, the one built from source included.
$(READY): requirements.txt pyproject.toml
	@if ! $(UV) --version >/dev/null 2>&1; then \
	  for python in $${PYTHON:-python3 python3.12 python3.11}; do \
	    if "$$python" -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then break; fi; \
	    python=; \
	  done; \
	  test -n "$$python" || { echo "error: no Python 3.11 or 3.12 with venv (Debian: apt install python3-venv)" >&2; exit 2; }; \
	  "$$python" -m venv --clear $(VENV); \
	  sed -n '/^\(setuptools\|uv\)==/,/^ *# via/p' requirements.txt >$(VENV)/bootstrap.txt; \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/bootstrap.txt; \
	fi
	$(UV) pip sync --quiet --compile-bytecode --python $(VENV)/bin/python --require-hashes --no-build-isolation requirements.txt
	$(UV) pip install --quiet --python $(VENV)/bin/python --offline --no-deps --no-build-isolation --editable .
	@touch $@

repro: env ## make everything: every stage, notebook, table and figure
	python -m dvc repro

verify: env ## compare this run with the committed one: numbers within tolerances, outputs byte for byte
	python -m facedistill verify

# The whole pipeline takes as long as all other tests together: it goes first, to one of two processes.
test: env ## run the whole test suite
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

smoke: env ## run the whole pipeline on configs/smoke.yaml in a scratch copy
	python tests/smoke.py

bench: env ## measure time, delay and memory of the models here, then make table 3 and figure 5 anew
	python -m facedistill bench --exported --out benchmarks/on_device.json
	python -m dvc repro tab3_on_device fig5_latency

release: env ## make models/ of what was exported: the small files, with model cards and checksums
	python -m facedistill release

web: env ## build the page on which released models run in the browser: web/dist
	cd web && python -m dvc repro

page: web ## build that page and serve it here: open http://localhost:8000
	python -m http.server --bind localhost --directory web/dist 8000

# JupyterLab asks nobody for news or newer versions.
lab: env ## open the notebooks in JupyterLab
	python -m jupyter lab --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate notebooks

site: env ## make static pages of the executed notebooks: site/index.html
	python -m facedistill site

# A remote of DVC in one file: what dvc.lock names, and what each stage made of what.
cache-archive: env ## pack the results of the last run into facedistill-cache.tar
	rm -rf .work/archive
	python -m dvc remote add --local --quiet --force archive .work/archive
	python -m dvc push --quiet --remote archive --run-cache dvc.yaml
	tar -cf facedistill-cache.tar -C .work/archive .
	rm -rf .work/archive

cache-restore: env ## unpack facedistill-cache.tar: `make repro` then has nothing to do
	rm -rf .work/archive && mkdir -p .work/archive
	tar -xf facedistill-cache.tar -C .work/archive
	python -m dvc remote add --local --quiet --force archive .work/archive
	python -m dvc remote modify --local --quiet archive verify true
	python -m dvc pull --quiet --remote archive --run-cache dvc.yaml
	rm -rf .work/archive

lock: env ## compile requirements.txt from pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.txt

clean: ## remove the environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
