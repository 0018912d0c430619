# Needs git, make and Python 3.11 or later. Everything else is fetched into this folder; no root.

.DEFAULT_GOAL := help

DEFAULT_RELEASE := 0.32.0
CONTROL_RELEASE := 0.31.0
VLLM ?= $(DEFAULT_RELEASE)
TEST_RELEASES := 0.16.0 0.18.0 0.19.1 0.20.2 0.22.1 0.24.0 0.25.1 0.32.0
UV_VERSION := 0.13.9
TOOLS := .tools
UV := $(TOOLS)/uv-$(UV_VERSION)/bin/uv
RUN := $(UV) run --frozen --no-sync
# Its time stamp: newer than uv.lock and pyproject.toml when .venv can judge and run.
RUNTIME := .venv/.runtime
EXAMPLE := corruption-canary
DEMO := runs/demo-$(EXAMPLE)
# Tests that load no processor for long run in several processes; tests of servers under load run alone.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile
# Light tests mostly wait for processes: more of them at a time than the smallest machine has processors.
LIGHT_SIDE_BY_SIDE := --numprocesses 4 --dist loadfile
# Ordered: the longest files first, so that two processes end together.
LIGHT := tests/integration tests/unit tests/packaging tests/prometheus tests/browser
# First, because one process runs the whole file, longer than any other.
CONTRACT := tests/server/test_contract.py
# These use both processors, or search the whole machine for leftovers.
ALONE := $(addprefix tests/server/test_,campaign.py chaos_off.py reproducibility.py kills.py)
END_TO_END := baseline-offload or corruption-canary or kill-and-restart

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	path=$$($$name -c 'import sys; print(sys.executable) if sys.version_info >= (3, 11) else sys.exit(1)' \
	2>/dev/null) && { echo "$$path"; break; }; done)
export UV_PYTHON_DOWNLOADS ?= never
# The certificates of this machine: a company's proxy needs its own.
export UV_SYSTEM_CERTS ?= 1
# An active virtual environment of the user must not be used.
unexport VIRTUAL_ENV

.PHONY: help demo setup chaos chaos-compose chaos-gpu gpu-session test aa test-compose matrix nightly nightly-fetch nightly-publish bench-idle bench-judge bench-trace bench-client load-ui test-light test-servers test-boards test-grafana test-everything programs panels downloads fuzz lint format doctor servers down clean distclean

help: ## Show this list
	@echo "usage: make TARGET [NAME=value ...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile

demo: $(RUNTIME) ## Judge a stored run and print its verdict, without a server
	@rm -rf $(DEMO) && mkdir -p $(dir $(DEMO)) && cp -R examples/$(EXAMPLE) $(DEMO)
	@.venv/bin/kvchaos judge $(DEMO)

setup: $(UV) ## Install the suite into .venv, exactly as locked
	@$(UV) sync --quiet --frozen $(if $(PYTHON),--python "$(PYTHON)")

chaos: setup ## Run the scenarios without GPU or Docker: VLLM=0.32.0, SCENARIO=name, SEED=number, FRESH=1
	@$(RUN) kvchaos server install $(VLLM)
	@$(RUN) kvchaos run --server $(VLLM) $(if $(SEED),--seed $(SEED)) $(if $(FRESH),--fresh) $(or $(SCENARIO),--all)

chaos-compose: setup ## Run the scenarios in containers, without a GPU: VLLM=0.32.0, SCENARIO=name, SEED=number
	@$(RUN) kvchaos run --stack compose-cpu --server $(VLLM) $(if $(SEED),--seed $(SEED)) $(or $(SCENARIO),--all)

chaos-gpu: setup ## Run the scenarios on a GPU: STACK=local SERVER=name, SCALE=tiny, FOR=45m, QUICK=1 (10 minutes)
	@$(RUN) kvchaos run --gpu --stack $(or $(STACK),compose-gpu) --server $(or $(SERVER),$(VLLM)) \
		$(if $(SCALE),--scale $(SCALE)) --for $(if $(QUICK),10m,$(or $(FOR),45m)) \
		$(if $(SEED),--seed $(SEED)) $(or $(SCENARIO),--all)

gpu-session: setup ## Calibrate, measure speed, run the scenarios on a GPU, pack the results: OUT=results.tar.gz FOR=9m STACK=local SERVER=name
	@$(RUN) kvchaos session "$(or $(OUT),results.tar.gz)" --gpu --stack $(or $(STACK),compose-gpu) \
		--server $(or $(SERVER),$(VLLM)) $(if $(SCALE),--scale $(SCALE)) --for $(or $(FOR),45m)

