# Needs Python 3.11, 3.12 or 3.13 and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DELETE_ON_ERROR:
.PHONY: help setup train test test-all lint bench audit mutants clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 10

setup: $(VENV)/.installed ## install into .venv

train: setup ## train all models on the embedded synthetic market
	$(BIN)/nsecast train

# Files whose tests wait for servers alternate with files whose tests compute, the slowest first (tests/conftest.py), so
# that both processes are busy and end at about the same time.
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-dev lint ## lint and all tests but the long stories
	$(PYTEST) -m "not long" --durations 25

# Lost nodes, kills in the middle of a training, faults under load, fleets that meet in an object store only;
# and all examples of the property tests of which `make test` tries a quarter.
test-all: test ## the same, and the long stories
	NSECAST_ALL_EXAMPLES=1 $(PYTEST) -m "long or fuzz" --durations 25

lint: $(VENV)/.installed-dev ## ruff, mypy and bandit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy common train tune serve cluster nsecast.py bench/chaos
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive common train tune serve cluster nsecast.py bench/chaos

# Less than forty minutes on two quiet cores; `make bench ARCHIVE=DIR ONLY=training,serving QUICK=1`, each as you like.
bench: $(VENV)/.installed $(PEERS)/.installed ## compare with alternatives, forty minutes
	$(BIN)/python bench/all.py --peers $(PEERS)/bin/python $(if $(ARCHIVE),--archive $(ARCHIVE)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

# Asks the network for known vulnerabilities, hence no part of `make test`.
audit: $(VENV)/.installed-audit ## look up known vulnerabilities, needs the internet
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file sbom.json $(BIN)/python
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

# Alters the code that matters, one place after the other, and names what no unit test notices: about an hour.
mutants: $(VENV)/.installed-mutation ## mutation testing, about an hour
	$(BIN)/python bench/mutants.py

clean: ## remove installed and cached files
	rm -rf $(VENV) $(PEERS) *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis sbom.json

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "need Python 3.11, 3.12 or 3.13 (TensorFlow), got %s: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV): about 3 GB, once."
	$(PIP) --editable ".[all]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable ".[dev]"
	@touch $@

$(VENV)/.installed-audit: $(VENV)/.installed
	$(PIP) --editable ".[audit]"
	@touch $@

$(VENV)/.installed-mutation: $(VENV)/.installed-dev
	$(PIP) --editable ".[mutation]"
	@touch $@

# What others train with, for benchmarks only.
$(PEERS)/.installed: bench/peers.txt constraints.txt
	@echo "Installing into $(PEERS): about 6 GB, once."
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement bench/peers.txt
	@touch $@
