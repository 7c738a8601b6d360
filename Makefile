# Two commands: `make run` does the main job on the embedded data set, `make test` runs all checks. (`make bench` measures
# speed.) They make the environment first if it is not there. PYTHON and VENV can be set: make test PYTHON=python3.12
# VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
RBDML = $(VENV)/bin/rbdml
# Of `make run`: small enough for two slow cores. The search of radii is short, so a radius is an upper bound.
FIRST = --dataset glyphs --budget 60k --precision auto --protocol radius --queries 64 --attack-precision auto \
	--solver-param rounds=1 --solver-param steps=20 --solver-param square_queries=20
STAMP = $(VENV)/.installed
# Of each target of `make fuzz`; TARGETS names some of them.
SECONDS = 60

# One environment may serve several checkouts in turn: install again when it last served another one.
$(shell [ "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" ] || rm -f $(STAMP))

.PHONY: run test lint types tests boards bench gpu audit fuzz

run: $(STAMP)
	for defense in pixels untrained regular; do $(RBDML) run --defense $$defense $(FIRST) --quiet || exit; done
	$(RBDML) run --defense hm-lga-ics --warmup 0.5 $(FIRST)

test: lint types tests boards

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo

types: $(STAMP)
	$(VENV)/bin/mypy -p robustbench_dml
	$(VENV)/bin/mypy tests

# In WORKERS processes: make tests WORKERS=4. The tests of a file share fixtures, so a file stays in one process. Files
# run in their order: xdist would put files of few tests last, and some of these are the longest.
WORKERS ?= 2
tests: $(STAMP)
	$(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

boards: $(STAMP)
	$(RBDML) leaderboard check

# About half an hour on two cores that do nothing else: make bench PARTS="training retrieval"
bench: $(STAMP)
	$(VENV)/bin/python benchmarks/bench.py $(PARTS)

# With a GPU, at most ten minutes; writes benchmarks/results/gpu.md.
gpu: $(STAMP)
	$(VENV)/bin/python benchmarks/gpu.py

# Beside the tests, for both need more than they do: a service on the network, and a package without wheels everywhere.
audit: $(STAMP)
	$(VENV)/bin/python .ci/audit.py --tools $(VENV)/audit

fuzz: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --editable '.[fuzz]'
	PYTHONPATH=tests $(VENV)/bin/python -m fuzz.run $(TARGETS) --seconds $(SECONDS) --keep build/fuzz

$(STAMP): pyproject.toml
	[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	@printf %s "$(CURDIR)" > $(STAMP)
