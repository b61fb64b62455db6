# `make report` and `make test` do all the set-up they need, once.
PYTHON ?= python3
BIN := .venv/bin
UNITS ?=
OUT ?= out/report
GAMES ?= 4000

.PHONY: report atlas test lint notebook bench clean
.DEFAULT_GOAL := report

# Reinstalls only when what is to be installed has changed.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed, and '$(PYTHON)' is older: name another with 'make PYTHON=python3.12 ...'"; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "the venv module is missing: 'apt-get install python3-venv'"; exit 2; }
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

report: .venv/.installed
	@$(BIN)/othello-circuits report --out $(OUT) --cache out/cache --games $(GAMES) $(UNITS)

atlas: .venv/.installed
	@$(BIN)/othello-circuits atlas --out out/atlas --cache out/cache --games $(or $(ATLAS_GAMES),200000)

# Tests start many processes: what Python compiles is kept.
test: .venv/.installed
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: .venv/.installed
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: .venv/.installed
	@for f in benchmarks/bench_*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

notebook: .venv/.installed
	@$(BIN)/python notebooks/run.py

clean:
	rm -rf .venv out build *.egg-info
