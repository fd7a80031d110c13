#!/usr/bin/env bash
# Builds the browser code into target/site: WebAssembly, its JavaScript and styles in pkg/<hash>, public files and page
# scripts beside it, each file also compressed. Keeps the files of previous builds. Does nothing if no input has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

site=target/site
# The number of previous builds to keep: open pages, and pages of nodes not yet restarted, still load their files.
older=2
wasm=$CARGO_TARGET_DIR/wasm32-unknown-unknown/wasm-release/aforo.wasm
tools=scripts/node_modules/.bin

node client/build.mjs
say "building the browser code (WebAssembly)"
# Only one crate type, or cargo skips link-time optimization.
cargo rustc --lib --crate-type cdylib --profile wasm-release --target wasm32-unknown-unknown \
  --no-default-features --features hydrate

# A hash of all inputs and, since cargo-leptos writes to the same folder, of the outputs.
stamp() {
  {
    cat "$wasm" style/main.css public/* client/build.mjs client/src/*.ts client/src/*/*.ts client/package-lock.json .browserslistrc \
      scripts/site.sh scripts/*.mjs scripts/bindgen/Cargo.lock
    find "$site" -type f ! -name .stamp -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum
}
if [ -f "$site/.stamp" ] && [ "$(cat "$site/.stamp")" = "$(stamp)" ]; then
  say "target/site is up to date"
  exit 0
fi

say "making target/site"
mkdir -p "$site"
work=$(mktemp -d -p target)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bindings" "$work/files" "$work/site/pkg"
aforo-bindgen bundler "$wasm" "$work/bindings" aforo
node scripts/shrink.mjs "$work/bindings" "$work/files"
node scripts/styles.mjs style/main.css "$work/files/aforo.css"
build=$(cat "$work/files"/* | sha256sum | cut -c 1-16)
mv "$work/files" "$work/site/pkg/$build"
echo "$build" > "$work/site/build.txt"
cp -r public/. "$work/site/"
node client/build.mjs "$work/site"
cp client/node_modules/hls.js/LICENSE "$work/site/hls.js.LICENSE.txt"
node scripts/precompress.mjs "$work/site"

node scripts/keep-builds.mjs "$site" "$work/site" $older
rm -rf "$site"
mv "$work/site" "$site"
stamp > "$site/.stamp"
