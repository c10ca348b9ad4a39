# Every target is one command on a fresh machine: what is missing is installed first.
# `## text` after a target is its line in `make help`.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# A Rust or vegeta that `make setup` has just installed is not on the caller's PATH yet; one that is
# there wins.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(PATH):$(CARGO_HOME)/bin:$(CURDIR)/target/tools/bin

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Flags of `redis-api local`: make run ARGS='--rate 5000'
ARGS ?=

.PHONY: run
run: setup ## Run the whole rig on this machine: Redis, API, load and dashboard; Ctrl-C ends it
	@cargo build --release --locked
	@exec target/release/redis-api local $(ARGS)

.PHONY: test
test: setup ## Run all tests, those with real Redis servers included
	cargo test --locked

.PHONY: bench
bench: setup ## Run the benchmarks
	# Not the unit tests too, each of which `cargo bench` would list as ignored.
	cargo bench --locked --bench '*'

.PHONY: bench-check
bench-check: setup ## Count what the codec, a connection and a request cost, against the baselines
	cargo bench --locked --bench instructions --bench requests -- --check

.PHONY: lint
lint: setup ## Check formatting and lints
	scripts/lint.sh

.PHONY: setup
setup: ## Install what is missing: Redis, a C compiler, Chromium, Rust, vegeta
	@scripts/setup.sh

# A Kubernetes of one node on this machine: tests/cluster/README.md. (make's own exit status says
# nothing of why; the scripts' does: 77 where the machine can't run one.)
.PHONY: images
images: setup ## Build the images, without Docker and without a registry (Linux, root)
	@tests/cluster/images/build.sh

.PHONY: cluster
cluster: ## Bring up a Kubernetes of one node with these images (Linux, root; 10 minutes at first)
	@tests/cluster/node/up.sh

# `make cluster-test CLUSTER=current IMAGE=… LOADBOT_IMAGE=…`: on what kubectl points at.
.PHONY: cluster-test
cluster-test: setup ## Show the deployment on that cluster; CLUSTER=current: on kubectl's (15 minutes)
	@tests/cluster/suite/run.sh core

.PHONY: cluster-prove
cluster-prove: setup ## What is slow: rotation, autoscaling, and what the talk's two sessions cost
	@tests/cluster/suite/run.sh prove

.PHONY: cluster-down
cluster-down: ## End it; nothing of it stays but what was built
	@tests/cluster/node/down.sh

# `make mutants SHARD=3/40`: a fortieth of them; SHARD=0/1: all.
SHARD ?= 0/40

.PHONY: mutants
mutants: ## Change the codec and the connection in small ways, and see whether the tests notice
	@cargo mutants --version >/dev/null 2>&1 || cargo install cargo-mutants --locked
	cargo mutants --package redis-api-wire --baseline skip --shard $(SHARD) --output target

.PHONY: sbom
sbom: ## List what the image api is built from, in CycloneDX: target/sbom.cdx.json
	@mkdir -p target
	@scripts/sbom.py > target/sbom.cdx.json
	@echo target/sbom.cdx.json

.PHONY: ci
ci: lint test slow ## Everything that must pass before a merge

.PHONY: faults
faults: setup ## Break servers, links and names under load, and check every answer (5 minutes)
	cargo test --locked --test faults

# SOAK_MINUTES says for how long, if not for an hour.
.PHONY: soak
soak: setup ## The same for an hour, with a fault every minute
	FAULTS_RECORD=1 cargo test --locked --test faults -- --include-ignored --exact --nocapture soak::a_fault_every_minute

.PHONY: fuzz
fuzz: setup ## Search for inputs that break the parsers (4 hours)
	scripts/fuzz-smoke.sh --long

.PHONY: prove
prove: setup ## All faults, and the long simulations; goes on where it was stopped (30 minutes)
	scripts/prove.sh

# What is too slow for every `make test`.
.PHONY: slow
slow: setup
	# First, while what `make test` has built is as it was: 5 minutes.
	cargo test --locked --test faults
	# Runs each bench once: every one checks its answers before it measures.
	cargo test --locked --benches
	# The slim build's own tests, and some that show it serves. With all packages selected, as above,
	# the dependencies are those that `make test` has built: this takes a minute.
	cargo test --locked --no-default-features --bin redis-api --test cli
	cargo test --locked --no-default-features --test e2e -- http_api:: drain:: sync_auth::
	@if [ -x scripts/fuzz-smoke.sh ]; then scripts/fuzz-smoke.sh; fi
