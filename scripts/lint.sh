#!/usr/bin/env bash
# Formatting, clippy for both halves, documentation, and what is depended on; warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
# Clippy and rustfmt come with rustup's toolchain only, so it is the one that lints, in a folder of its own if the build
# uses another.
if [ -n "${RUSTUP_TOOLCHAIN:-}" ]; then
  unset RUSTUP_TOOLCHAIN
  export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/lint
fi

say "formatting"
cargo fmt --check
cargo fmt --check --manifest-path examples/leptos-app/Cargo.toml
say "clippy: the server half with its tests and the load kit"
cargo clippy --all-targets --features bench -- -D warnings
# A target with test = false is not among all targets.
cargo clippy --test stress --features bench -- -D warnings
say "clippy: the browser half"
cargo clippy --lib --no-default-features --features hydrate -- -D warnings
say "clippy: what other apps get, and the example of one"
cargo clippy --lib --no-default-features -- -D warnings
cargo clippy --locked --manifest-path examples/leptos-app/Cargo.toml -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib --document-private-items
bash scripts/setup.sh lint
say "dependencies: licences, sources, versions"
cargo-deny --log-level error check licenses sources bans
say "dependencies: known vulnerabilities"
if cargo-deny fetch db; then
  cargo-deny --log-level error check advisories
else
  say "NOT LOOKED FOR: the database (github.com/RustSec/advisory-db) can't be fetched from here"
fi
say "scripts of pages and end-to-end tests: formatting and types"
bash scripts/setup.sh test
cd end2end
npx prettier --check .
npx prettier --config .prettierrc.json --ignore-path .prettierignore --check ../client
npx tsc --noEmit -p ../client
npx tsc --noEmit
