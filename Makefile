# Commands for a machine with nothing but Python 3.11-3.13, git and make:
#   make tour   set up, then the five commands of the README on the built-in phantom
#   make test   set up, then the whole test suite
#   make docs   set up, then the pages of docs and the Python reference as a site in site/
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
# processes that share the tests; each takes one core and up to 2 GiB
WORKERS ?= 2

.PHONY: setup tour test docs lint clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $$($(PYTHON) --version 2>&1); required: Python 3.11 to 3.13; name one with make PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing lorkit and what it needs into $(VENV) (once, two to three minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

tour: setup
	@mkdir -p tour
	cd tour && ../$(BIN)/decompose train
	cd tour && ../$(BIN)/decompose extract --region chest
	cd tour && ../$(BIN)/decompose export --target onnx
	@# exit 3 is the gate's honest INCONCLUSIVE on a machine that is too busy to tell: the tour goes on
	cd tour && { ../$(BIN)/decompose gate || test $$? -eq 3; }
	cd tour && ../$(BIN)/decompose report
	@echo "the report: $$(ls -t $$PWD/tour/runs/*/report/report.html | head -1)"

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations=20

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean
	@echo "the site: $$PWD/site/index.html"

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $(DOCS_STAMP)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) tour site
