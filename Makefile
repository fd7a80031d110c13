# Everything there is to do. On a fresh machine `make run` and `make test` install what they miss.

export LEPTOS_SITE_ROOT ?= target/site
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

.PHONY: run build site example test test-rust test-client test-browser mutants bench soak stress watch lint format

run: build
	target/release/aforo

# Both halves: target/release/aforo and target/site.
build: site
	@bash scripts/server.sh

# What browsers load: WebAssembly, JavaScript, styles and public files.
site:
	@bash scripts/setup.sh build
	@bash scripts/site.sh

# The example of another Leptos app, as the browser tests use it: target/example.
example:
	@bash scripts/setup.sh build
	@bash scripts/example.sh

test: test-rust test-client test-browser

# Unit tests, the store contract, HTTP and streams.
test-rust: site
	@bash scripts/setup.sh test
	@bash scripts/cargo.sh test --features bench

# The rules of the scripts that pages load.
test-client:
	@bash scripts/setup.sh build
	node client/test.mjs

# The pages in a real browser, against the release build; and what the build holds, against the oldest browsers.
test-browser: build example
	@bash scripts/setup.sh test
	cd end2end && npm run baseline && npm test

# Puts known faults back into the code, one at a time, and fails if the tests miss one. ONLY=name for one of them.
mutants: site
	@bash scripts/setup.sh test
	@node scripts/mutants.mjs $(ONLY)

# What it can do, in figures; about six minutes. docs/performance.md says how to read them.
bench: build
	@bash scripts/setup.sh bench
	@bash scripts/bench.sh $(BENCH)

# Opens and ends 100,000 connections (SOAK_CONNECTIONS) of all kinds, and fails if anything is not given back.
soak: build
	@bash scripts/setup.sh bench
	@bash scripts/bench.sh soak $(SOAK)

# Runs the invariants of the simulation against the real program, a real Redis and a real cluster, with faults. Rounds are
# started for MINUTES (2). SEED=… repeats one round; TROUBLE=Killed and STORE=redis|cluster select what is tried.
stress: build
	@bash scripts/setup.sh test
	@AFORO_PROGRAM=$(CURDIR)/target/release/aforo SEED=$(SEED) MINUTES=$(MINUTES) TROUBLE=$(TROUBLE) STORE=$(STORE) \
	  bash scripts/cargo.sh test --features bench --test stress

# Rebuilds and reloads at every change; needs cargo-leptos.
watch:
	node client/build.mjs public
	cargo leptos watch

lint:
	@bash scripts/lint.sh

format:
	cargo fmt
	cargo fmt --manifest-path examples/leptos-app/Cargo.toml
	cd end2end && npx prettier --write . && npx prettier --config .prettierrc.json --write ../client
