# The two commands of the README are `make demo` and `make test`; both make the virtual environment they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := headrace-demo
FIGURES := build/performance
PLOTS := docs/performance
# A benchmark ends with 1 where it missed a goal, which its table says and which is no reason to stop.
KEPT = --json $(FIGURES)/$@.json --plots $(PLOTS) || test $$? -eq 1

.PHONY: demo dev test check docs bench reliability performance headline limits unknown scale peers estimate vendor clean
.DEFAULT_GOAL := demo

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("headrace needs Python 3.11 or newer; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

# Type checkers need the strict form of an editable install, and a new one after a file was added.
$(VENV)/developing: $(VENV)/installed $(shell find pipeline stages -type d -not -name __pycache__)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --config-settings editable_mode=strict
	touch $@

demo: $(VENV)/installed  ## sixty prompts through the embedded simulator
	@mkdir -p $(DEMO)
	$(BIN)/headrace run examples/prompts.jsonl --simulate --out-dir $(DEMO) -o $(DEMO)/results.jsonl || test $$? -eq 1
	@echo "results: $(DEMO)/results.jsonl, one line a prompt; pictures: $(DEMO)/images; three prompts fail on purpose"

dev: $(VENV)/developing  ## everything needed to work on it

test: $(VENV)/developing  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/developing  ## style, types, layers, the documentation site
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/flake8 --select ASYNC102,ASYNC120 pipeline stages tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zensical build --strict

docs: $(VENV)/developing  ## the documentation site, in build/site: a warning is a failure
	$(BIN)/python benchmarks/settings_page.py
	$(BIN)/zensical build --strict

bench: $(VENV)/developing  ## the figures of the README
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/cache_speed.py

reliability: $(VENV)/developing  ## what is lost when things go wrong: half an hour, as root for the power cuts; writes docs/reliability.md
	$(BIN)/python benchmarks/reliability

performance: $(VENV)/developing  ## how near to the limits it comes, beside others: 40 minutes; writes docs/performance.md
	rm -rf $(FIGURES)
	$(MAKE) -j1 headline limits unknown scale peers
	$(BIN)/python benchmarks/performance.py $(FIGURES)

headline limits unknown scale: $(VENV)/developing
	$(BIN)/python benchmarks/$@.py $(KEPT)

peers: $(VENV)-peers/installed $(VENV)-litellm/installed  ## headrace beside other clients: 10 minutes
	$(VENV)-peers/bin/python benchmarks/peers.py --litellm-python $(VENV)-litellm/bin/python $(KEPT)

$(VENV)-peers/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group peers --editable .
	touch $@

# LiteLLM's dependencies are not those of the constraints.
$(VENV)-litellm/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-litellm
	$(VENV)-litellm/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(VENV)-litellm/bin/python -m pip install --quiet --disable-pip-version-check --group peers-litellm
	touch $@

estimate: $(VENV)/developing  ## the estimate beside the run, within 10 %: make estimate FILES='prompts.txt more.tsv'
	$(BIN)/python benchmarks/estimate.py $(FILES)

vendor: $(VENV)/developing  ## the simulator against the vendor's SDK and OpenAPI: make vendor SPEC=openapi.yaml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group check
	$(BIN)/python benchmarks/check_simulator.py $(SPEC)

clean:
	rm -rf $(VENV) $(VENV)-peers $(VENV)-litellm .cache build *.egg-info $(DEMO)
