# The two commands are `make book` and `make test`. This file makes the environment and calls
# Snakemake; what is built from what stands in the Snakefile.

PYTHON ?= python3
JOBS ?= all
# executed: run the notebooks and show what they gave. committed: show the outputs in the
# repository, without running anything.
OUTPUTS ?= executed
# The chapter that `make refresh` replaces, by its name or the beginning of it; all by default. In a
# list, since Snakemake reads a bare 09 as the number 9.
NOTEBOOK ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
INDEX := _build/html/index.html
# A file that is as old as the beginning of the build of these outputs.
BUILT := _build/.book.$(OUTPUTS)
# What Snakemake looks at, in folders.
INPUTS := Makefile Snakefile _config.yml _toc.yml requirements.lock book envae notebooks \
  data/claims.yaml data/figures.yaml data/features data/published \
  $(wildcard data/runs/budget data/runs/step_cost)
MADE := _build/html $(if $(filter executed,$(OUTPUTS)),_build/executed _build/runs)
# One thread each, since notebooks and tests run side by side on the cores there are.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1
SNAKEMAKE := $(RUN) $(BIN)/snakemake --quiet host progress rules --cores $(JOBS) --rerun-incomplete

.PHONY: help book test check-book pdf refresh evidence times serve unlock lock clean
.DELETE_ON_ERROR:

help: ## show this list
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "Variables: PYTHON=python3.12  JOBS=2 (processes side by side, default: all cores)"
	@echo "  NOTEBOOK=04 (the chapter that refresh replaces, default: all)"

book: $(INSTALLED) ## run the notebooks and build the book (OUTPUTS=committed: without running)
	@$(UP_TO_DATE) || { mkdir -p _build && touch _build/.begun && \
	  $(SNAKEMAKE) book --config outputs=$(OUTPUTS) && mv _build/.begun $(BUILT); } || \
	  { $(EXPLAIN_LOCK); exit 1; }
	@echo "The book: file://$(CURDIR)/$(INDEX)"

test: $(INSTALLED) ## check style and types, run the tests, compare the notebooks with their outputs
	@start=$$(date +%s); $(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && \
	  echo "style and types: $$(($$(date +%s) - start)) s"
	@$(RUN) $(BIN)/pytest -n $(JOBS:all=auto) --nbval tests notebooks

check-book: $(INSTALLED) ## open every page in Chromium: themes, links, formulas, accessibility
	@$(BIN)/python book/check.py

pdf: $(INSTALLED) ## print the built book into one PDF, with the same Chromium
	@$(BIN)/python book/pdf.py

refresh: $(INSTALLED) ## run the notebooks, or NOTEBOOK, anew; replace outputs and records in the repository
	@$(SNAKEMAKE) refresh --forceall --config 'notebooks=[$(NOTEBOOK)]' || { $(EXPLAIN_LOCK); exit 1; }

evidence: $(INSTALLED) ## run what the recorded tables lack, in order of value (JOBS=N), and print what is left
	@$(RUN) $(BIN)/envae evidence --run $(if $(filter-out all,$(JOBS)),--jobs $(JOBS))

times: $(INSTALLED) ## after make book: what the chapters took, and their slowest cells
	@$(BIN)/envae times

serve: ## show the built book at http://127.0.0.1:8000
	@test -e $(INDEX) || { echo "there is no book yet: make book"; exit 1; }
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

unlock: $(INSTALLED) ## after a run was killed: allow the next one
	@$(SNAKEMAKE) --unlock

lock: ## for maintainers: resolve the dependencies anew into requirements.lock
	@$(PYTHON) -m venv --clear _build/uv
	@_build/uv/bin/pip install --quiet uv
	@echo setuptools | _build/uv/bin/uv pip compile --quiet pyproject.toml - \
	  --extra book --extra test --universal --fork-strategy fewest --python-version 3.11 \
	  --no-header --no-annotate -o _build/uv/resolved
	@{ $(LOCK_HEADER); grep -Ev '^(nvidia|cuda|triton)' _build/uv/resolved \
	  | sed -E 's/^torch==([0-9.]+).*/torch==\1/' | uniq; } > requirements.lock

clean: ## remove everything that was built; the environment stays
	rm -rf _build .snakemake

# Without the stamp an environment is half-made: it is made anew. The stamp goes first, so that an
# interrupted update counts as half-made too.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "envae needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1):" \
	    "make PYTHON=/path/to/python3.11"; exit 1; }
	@test -e $@ || $(PYTHON) -m venv --clear .venv
	@rm -f $@
	@echo "Installing requirements.lock into .venv (about 2 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --editable .
	@# pythae asks for this backport of a standard module; where it is found first, torch fails.
	@$(BIN)/python -m pip uninstall --quiet --yes dataclasses
	@touch $@

# torch names the CUDA packages that it needs, where it needs them: they are not pinned twice.
LOCK_HEADER = \
  echo "\# Exact versions of everything that the book and the tests need; made by: make lock"; \
  echo "\# What the versions are held back for stands in pyproject.toml, under tool.uv."

# Snakemake takes seconds to find that there is nothing to do. Nothing is, where no input changed
# since the build began, and no output since it ended (the stamp was renamed then). Asked is when a
# file's entry changed (c), which no copy or checkout sets back, and when a folder's did, since a
# file may be gone.
UP_TO_DATE = changed=$$({ find $(INPUTS) -name __pycache__ -prune -o -newercm $(BUILT) -print && \
  find $(MADE) -newercc $(BUILT); } 2>/dev/null) && test -z "$$changed"

# Snakemake locks the folder while it runs; a killed run leaves its lock behind.
EXPLAIN_LOCK = if [ -n "$$(ls -A .snakemake/locks 2>/dev/null)" ]; then \
  echo "This folder is locked by another make, or by one that was killed. If none is running:" \
    "make unlock"; fi
