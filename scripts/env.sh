# Sourced by the other scripts: paths, tool versions and the Rust toolchain of the build.

say() { printf '\033[1m» %s\033[0m\n' "$*"; }
die() { printf '\033[1;31m✗ %s\033[0m\n' "$*" >&2; exit 1; }

# Third-party build tools, shared by all checkouts.
AFORO_TOOLS=${AFORO_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/aforo/tools}
WASM_BINDGEN_VERSION=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
CARGO_DENY_VERSION=0.20.2
CARGO_CYCLONEDX_VERSION=0.5.9
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export PATH="$AFORO_TOOLS/bindgen-$WASM_BINDGEN_VERSION/bin:$AFORO_TOOLS/cargo-deny-$CARGO_DENY_VERSION/bin:$PATH"
export PATH="$AFORO_TOOLS/cargo-cyclonedx-$CARGO_CYCLONEDX_VERSION/bin:$PATH"
# The target of `make dist`: programs that need no library of the system.
STATIC_TARGET=$(uname -m)-unknown-linux-musl

# Installs the npm packages of a folder from its lock file.
npm_packages() {
  local folder=$1
  cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed" && return
  say "installing the npm packages of $folder/"
  (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error)
  cp "$folder/package-lock.json" "$folder/node_modules/.installed"
}

has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; }
has_wasm_target() { has_target wasm32-unknown-unknown; }

# Debian's toolchain, if rustup could not download the WebAssembly target (see setup.sh). Then it builds the server too:
# two compilers that share a target folder would invalidate each other's builds.
if { [ "${AFORO_WASM:-}" = debian ] || ! has_wasm_target; } && rustup toolchain list | grep -q '^debian-web'; then
  export RUSTUP_TOOLCHAIN=debian-web CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22
fi
