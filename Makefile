# `make run` and `make test` are the two commands: on a machine with only Python 3.11+ and make each
# sets up what it needs (a private .venv) and then does its job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8321
# these measure how programs run: nothing else may run beside them
TIMED := tests/test_end_to_end.py tests/test_examples.py tests/test_examples_system.py

.PHONY: run test test-examples fuzz accuracy topics bench-traces lint bench setup setup-dev browser clean

run: setup
	$(BIN)/advisor diagnose --seconds 5
	$(BIN)/advisor serve --port $(PORT)

test: setup-dev browser lint
	$(BIN)/advisor check
	$(BIN)/python -m pytest -n 2 --dist loadfile $(addprefix --ignore=,$(TIMED))
	$(BIN)/python -m pytest $(TIMED)

# as `make test` on ten thousand mutated artefacts, and on mutations of real ones where there are some beside this folder
fuzz: setup-dev
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_fuzz_readers.py

# every example, planted and healthy, for real; `make test` runs a few of them
test-examples: setup-dev
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_examples.py tests/test_examples_system.py

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-dev
	$(BIN)/python bench/load_time.py
	$(BIN)/python bench/answer_time.py
	$(BIN)/python bench/hook_overhead.py
	$(BIN)/python bench/collect_cost.py
	$(BIN)/python bench/run_overhead.py
	$(BIN)/python bench/trace_read.py

# two large traces, read by advisor and by HolisticTraceAnalysis in turn; takes half an hour and more
bench-traces: setup-dev
	$(BIN)/python bench/trace_read.py --mb 540 --rounds 1
	$(BIN)/python bench/trace_read.py --mb 1600 --rounds 1

# how often advisor is right, beside its peers: planted causes run for real three times, recordings, healthy systems;
# takes two hours, nothing else may run beside it, and what it measured is published in the README
accuracy: setup-dev
	$(BIN)/python bench/accuracy --write README.md

# the model that tells the topic of a question; ALSO names a file of labelled questions to learn from beside our own
topics: setup-dev
	$(BIN)/python bench/topic_model.py $(if $(ALSO),--also $(ALSO))

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "advisor needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/advisor rules > /dev/null  # packs the knowledge base, so that the first question is as fast as the next
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

# The page is tested in a real browser, with Chinese fonts, and the GPU stand-in is compiled by the tests.
browser:
	@missing=""; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v patch >/dev/null || missing="$$missing patch"; \
	command -v prometheus >/dev/null || missing="$$missing prometheus"; \
	command -v prometheus-node-exporter >/dev/null || missing="$$missing prometheus-node-exporter"; \
	fc-list 2>/dev/null | grep -qi "noto sans cjk" || missing="$$missing fontconfig fonts-noto-cjk"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "the tests need these Debian packages, please install them:$$missing" >&2; exit 1; fi

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