test: lint programs ## Run lint, types, all light tests, and the default release end to end
	@$(RUN) kvchaos server install $(DEFAULT_RELEASE)
	@$(RUN) pytest $(LIGHT_SIDE_BY_SIDE) $(CONTRACT) $(LIGHT) -m "not older_release"
	@$(RUN) pytest tests/e2e --server $(DEFAULT_RELEASE) -k "$(END_TO_END)"
	@$(RUN) python -m tests.programs $(LIGHT)

test-light: lint programs ## Run lint, types and the tests that need no server
	@$(RUN) pytest $(LIGHT_SIDE_BY_SIDE) $(LIGHT)

test-servers: servers programs ## Run the tests with eight releases of vLLM; 36 minutes, 21 GB of disk
	@$(RUN) pytest $(SIDE_BY_SIDE) $(CONTRACT) -m older_release
	@$(RUN) pytest $(ALONE)
	@$(RUN) pytest $(SIDE_BY_SIDE) --no-loadscope-reorder tests/server --ignore $(CONTRACT) $(addprefix --ignore=,$(ALONE))

test-compose: setup ## Run the tests with real containers; needs Docker Engine and Compose
	@$(RUN) pytest tests/compose

test-boards: programs ## Draw the dashboards by Grafana's panels of three versions: GRAFANA="11.6.16 12.4.10 13.2.3"
	@KVCHAOS_GRAFANA="$${GRAFANA:-$$KVCHAOS_GRAFANA}" $(RUN) pytest tests/boards

test-grafana: programs ## Open the dashboards in Grafana's containers of three versions; needs Docker and its registry: GRAFANA=13.2.3
	@KVCHAOS_GRAFANA="$${GRAFANA:-$$KVCHAOS_GRAFANA}" $(RUN) python -m tests.grafana.grafana_images
	@KVCHAOS_GRAFANA="$${GRAFANA:-$$KVCHAOS_GRAFANA}" $(RUN) pytest tests/grafana

test-everything: test test-boards test-servers test-compose ## Run all tests but test-grafana

matrix: setup ## Run every scenario on every release, resumably: RELEASES="0.18.0 0.32.0", SCENARIOS=..., SHARD=2/5, KEEP=1
	@$(RUN) kvchaos matrix $(if $(RELEASES),--releases "$(RELEASES)") $(if $(SCENARIOS),--scenarios "$(SCENARIOS)") \
		$(if $(SHARD),--shard $(SHARD)) $(if $(KEEP),--keep) $(if $(RETRY),--retry) --page docs/releases.md

# The shell reads these variables, not make: in a workflow they come from outside, and make would expand a `$$(...)`.
nightly: setup ## Compare a build with a release, and write a page: FOR=20m SOAK=10m CANDIDATE=0.32.0 CONTROL=0.31.0 HISTORY=nights OUT=build/nightly IDLE=minutes
	@code=0; $(RUN) kvchaos nightly job "$${NIGHTLY:-examples/nightly.yaml}" --for "$${FOR:-20m}" \
		--candidate "$${CANDIDATE:-$(DEFAULT_RELEASE)}" --control "$${CONTROL:-$(CONTROL_RELEASE)}" \
		$${SOAK:+--soak "$$SOAK"} --history "$${HISTORY:-nights}" --out "$${OUT:-build/nightly}" --runs "$${RUNS:-runs}" \
		--repository "$${REPOSITORY:-.}" $${BRANCH:+--branch "$$BRANCH"} || code=$$?; \
	cost=0; [ -z "$$IDLE" ] || $(RUN) python -m benchmarks.idle_cost --server $(DEFAULT_RELEASE) --minutes "$$IDLE" \
		--runs "$${RUNS:-runs}/idle" --history "$${HISTORY:-nights}/idle-cost.jsonl" || cost=$$?; \
	[ $$code != 0 ] || [ $$cost = 2 ] || code=$$cost; exit $$code

nightly-fetch: setup ## Add the lines of the branch of the history to a folder: HISTORY=nights REPOSITORY=. BRANCH=kvchaos-history
	@$(RUN) kvchaos nightly fetch --history "$${HISTORY:-nights}" --repository "$${REPOSITORY:-.}" \
		--branch "$${BRANCH:-kvchaos-history}"

nightly-publish: setup ## Add the lines of the history to its branch: HISTORY=nights REPOSITORY=. BRANCH=kvchaos-history
	@$(RUN) kvchaos nightly publish --history "$${HISTORY:-nights}" --repository "$${REPOSITORY:-.}" \
		--branch "$${BRANCH:-kvchaos-history}"

