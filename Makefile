# The commands of the README. Each does its own set-up; what it makes is kept in .venv and ~/.cache/virtualip.
# On Debian: root (the nodes are network namespaces), Python >= 3.11, Go. `make demo KUBECONFIG=...` needs neither root nor Go.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash

# A KUBECONFIG that merely is in the environment is somebody's real cluster: only one that was asked for here counts.
ifneq ($(origin KUBECONFIG),command line)
override KUBECONFIG :=
unexport KUBECONFIG
endif

export PYTHONPATH := tests/support:tests/cluster:tests/bench:deploy/demo:deploy/bundle

.PHONY: help demo demo-down test test-long test-unit test-netns test-cluster simulate fuzz mutants check bench bench-docs scale format lock image install-yaml chart clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: requirements/dev.txt pyproject.toml
	@echo "-- virtual environment"
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: $(VENV)/installed ## S1 on three real nodes: apply, fail over, power cut (KEEP=1 leaves it up; KUBECONFIG=... your cluster)
	@$(BIN)/python -m demo $(if $(KEEP),--keep) $(if $(KUBECONFIG),--kubeconfig "$(KUBECONFIG)") $(if $(VIP),--vip "$(VIP)") $(if $(IMAGE),--image "$(IMAGE)")

demo-down: $(VENV)/installed ## remove what `make demo KEEP=1` left
	@$(BIN)/python -m demo --down

check: $(VENV)/installed ## format, lint, types, the walls between the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests deploy/demo deploy/bundle
	$(BIN)/lint-imports

# What measures time, on nodes and on wires, has the machine to itself; the rest runs two at a time, a file in one lane.
LANES ?= -n 2 --dist loadfile --no-loadscope-reorder
test: $(VENV)/installed test-packages test-programs ## all tests but those of test-long
	$(BIN)/python -m pytest $(LANES) -m "not long" tests/simulation tests/unit $(PYTEST)
	$(BIN)/python -m pytest -m "not long" tests/cluster tests/netns tests/wire $(PYTEST)

test-long: $(VENV)/installed test-packages test-programs ## the tests that need minutes each: upgrades under load (PREVIOUS=a git revision: from and to that), ways to install
	PREVIOUS="$(PREVIOUS)" $(BIN)/python -m pytest -s -m long $(PYTEST)

test-unit: $(VENV)/installed ## the tests that need no network namespace and no cluster
	$(BIN)/python -m pytest tests/unit tests/simulation $(PYTEST)

HOURS ?= 1000
SEED  ?= 1
simulate: $(VENV)/installed ## HOURS=1000 of faults on a virtual LAN (SEED=1), a failing episode shrunk and printed
	$(BIN)/python -m simulator --hours $(HOURS) --seed $(SEED)

PACKETS ?= 1000000
fuzz: $(VENV)/installed ## PACKETS=1000000 random and mutated packets at the receive path (SEED=1)
	@$(BIN)/python -m fuzz --packets $(PACKETS) --seed $(SEED)

mutants: $(VENV)/installed ## mistakes made on purpose in the core, and which tests find each
	@$(BIN)/python -m mutants

test-netns: $(VENV)/installed test-packages ## the engine in network namespaces, and its bytes on a wire
	$(BIN)/python -m pytest tests/netns tests/wire $(PYTEST)

test-cluster: $(VENV)/installed test-packages test-programs ## on the test cluster, or with KUBECONFIG=... on yours
	$(BIN)/python -m pytest tests/cluster -m "not long" $(PYTEST)

.PHONY: test-packages test-programs
test-packages: $(VENV)/installed
	@[ $$(id -u) != 0 ] || $(BIN)/python -c 'from barecluster.packages import ensure_packages; ensure_packages(["frr", "iproute2", "iptables", "keepalived", "nftables", "tcpdump", "tshark"])'

# Kubernetes' programs take minutes the first time: longer than a test may.
test-programs: $(VENV)/installed
	@[ -n "$(KUBECONFIG)" ] || { [ -n "$(KUBEBUILDER_ASSETS)" ] && [ $$(id -u) != 0 ]; } || \
	  ! command -v go >/dev/null || $(BIN)/python -m barecluster build

bench: $(VENV)/installed ## beside keepalived, on a quiet machine: table, JSON and plot in build/bench (QUICK=1: some minutes)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-docs: ## what the last `make bench` wrote, into docs/performance.md
	@$(BIN)/python -m bench_docs

scale: $(VENV)/installed test-programs ## a real API server and operator with 1,000 simulated agents (NODES=1000 VIPS=250); figures in build/scale
	@$(BIN)/python -m scale $(if $(NODES),--nodes $(NODES)) $(if $(VIPS),--vips $(VIPS)) $(if $(DEAD),--dead $(DEAD))

image: $(VENV)/installed ## the image, without a registry or an engine; prints its archive
	@$(BIN)/python -m barecluster image

install-yaml: $(VENV)/installed ## build/install.yaml: everything for kubectl apply -f (IMAGE=registry/virtualip:v1, OVERLAY=host-files)
	@$(BIN)/python -m bundle install-yaml $(if $(IMAGE),--image "$(IMAGE)") $(if $(OVERLAY),--overlay "$(OVERLAY)")

chart: $(VENV)/installed ## build/chart/virtualip: the Helm chart, from the same manifests
	@$(BIN)/python -m bundle chart

format: $(VENV)/installed ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --python-platform x86_64-unknown-linux-gnu
lock: $(VENV)/installed ## write the locked requirements anew
	$(BIN)/pip install --quiet uv
	$(COMPILE) --no-emit-package virtualip --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --extra agent --extra operator pyproject.toml -o requirements/image.txt
	echo 'hatchling>=1.27' | $(COMPILE) - -o requirements/build.txt

clean: ## remove the virtual environment (the caches stay)
	rm -rf $(VENV)
