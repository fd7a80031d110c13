# Sourced by the other scripts: where things are, and which Rust toolchain builds.

say() { printf '\033[1m» %s\033[0m\n' "$*"; }
die() { printf '\033[1;31m✗ %s\033[0m\n' "$*" >&2; exit 1; }

# Tools that the build needs and that are none of the project's own; shared by all checkouts.
AFORO_TOOLS=${AFORO_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/aforo/tools}
WASM_BINDGEN_VERSION=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
CARGO_DENY_VERSION=0.20.2
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export PATH="$AFORO_TOOLS/wasm-bindgen-$WASM_BINDGEN_VERSION/bin:$AFORO_TOOLS/cargo-deny-$CARGO_DENY_VERSION/bin:$PATH"

has_wasm_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; }

# Debian's own toolchain, where rustup could not fetch the target (see setup.sh). It builds both halves then: two
# compilers in one target folder would rebuild everything at each turn.
if { [ "${AFORO_WASM:-}" = debian ] || ! has_wasm_target; } && rustup toolchain list | grep -q '^debian-web'; then
  export RUSTUP_TOOLCHAIN=debian-web CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22
fi
