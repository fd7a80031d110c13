#!/usr/bin/env bash
# Runs cargo with the toolchain of the build.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
exec cargo "$@"
