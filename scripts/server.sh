#!/usr/bin/env bash
# Builds the server, with target/site inside, as target/release/aforo, even if cargo's target folder is elsewhere.
# `server.sh quick` optimizes other crates less and leaves out link-time optimization: it builds in less than half of the
# time, and calls cost a fifth more.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

say "building the server"
options=()
if [ "${1:-}" = quick ]; then
  export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1
  options+=(--config profile.release.package.aforo.opt-level=3)
fi
cargo build --release --features embed-site "${options[@]}"
if [ "$CARGO_TARGET_DIR" != "$PWD/target" ]; then
  mkdir -p target/release
  # Whichever build was the last one. A running program is replaced, not overwritten.
  cmp -s "$CARGO_TARGET_DIR/release/aforo" target/release/aforo ||
    cp --remove-destination "$CARGO_TARGET_DIR/release/aforo" target/release/aforo
fi
