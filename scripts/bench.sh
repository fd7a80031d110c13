#!/usr/bin/env bash
# Measures the release build with the load kit (benches/load), which starts and ends all that it needs. Without arguments
# a bounded run of everything; with them a scenario and its options, as in `bash scripts/bench.sh rates --seconds 10`.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

say "building the load kit"
cargo build --release --features bench --bin aforo-load
# As many streams as the system allows.
ulimit -n "$(ulimit -Hn)"
exec "$CARGO_TARGET_DIR/release/aforo-load" "$@"
