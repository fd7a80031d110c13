// Bundles the browser code that is not WebAssembly.
//
//   node client/build.mjs           writes src/platform/browser.js, which is linked into the islands
//   node client/build.mjs <site>    also bundles the page scripts into the folder <site>
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { targets } from "../scripts/baseline.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { buildSync, transformSync } = createRequire(join(root, "scripts/package.json"))("esbuild");
const source = (name) => join(root, "client/src", `${name}.ts`);

const HEAD = `\
// Generated from client/src/browser.ts by client/build.mjs. The source has the comments. It stays beside gloo and web-sys
// because the page scripts without WebAssembly run the same code, and because each operation is one call that never throws.`;

/** The content of src/platform/browser.js: client/src/browser.ts as JavaScript. */
export function platform() {
  const { code } = transformSync(readFileSync(source("browser"), "utf8"), { loader: "ts", target: targets });
  return `${HEAD}\n${code}`;
}

function build(outdir, options, ...names) {
  return buildSync({
    ...options,
    entryPoints: names.map(source),
    outdir,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "esm",
    target: targets,
    // A file of its own, which other scripts load.
    external: ["./widget.js"],
    logLevel: "warning",
  });
}

if (relative(process.argv[1] ?? "", fileURLToPath(import.meta.url)) === "") {
  const site = process.argv[2];
  const path = join(root, "src/platform/browser.js");
  // Keep the modification time of an unchanged file, or cargo rebuilds the crate.
  if (readFileSync(path, "utf8") !== platform()) writeFileSync(path, platform());
  if (site) {
    build(
      site,
      {},
      "fallback",
      "widget",
      "stream",
      "track",
      "tracker",
      "live-channels",
      "follow-button",
      "overlay",
      "poll",
      "stats",
    );
    // hls.js, which only some pages need, has a hash in its name, which the player must know.
    const hls = build(site, { entryNames: "[name]-[hash]", metafile: true }, "player/hls");
    const path = `./${basename(Object.keys(hls.metafile.outputs)[0])}`;
    build(site, { define: { HLS_SCRIPT: JSON.stringify(path) } }, "player", "share");
  }
}
