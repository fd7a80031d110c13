#!/usr/bin/env bash
# Makes what is deployed, in target/dist: `aforo`, a static program with the site inside; `aforo.cdx.json`, its components
# (CycloneDX); and SHA256SUMS, the checksums of both.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
# Debian's Rust, which may build the WebAssembly, has no target for static programs.
unset RUSTUP_TOOLCHAIN

dist=target/dist
say "building the static program ($STATIC_TARGET)"
export "CC_${STATIC_TARGET//-/_}=musl-gcc"
cargo build --locked --release --bin aforo --features embed-site --target "$STATIC_TARGET" \
  --config 'profile.release.strip = "symbols"'
rm -rf "$dist"
mkdir -p "$dist"
cp "$CARGO_TARGET_DIR/$STATIC_TARGET/release/aforo" "$dist/"
node scripts/check-dist.mjs "$dist/aforo"

say "listing its components"
# The tool writes beside Cargo.toml. The features are those of the program and of the WebAssembly inside it.
cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename aforo.cdx \
  --features embed-site,hydrate --target "$STATIC_TARGET"
node scripts/sbom.mjs aforo.cdx.json "$dist/aforo.cdx.json"
node tests/cyclonedx/validate.mjs "$dist/aforo.cdx.json"
rm aforo.cdx.json

(cd "$dist" && sha256sum aforo aforo.cdx.json > SHA256SUMS && sha256sum --check --quiet SHA256SUMS)
ls -l "$dist"
