# All development tasks. The targets install missing tools and dependencies.

export LEPTOS_SITE_ROOT ?= target/site
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

.PHONY: run demo quick build dist image site example test test-rust test-client test-browser pictures lighthouse mutants bench soak stress capacity watch lint format

run: quick
	target/release/aforo

# All of it alive on this machine until Ctrl+C: a test picture through nginx-rtmp, a crowd of simulated viewers, a site that
# embeds the player, and statistics with an hour of history.
demo: quick
	@bash scripts/setup.sh demo
	@node scripts/demo/main.mjs

# The server with the browser code inside, for a first look and for the browser tests: without link-time optimization.
quick:
	@bash scripts/build.sh quick

# The same, to deploy and to measure: target/release/aforo. The browser code alone is in target/site.
build:
	@bash scripts/build.sh

# What is deployed: a static program with its checksum and its list of components, in target/dist.
dist: site
	@bash scripts/setup.sh dist
	@bash scripts/dist.sh

# The container image of the static program, in target/image: built by podman and checked in containers. Needs root.
image: dist
	@bash scripts/setup.sh image
	@node scripts/image.mjs

# The files that browsers load: WebAssembly, JavaScript, styles and public files.
site:
	@bash scripts/setup.sh build
	@bash scripts/site.sh

# The examples of other apps, as the browser tests use them: a Leptos app in target/example and a Next.js app in
# target/next-app.
example:
	@bash scripts/setup.sh build
	@bash scripts/example.sh
	@bash scripts/next-app.sh

test: test-rust test-client test-browser

# The Rust tests: units, the store contract, HTTP, streams and the simulation. Most of them wait most of the time, so
# more of them run at once than there are processors.
test-rust: site
	@bash scripts/setup.sh test
	@RUST_TEST_THREADS=6 bash scripts/cargo.sh test --features bench

# The unit tests of the page scripts and of the capacity model.
test-client:
	@bash scripts/setup.sh build
	node client/test.mjs

# The pages in real browsers; and the syntax of scripts and styles against .browserslistrc.
test-browser: quick example
	@bash scripts/setup.sh test
	cd end2end && npm run baseline && npm test

# Takes pictures of the pages in their states, themes, sizes and languages, and in three browsers, to look at:
# target/pictures/index.html. DOCS=1 takes only those in docs/.
pictures: quick
	@bash scripts/setup.sh pictures
	cd end2end && DOCS=$(DOCS) npx playwright test --config pictures

# Fails if Lighthouse gives a page of the release build less than 100 as a phone or as a desktop.
lighthouse: build
	@bash scripts/setup.sh lighthouse
	@node scripts/lighthouse/main.mjs

# Applies known faults to the code, one at a time, and fails if the tests miss one. ONLY=name runs a single fault.
mutants: site
	@bash scripts/setup.sh test
	@node scripts/mutants.mjs $(ONLY)

# Measures throughput and latency; takes about six minutes. docs/performance.md explains the results.
bench: build
	@bash scripts/setup.sh bench
	@bash scripts/bench.sh $(BENCH)

# Opens and closes 100,000 connections (SOAK_CONNECTIONS) of all kinds, and fails if the server leaks a resource.
soak: build
	@bash scripts/setup.sh bench
	@bash scripts/bench.sh soak $(SOAK)

# Checks the invariants of the simulation against real servers with a real Redis or Redis Cluster, under faults. New
# rounds start for MINUTES (default 2). SEED=… repeats one round; TROUBLE=Killed and STORE=redis|cluster select rounds.
stress: build
	@bash scripts/setup.sh test
	@AFORO_PROGRAM=$(CURDIR)/target/release/aforo SEED=$(SEED) MINUTES=$(MINUTES) TROUBLE=$(TROUBLE) STORE=$(STORE) \
	  bash scripts/cargo.sh test --features bench --test stress

# Calculates what VIEWERS=… concurrent viewers take, and which limit is met first. docs/scale.md explains it; without
# VIEWERS it lists what else can be given. JSON=1 prints every figure.
capacity:
	@node scripts/capacity.mjs $(MAKEOVERRIDES)

# Rebuilds and reloads on every change; needs cargo-leptos, which brings wasm-bindgen.
watch:
	node client/build.mjs public
	cargo leptos watch

lint:
	@bash scripts/lint.sh

format:
	cargo fmt
	cargo fmt --manifest-path examples/leptos-app/Cargo.toml
	cargo fmt --manifest-path scripts/bindgen/Cargo.toml
	cd end2end && npx prettier --write . && npx prettier --config .prettierrc.json --write ../client ../examples/next-app \
	  '!../**/dist' '!../**/.next' '!../examples/next-app/tsconfig.json' '!../client/README.md'
