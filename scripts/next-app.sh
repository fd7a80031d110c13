#!/usr/bin/env bash
# Builds the npm package into target/npm, and the example of a Next.js app with it in target/next-app. Does nothing if no
# input has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
export NEXT_TELEMETRY_DISABLED=1

root=$PWD
app=examples/next-app
work=target/next-app
node client/package.mjs target/npm

# A copy as deep as the original, so that `file:../../client` is the same folder: a build writes into its folder, and a
# test edits a source.
sources() { (cd "$root/$app" && find . \( -name node_modules -o -name .next \) -prune -o -type f -print0 | sort -z); }
mkdir -p $work
find $work -mindepth 1 -maxdepth 1 ! -name node_modules ! -name .next -exec rm -rf {} +
sources | tar -c -C $app --null -T - | tar -x -C $work
npm_packages $work

stamp() { (sha256sum target/npm/aforo.tgz; cd $app; sources | xargs -0 sha256sum) | sha256sum; }
if [ "$(cat $work/.next/.stamp 2>/dev/null)" = "$(stamp)" ]; then
  say "$work is up to date"
  exit 0
fi
say "building the example, $app"
rm -rf $work/.next $work/node_modules/aforo
mkdir $work/node_modules/aforo
tar -xzf target/npm/aforo.tgz -C $work/node_modules/aforo --strip-components=1
(cd $work && npm run --silent build)
stamp > $work/.next/.stamp
