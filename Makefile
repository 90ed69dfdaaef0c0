# `make` alone lists the targets. Every target makes the environment it needs; PYTHON=... chooses the interpreter.
VENV ?= .venv
PYTHON ?= python3 python3.13 python3.12 python3.11
BIN := $(VENV)/bin
PACKAGE := $(VENV)/.package-installed
DEV := $(VENV)/.dev-installed
DOCS := $(VENV)/.docs-installed
MANIFEST := pyproject.toml constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help check lint test slow test-gpu bench-gpu demo docs constraints clean

help:
	@echo 'make demo         explain the demo images and say where the figures are (no network, no GPU; first makes $(VENV))'
	@echo 'make test         run the tests'
	@echo 'make slow         run the tests that take long, the commands of the README and of docs/ among them'
	@echo 'make test-gpu     run the tests that need a CUDA device; without one they are skipped'
	@echo 'make bench-gpu    measure a step on a CUDA device, and store the tables in benchmarks/results/step'
	@echo 'make docs         build the site into site/, from the README, docs/ and the docstrings'
	@echo 'make check        run formatter, linter, type checker and tests'
	@echo 'make constraints  rewrite constraints.txt, the exact versions that are installed'
	@echo 'make clean        remove $(VENV) and caches; outputs/ stays'

check: lint test

lint: $(DEV)
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

test: $(DEV)
	$(BIN)/python -m pytest

slow: $(DEV)
	$(BIN)/python -m pytest -m slow

test-gpu: $(DEV)
	$(BIN)/python -m pytest -m gpu -n 0 -rs tests/gpu

bench-gpu: $(PACKAGE)
	$(BIN)/python benchmarks/step.py --device cuda
	$(BIN)/python benchmarks/step.py --device cuda --precision bf16-mixed --parts steps
	$(BIN)/python benchmarks/step.py --device cuda --precision bf16-mixed --parts steps --cuda-graphs on

demo: $(PACKAGE)
	$(BIN)/python train.py
	@echo "The figures are in $$(ls -td outputs/demo/*/figures | head -n 1)"

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site is in site/; open site/index.html"

constraints: $(PACKAGE)
	$(BIN)/python scripts/constraints.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist site
	find conf inr_xai benchmarks scripts tests -name __pycache__ -type d -exec rm -rf {} +

# The stamps are written last, so an interrupted installation is done again.
$(PACKAGE): $(MANIFEST)
	@$(make_venv)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(MANIFEST)
	@$(make_venv)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(PACKAGE) $@

$(DOCS): $(MANIFEST)
	@$(make_venv)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $(PACKAGE) $@

# An environment whose pip runs is kept; else one is made with the first interpreter that is new enough.
define make_venv
$(BIN)/python -m pip --version >/dev/null 2>&1 && exit 0; \
for python in $(PYTHON); do \
  version=$$($$python -c 'import sys; assert sys.version_info >= (3, 11); print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
  if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
    echo "Python $$version lacks its venv module; install it with: sudo apt install python$$version-venv (or python3-venv)" >&2; exit 1; \
  fi; \
  echo "Installing into $(VENV) with Python $$version; the first time this takes minutes and about 6 GB."; \
  exec $$python -m venv --clear $(VENV); \
done; \
echo "Python 3.11 or newer is needed, and none of these is one: $(PYTHON); install it (sudo apt install python3 python3-venv) or name one: make PYTHON=/path/to/python3.12" >&2; exit 1
endef
