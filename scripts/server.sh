#!/usr/bin/env bash
# Builds the server: `server.sh library` its library, `server.sh program` the program, with target/site inside, as
# target/release/aforo, even if cargo's target folder is elsewhere.
# With `quick` as the second argument, it optimizes other crates less and leaves out link-time optimization: that takes less
# than half of the time, and calls cost a fifth more.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

options=(--release --features embed-site)
if [ "${2:-}" = quick ]; then
  export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1
  options+=(--config profile.release.package.aforo.opt-level=3)
  # Large crates that run at the start, in the background or not at all.
  for crate in clap_builder jiff libsqlite3-sys opentelemetry-proto opentelemetry_sdk ratatui-core ratatui-widgets \
    regex-automata regex-syntax reqwest sqlx-core sqlx-postgres sqlx-sqlite web-sys; do
    options+=(--config "profile.release.package.$crate.opt-level=0")
  done
fi
say "building the server ($1)"
if [ "$1" = library ]; then
  # The site is compiled at the same time: one progress bar is enough.
  exec env CARGO_TERM_PROGRESS_WHEN=never cargo build --lib "${options[@]}"
fi
cargo build --bin aforo "${options[@]}"
if [ "$CARGO_TARGET_DIR" != "$PWD/target" ]; then
  mkdir -p target/release
  # Whichever build was the last one. A running program is replaced, not overwritten.
  cmp -s "$CARGO_TARGET_DIR/release/aforo" target/release/aforo ||
    cp --remove-destination "$CARGO_TARGET_DIR/release/aforo" target/release/aforo
fi
