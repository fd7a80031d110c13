#!/usr/bin/env bash
# cargo, with the toolchain that the build uses.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
exec cargo "$@"
