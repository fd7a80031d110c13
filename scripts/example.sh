#!/usr/bin/env bash
# Builds the example of another Leptos app into target/example, as it is for a test: quickly, and not small.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

app=examples/leptos-app
say "building the example, $app"
# In the same folder as everything else, so that macros are compiled once for this and for the tests.
cargo build --locked --manifest-path $app/Cargo.toml --target wasm32-unknown-unknown
rm -rf target/example
mkdir -p target/example
aforo-bindgen web "$CARGO_TARGET_DIR/wasm32-unknown-unknown/debug/leptos-app.wasm" target/example leptos-app
cp $app/index.html target/example/
