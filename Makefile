# `make` lists the targets. `make demo` and `make test` do all their set-up themselves.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/docket
export CARGO_TARGET_DIR ?= $(CACHE)/target
export DOCKET_MODELS ?= $(CACHE)/models
export CARGO_TERM_COLOR ?= auto

# One selection of crates and targets for everything: another selection would unify features differently and build
# hundreds of crates a second time.
SELECTION := --release --locked --workspace
BIN := $(CARGO_TARGET_DIR)/release
DOCKET := $(BIN)/docket
CORPUS := $(BIN)/docket-demo-corpus

# The two small models that the demonstration and the tests use.
MODELS := minilm smollm2-135m-instruct

# The version of crates, charts and images.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

DEMO := .demo
SAMPLE := config/samples/licence-review.yaml

.PHONY: help setup build models servers images demo cluster cluster-down test e2e fmt lint crds charts golden faults \
	control-faults bench-queue bench-scaler bench clean-demo

help: ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /\1\t/' | \
		while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: ## Installs what the build needs and the machine lacks, or names the command
	@scripts/setup.sh

build: setup ## Builds everything, tests included
	cargo build $(SELECTION) --all-targets

models: build
	@$(DOCKET) model pull $(MODELS)

servers: ## Fetches or installs the servers and the client that some tests talk to; without them those tests skip
	@scripts/nats-server.sh
	@scripts/redis-server.sh
	@scripts/postgres-server.sh
	@scripts/python-openai.sh

demo: models ## Reviews the licences of all dependencies: a few minutes after the build
	@CORPUS=$(CORPUS) DOCKET=$(DOCKET) DEMO=$(DEMO) SAMPLE=$(SAMPLE) scripts/demo.sh

images: models ## Makes the images of operator, agents and broker as OCI archives (needs root)
	@scripts/setup-cluster.sh
	@scripts/images.sh

cluster: images ## The demonstration on a real Kubernetes, which it brings up on this machine (needs root)
	@e2e/cluster/up.sh
	@CORPUS=$(CORPUS) DOCKET=$(DOCKET) DEMO=$(DEMO) SAMPLE=$(SAMPLE) VERSION=$(VERSION) e2e/cluster/demo.sh

cluster-down: ## Ends that Kubernetes and removes everything of it
	@e2e/cluster/down.sh

test: models servers ## Runs everything that passes or fails
	@scripts/test.sh $(SELECTION)

e2e: images servers ## Runs the user stories on a real Kubernetes of their own (needs root); E2E_KEEP=1 leaves it, E2E_STORY=NAME picks
	@e2e/cluster/e2e.sh $(SELECTION)

fmt: ## Formats the code
	cargo fmt --all

lint: ## Runs clippy on our crates, with the dependencies as they were built
	RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__ cargo build $(SELECTION) --all-targets

crds: build ## Writes config/crd/ from the API types, and the copies that the chart holds
	$(BIN)/crds
	cp config/crd/*.docket.dev.yaml charts/docket-crds/files/

charts: ## Checks charts, config/ and what ships with them, without a cluster (scripts/charts.sh writes what is generated)
	@scripts/charts-test.sh

golden: build ## Makes the reference outputs of other engines again (needs network)
	@$(DOCKET) model pull $(MODELS) gemma3-270m
	@scripts/golden.sh

faults: build ## Breaks a running system on purpose: every case, then 100,000 documents; ARGS="--documents 2000" is short
	@scripts/nats-server.sh
	@scripts/s3-server.sh || echo "without an S3 server, its cases skip"
	@mkdir -p .reports
	$(BIN)/docket-faults all --documents 100000 --faults 250 --workers 4 --pause 4000 --passes 4000 --at-once 48 \
		--drain 900 --markdown .reports/faults.md $(ARGS) > .reports/faults.json
	@cat .reports/faults.md

control-faults: build ## Breaks the operator's world by plan on an API server with fake nodes: half an hour; ARGS="--short" is short
	@scripts/setup-cluster.sh
	@scripts/nats-server.sh
	@mkdir -p .reports
	@e2e/cluster/up.sh --name control-faults --kwok 4
	@status=0; e2e/cluster/run.sh --name control-faults $(BIN)/docket-control-faults --markdown .reports/control-faults.md $(ARGS) \
		> .reports/control-faults.json || status=$$?; \
		e2e/cluster/down.sh --name control-faults; cat .reports/control-faults.md; exit $$status

bench-queue: models ## Measures what the queue costs, beside JetStream alone: a few minutes; ARGS="--rounds 3" is quicker
	@scripts/nats-server.sh
	@mkdir -p .reports
	@$(BIN)/docket-measure --markdown .reports/queue.md $(ARGS) > .reports/queue.json
	@cat .reports/queue.md

bench-scaler: build ## Compares the autoscaler with others on traces: most of an hour; writes the tables of docs/autoscaling-comparison.md; GRID=FILE takes another grid
	@$(BIN)/docket-simulate --grid $(or $(GRID),bench/scaler/grid.json) --markdown docs/autoscaling-comparison.md

bench: models ## Compares with ONNX Runtime, llama.cpp and a Python twin; ARGS=--quick takes a few minutes
	@DOCKET=$(DOCKET) scripts/bench.sh $(ARGS)

clean-demo: ## Removes the demonstration's state and results
	rm -rf $(DEMO)
