#!/usr/bin/env bash
# Builds the server, with target/site inside, as target/release/aforo, even if cargo's target folder is elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

say "building the server"
cargo build --release --features embed-site
if [ "$CARGO_TARGET_DIR" != "$PWD/target" ]; then
  mkdir -p target/release
  cp -u "$CARGO_TARGET_DIR/release/aforo" target/release/aforo
fi
