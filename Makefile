# Two commands do all the set-up: `make book` and `make test`.
PYTHON ?= python3
PRESET ?= laptop
PORT ?= 8000
PARAMS ?=
BIN := .venv/bin
STAMP := .venv/.installed
TESTS ?= tests notebooks
BENCH ?= $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py))

.DEFAULT_GOAL := help
.PHONY: help book serve test notebooks map records lint bench shots links archive clean .venv
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[.a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PRESET=smoke|laptop|paper   how much is computed (default laptop); other presets build into _build/PRESET/"
	@echo "  PARAMS=\"02:trials=9\"         notebook parameters, NOTEBOOK:NAME=VALUE, several separated by spaces"
	@echo "  PYTHON=python3.12           the interpreter that .venv is made from (3.11 or newer)"

.venv: $(STAMP) ## create .venv and install everything, pinned by constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "could not create .venv (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,book,test,cluster]' -c constraints.txt
	@touch $@

book: $(STAMP) ## execute what has changed and build the website into _build/html
	@$(BIN)/python -m pipeline book --preset $(PRESET) $(addprefix -p ,$(PARAMS))

serve: book ## build the book, then serve it at http://localhost:8000
	@$(BIN)/python -m pipeline serve --preset $(PRESET) $(addprefix -p ,$(PARAMS)) --port $(PORT)

test: book ## build the book, then run every test, the notebooks at the smoke preset included
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --nbmake $(TESTS)

notebooks: $(STAMP) ## write runnable .ipynb files into _build/notebooks
	@$(BIN)/python -m pipeline notebooks

map: $(STAMP) ## compute the regime map of notebook 05 anew (results/synthetic_map.csv)
	@OMP_NUM_THREADS=1 $(BIN)/python -m clop_nb.regime results/synthetic_map.csv

records: $(STAMP) ## redo the image runs on digits that other code made, or that failed (results/images)
	@OMP_NUM_THREADS=1 $(BIN)/python -m clop_nb.sweep results/images --dataset digits

lint: $(STAMP) ## ruff on the modules and on the notebooks' code
	@$(BIN)/python -m pipeline lint

bench: $(STAMP) ## run the benchmarks and write results/benchmarks (BENCH="losses" runs one)
	@for name in $(BENCH); do echo "== $$name"; \
	  OMP_WAIT_POLICY=passive KINETO_LOG_LEVEL=99 $(BIN)/python "benchmarks/bench_$$name.py" || exit 1; done

shots: book ## pictures of every page, in both themes and two widths, into _build/shots
	@$(BIN)/python -m pipeline.shots

links: book ## follow every link to another site; needs a network
	@cd _build/laptop/stage && PYTHONPATH=book/_ext:$(CURDIR) $(CURDIR)/$(BIN)/jupyter-book build . \
	  --path-output $(CURDIR)/_build/links --all --builder linkcheck

archive: book ## the site as one zip, for a release
	@$(BIN)/python -m pipeline.archive

clean: ## remove what was built; .venv stays
	rm -rf _build book/_executed book/_generated
