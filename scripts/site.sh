#!/usr/bin/env bash
# Builds the browser half into target/site: WebAssembly, its JavaScript, styles and public files, each also compressed.
# Nothing is done when nothing has changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

site=target/site
pkg=$site/pkg
wasm=$CARGO_TARGET_DIR/wasm32-unknown-unknown/wasm-release/aforo.wasm
tools=scripts/node_modules/.bin

say "building the browser half (WebAssembly)"
# One crate type alone, so that link-time optimisation is done.
cargo rustc --lib --crate-type cdylib --profile wasm-release --target wasm32-unknown-unknown \
  --no-default-features --features hydrate

# What went in and, since cargo-leptos writes to the same place, what came out.
stamp() {
  cat "$wasm" style/main.css public/* client/src/*.ts client/src/*/*.ts client/package-lock.json .browserslistrc \
    scripts/site.sh scripts/*.mjs "$pkg"/* | sha256sum
}
if [ -f "$site/.stamp" ] && [ "$(cat "$site/.stamp")" = "$(stamp)" ]; then
  say "target/site is up to date"
  exit 0
fi

say "making target/site"
rm -rf "$site"
mkdir -p "$pkg"
bindings=$(mktemp -d)
trap 'rm -rf "$bindings"' EXIT
wasm-bindgen --target bundler --keep-debug --no-typescript --out-dir "$bindings" --out-name aforo "$wasm"
node scripts/shrink.mjs "$bindings" "$pkg"
node scripts/styles.mjs style/main.css "$pkg/aforo.css"
cp -r public/. "$site/"
script() { "$tools/esbuild" --minify --format=esm --charset=utf8 --log-level=warning --target="$target" --outdir="$site" "$@"; }
target=$(node scripts/baseline.mjs)
script --allow-overwrite "$site"/*.js
# What only some pages need is a file of its own, with a hash in its name: hls.js.
script --bundle --splitting --chunk-names='[name]-[hash]' client/src/player.ts client/src/share.ts
cp client/node_modules/hls.js/LICENSE "$site/hls.js.LICENSE.txt"
node scripts/precompress.mjs "$site"
stamp > "$site/.stamp"
