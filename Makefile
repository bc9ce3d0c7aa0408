# Two commands do everything: `make run` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

SOURCES := Cargo.toml Cargo.lock module/Cargo.toml scripts/build-wasm.sh scripts/slim-wasm.sh $(shell find module/src src -name '*.rs')

.PHONY: help setup build image run test test-faults test-matrix test-docker test-release soak fuzz bench bench-registry dashboard-picture release lint clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: ## Install what is missing: a C compiler, the wasm target, Envoy, PostgreSQL, Prometheus, PHP, Chromium, wrk
	@scripts/setup.sh all

build: dist/keystile.wasm ## Build dist/keystile.wasm

dist/keystile.wasm: $(SOURCES)
	@scripts/setup.sh build
	@scripts/build-wasm.sh

# A module with failpoints, at which a test can end its VM. It is not shipped.
FAILPOINTS := target/faults/keystile-failpoints.wasm

$(FAILPOINTS): $(SOURCES)
	@scripts/setup.sh build
	@scripts/build-wasm.sh $@ failpoints

image: build ## Build the module's OCI image for Istio and Envoy Gateway in dist/keystile-oci; IMAGE, ENGINE (docker, umoci)
	@scripts/image.sh

run: setup build ## Start registry, upstream and Envoy with keys to try; Ctrl-C stops them
	@cargo build --locked --quiet --package keystile-registry --package keystile-e2e --bins
	@exec target/debug/keystile-stack

test: setup build $(FAILPOINTS) ## Run the tests: native ones, and end-to-end ones with a real Envoy
	@scripts/setup.sh lint
	@scripts/setup.sh programs minisign
	@cargo build --locked --package keystile-registry
	cargo test --locked --workspace

test-faults: setup build $(FAILPOINTS) ## Run all fault and abuse cases, including the long ones; FILTER (part of a name)
	cargo test --locked --package keystile-e2e --test faults -- --include-ignored $(if $(FILTER),"$(FILTER)")

soak: setup build ## Run all kinds of traffic with one fault after another and new configurations; MINUTES (10)
	SOAK_MINUTES=$(or $(MINUTES),10) cargo test --locked --package keystile-e2e --test faults -- --include-ignored --exact soak

test-matrix: setup build ## Run the end-to-end tests on each Envoy in envoy/versions, and write docs/compatibility.md; VERSIONS, FILTER
	@scripts/test-matrix.sh

test-docker: setup build ## Test the containers with Docker; COMPOSE ("docker compose", docker-compose)
	@scripts/base-images.sh cargo test --locked --package keystile-e2e --test docker

fuzz: ## Fuzz the parsers of configurations, requests and responses, and the verdicts; SECONDS (per target, 60), TARGET
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGET)

bench: setup build ## Measure what the filter costs in Envoy, and write docs/benchmarks.md; ROUNDS, AGAINST (another module)
	@cargo build --locked --quiet --release --package keystile-bench
	@exec target/release/keystile-bench run --rounds $(or $(ROUNDS),30) $(if $(AGAINST),--against $(AGAINST))

bench-registry: setup ## Measure the registry's lookups; KEYS, ROUNDS, BURST (seconds), CONNECTIONS
	cargo bench --locked --package keystile-registry --bench lookups

dashboard-picture: setup build ## Draw docs/dashboard.svg from five minutes of a real stack; needs two idle processors
	@cargo build --locked --quiet --package keystile-registry --package keystile-e2e --bins
	@exec target/debug/keystile-dashboard-picture

release: ## Make a release in dist/: module, checksum, bill of materials, licences, provenance; SIGN, MINISIGN_KEY
	@scripts/release.sh

test-release: ## Make a release twice with a temporary key; check that the bytes are the same and every change is detected; FILTER
	cargo test --locked --package keystile-e2e --test supply -- --ignored --test-threads=1 $(FILTER)

lint: ## Check formatting, clippy and rustdoc without warnings, and the crates' licences, origins and advisories
	@scripts/setup.sh lint
	@cargo fmt --version && cargo clippy --version || \
		{ echo "lint needs rustfmt and clippy: rustup component add rustfmt clippy" >&2; exit 1; }
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps --document-private-items
	@scripts/check-crates.sh
	@scripts/base-images.sh --list | grep 'NOT PINNED' || true

clean: ## Remove everything that was built, but not .tools
	rm -rf target dist
