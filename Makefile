# Poolwright. `make` lists the targets; `make demo` and `make test` need nothing but a Rust toolchain.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

STACK ?= axum
PORT ?= 3000
# Where the running fleet is shown.
OBSERVE ?= 127.0.0.1:7665
export ORDER_DESK_LISTEN ?= 127.0.0.1:$(PORT)
POOLWRIGHT := target/release/poolwright
TOOLS := tools/node_modules/.package-lock.json
# The pinned Node and npm, once they are there; the system's npm only installs them.
export PATH := $(CURDIR)/tools/node_modules/.bin:$(PATH)
NODE_MODULES := apps/sveltekit/node_modules/.package-lock.json
# One selection for both stacks: another one would have other features, and build every dependency again.
BUILD_RELEASE := cargo build --release -p poolwright -p order-desk-axum
POSTGRES_VERSIONS := tests/postgres/node_modules/.package-lock.json
PAGE := apps/sveltekit/build/handler.js
PAGE_SOURCES := $(shell find apps/sveltekit/src apps/sveltekit/static apps/sveltekit/prisma -type f -not -path '*/generated/*' 2>/dev/null) \
	apps/sveltekit/package.json apps/sveltekit/vite.config.ts

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: demo-$(STACK) ## Run the fleet on an embedded Postgres (STACK=axum or sveltekit, PORT=3000)

.PHONY: demo-axum
demo-axum: setup-postgres
	$(BUILD_RELEASE)
	$(POOLWRIGHT) --file apps/axum/poolwright.toml up --observe $(OBSERVE)

.PHONY: demo-sveltekit
demo-sveltekit: setup-postgres $(PAGE)
	$(BUILD_RELEASE)
	$(POOLWRIGHT) --file apps/sveltekit/poolwright.toml up --observe $(OBSERVE)

.PHONY: test
test: setup lint build ## Do all the set-up and run every test
	RUST_BACKTRACE=0 cargo nextest run --workspace --no-fail-fast
	cargo test --workspace --doc --quiet
	cd apps/sveltekit && npm test

.PHONY: soak
soak: setup build ## Reload under load for longer: 20 times, 100,000 requests, on both stacks
	POOLWRIGHT_TEST_LONG=1 RUST_BACKTRACE=0 cargo nextest run --workspace --profile soak --no-fail-fast -j 1 -E 'test(rolling_reloads)'

.PHONY: lint
lint: setup-tools $(NODE_MODULES) ## Check format, lints, dependency rules, licences and types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings
	scripts/check-dependencies
	cargo deny --log-level error check bans licenses sources
	cd apps/sveltekit && npm run check

.PHONY: build
build: $(PAGE) ## Build the tests and everything that they run
# In one go: they share the processors better than one after the other.
	cargo build --workspace --bins --tests

.PHONY: chaos
chaos: setup $(PAGE) ## Do things to a loaded fleet at random, both stacks (MINUTES=10 for each, SEED=… to play one again, STACK=…)
	cargo build --workspace --bins
	target/debug/chaos

.PHONY: fuzz
fuzz: ## Throw arbitrary manifests, ecosystem files and environments at what reads them (MINUTES=1 for each)
	@scripts/setup fuzz
	scripts/fuzz $(or $(MINUTES),1)

.PHONY: bench
bench: setup $(PAGE) ## Measure both stacks side by side and write docs/benchmarks.md (PARTS='limits tenants' for some of it)
	cargo build --release --workspace --bins
	target/release/bench $(PARTS)

.PHONY: setup
setup: ## Install what is missing
# Debian's packages first, which only one can install at a time; then crates, which are built, beside npm's packages, which are waited for.
	@scripts/setup postgres browser clock node
	@$(MAKE) --no-print-directory --jobs 2 setup-tools $(NODE_MODULES) $(POSTGRES_VERSIONS)

.PHONY: setup-postgres
setup-postgres:
	@scripts/setup postgres

.PHONY: setup-tools
setup-tools:
	@scripts/setup tools

$(TOOLS): tools/package.json tools/package-lock.json
	@scripts/setup node
	cd tools && npm ci --no-audit --no-fund
	@touch $@

$(NODE_MODULES): $(TOOLS) apps/sveltekit/package.json apps/sveltekit/package-lock.json
	cd apps/sveltekit && npm ci --no-audit --no-fund
	@touch $@

$(POSTGRES_VERSIONS): $(TOOLS) tests/postgres/package.json tests/postgres/package-lock.json
	cd tests/postgres && npm ci --no-audit --no-fund
	@touch $@

$(PAGE): $(NODE_MODULES) $(PAGE_SOURCES)
	cd apps/sveltekit && npm run build
	@touch $@

.PHONY: clean
clean: ## Remove what was built (databases of the demo stay)
	cargo clean
	rm -rf apps/sveltekit/build apps/sveltekit/.svelte-kit apps/sveltekit/node_modules tests/postgres/node_modules tools/node_modules artifacts
