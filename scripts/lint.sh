#!/usr/bin/env bash
# Checks formatting, clippy for server and browser code, documentation, dependencies and types. Warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
# Clippy and rustfmt come only with rustup's toolchain. If the build uses another one, lint in a separate target folder.
if [ -n "${RUSTUP_TOOLCHAIN:-}" ]; then
  unset RUSTUP_TOOLCHAIN
  export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/lint
fi

say "formatting"
cargo fmt --check
cargo fmt --check --manifest-path examples/leptos-app/Cargo.toml
cargo fmt --check --manifest-path scripts/bindgen/Cargo.toml
say "clippy: server, tests and load kit"
# The site inside the program may be empty here.
mkdir -p target/site
cargo clippy --all-targets --features bench,embed-site -- -D warnings
# --all-targets leaves out targets with test = false.
cargo clippy --test stress --features bench,embed-site -- -D warnings
say "clippy: browser code"
cargo clippy --lib --no-default-features --features hydrate -- -D warnings
say "clippy: the crate for other apps, and the example app"
cargo clippy --lib --no-default-features -- -D warnings
cargo clippy --locked --manifest-path examples/leptos-app/Cargo.toml -- -D warnings
cargo clippy --locked --manifest-path scripts/bindgen/Cargo.toml -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib --document-private-items
bash scripts/setup.sh lint
say "dependencies: licenses, sources, versions"
cargo-deny --log-level error check licenses sources bans
say "dependencies: known vulnerabilities"
if cargo-deny fetch db; then
  cargo-deny --log-level error check advisories
else
  say "SKIPPED: the advisory database (github.com/RustSec/advisory-db) can't be downloaded"
fi
say "known faults: patches that apply"
for patch in tests/mutants/*.patch; do
  git apply --check "$patch"
done
say "page scripts and end-to-end tests: formatting and types"
bash scripts/setup.sh test
cd end2end
npx prettier --check .
npx prettier --config .prettierrc.json --ignore-path .prettierignore --check ../client ../examples/next-app \
  '!../**/dist' '!../**/.next' '!../examples/next-app/tsconfig.json' '!../client/README.md'
npx tsc --noEmit -p ../client
npx tsc --noEmit