aa: setup ## Measure false alarms: 30 runs without a fault or with conforming faults; VLLM=0.32.0
	@$(RUN) kvchaos server install $(VLLM)
	@$(RUN) kvchaos run --server $(VLLM) $(if $(SEED),--seed $(SEED)) --repeat $(or $(REPEAT),15) baseline-offload legal-swarm

bench-idle: setup ## Measure what the chaos module costs; VLLM=0.32.0 STATE=idle MINUTES=20, a quiet machine
	@$(RUN) kvchaos server install $(VLLM)
	@$(RUN) python -m benchmarks.idle_cost --server $(VLLM) --state $(or $(STATE),idle) --minutes $(or $(MINUTES),20)

bench-judge: setup ## Measure what judging a long run costs; a few minutes, 3 GB of disk
	@$(RUN) python -m benchmarks.judging_cost

load-ui: setup ## Send load by hand from Locust's page: HOST=http://127.0.0.1:8000 MODEL=tiny PROCESSES=1
	@echo "open http://127.0.0.1:$(or $(WEB_PORT),8089) in a browser"
	@$(RUN) locust -f loadtests/locustfile.py --host $(or $(HOST),http://127.0.0.1:8000) --served-model $(or $(MODEL),tiny) \
		--web-port $(or $(WEB_PORT),8089) $(if $(PROCESSES),--processes $(PROCESSES))

bench-trace: setup ## Replay a trace of a million lines a hundred times faster than recorded; 20 minutes, 1 GB of disk
	@$(RUN) python -m benchmarks.trace_replay

bench-client: setup ## Measure the load clients beside guidellm, aiperf and vllm bench serve; half an hour, 12 GB of disk
	@$(RUN) python -m benchmarks.clients

fuzz: setup ## Read mutants of every kind of input: KIND=histories, MUTANTS=10000, SEED=1
	@$(RUN) python -m tests.fuzz $(if $(KIND),--kind $(KIND)) --mutants $(or $(MUTANTS),1000) --seed $(or $(SEED),1)

lint: setup ## Check style and types
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy

format: setup ## Format the code, and fix what ruff can fix
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

doctor: setup ## Check this machine, and print the command that fixes each problem
	@$(RUN) kvchaos doctor

programs: setup ## Obtain Prometheus, amtool and Chromium for the tests
	@$(RUN) kvchaos tools install

panels: setup ## Make the bundles of Grafana's panels, from npm packages of 0.5 GB each: GRAFANA=13.2.3
	@KVCHAOS_GRAFANA="$${GRAFANA:-$$KVCHAOS_GRAFANA}" $(RUN) python -m tests.boards.panel_bundles

servers: setup ## Install the vLLM releases that the tests use
	@for release in $(TEST_RELEASES); do $(RUN) kvchaos server install $$release || exit; done

downloads: servers panels ## Install what the tests of several releases and the dashboards need

down: clean ## End Grafana and Prometheus that a run left up

clean: setup ## End the processes of killed runs, and remove their files
	@$(RUN) kvchaos clean

distclean: ## Remove all that make created in this folder, except the runs; the cache stays
	rm -rf $(TOOLS) .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Packages that kvchaos needs at run time. Installed development packages stay.
$(RUNTIME): uv.lock pyproject.toml $(UV)
	@$(UV) sync --quiet --frozen --no-dev --inexact $(if $(wildcard .venv/bin/python),,$(if $(PYTHON),--python "$(PYTHON)"))
	@touch $@

# uv is installed as a Python package: by the interpreter's pip, or by the pip of a new virtual environment.
$(UV):
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later found; install one, or give PYTHON=PATH" >&2; exit 3; }
	@rm -rf $(TOOLS)/draft && mkdir -p $(TOOLS)/draft
	@echo "fetching uv $(UV_VERSION)"
	@if "$(PYTHON)" -m pip --version >/dev/null 2>&1; then pip="$(PYTHON)"; \
	elif "$(PYTHON)" -m venv --clear $(TOOLS)/venv >/dev/null 2>&1; then pip=$(TOOLS)/venv/bin/python; \
	else echo "make: $(PYTHON) has neither pip nor venv; install one (Debian: apt install python3-venv)" >&2; exit 3; fi; \
	"$$pip" -m pip install --quiet --disable-pip-version-check --target $(TOOLS)/draft uv==$(UV_VERSION)
	@rm -rf $(TOOLS)/uv-$(UV_VERSION) && mv $(TOOLS)/draft $(TOOLS)/uv-$(UV_VERSION)
