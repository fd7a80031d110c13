#!/usr/bin/env bash
# Measures the release build with the load kit (benches/load), which starts and stops the servers that it needs.
#
#   bash scripts/bench.sh                        all scenarios, for a bounded time
#   bash scripts/bench.sh rates --seconds 10     one scenario with its options
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

say "building the load kit"
cargo build --release --features bench --bin aforo-load
# As many connections as the system allows.
ulimit -n "$(ulimit -Hn)"
exec "$CARGO_TARGET_DIR/release/aforo-load" "$@"
