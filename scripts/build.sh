#!/usr/bin/env bash
# Builds the site, and the server with the site inside: `build.sh` to deploy, `build.sh quick` for a first look (see
# server.sh). The server's library needs nothing of the site, so both are compiled at the same time. The library goes
# first: in its last minute it keeps one processor busy and leaves the others to the site.
set -euo pipefail
cd "$(dirname "$0")/.."

# First what decides which compiler is used.
bash scripts/setup.sh target
bash scripts/server.sh library "$@" &
library=$!
trap 'kill $library 2> /dev/null || true' EXIT
bash scripts/setup.sh build
nice -n 5 bash scripts/site.sh
wait $library
trap - EXIT
bash scripts/server.sh program "$@"
