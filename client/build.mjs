// Bundles what runs in browsers outside of WebAssembly.
//
//   node client/build.mjs           src/platform/browser.js, which the islands are linked with
//   node client/build.mjs <site>    also the scripts of pages, into the folder of the site
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { targets } from "../scripts/baseline.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { buildSync, transformSync } = createRequire(join(root, "scripts/package.json"))("esbuild");
const source = (name) => join(root, "client/src", `${name}.ts`);

/** What the islands ask of a browser, in JavaScript, as wasm-bindgen links it. */
export function platform() {
  const { code } = transformSync(readFileSync(source("browser"), "utf8"), { loader: "ts", target: targets });
  return `// Made from client/src/browser.ts, which explains it, by client/build.mjs.\n${code}`;
}

function build(outdir, options, ...names) {
  buildSync({
    ...options,
    entryPoints: names.map(source),
    outdir,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "esm",
    target: targets,
    // Each is a file of its own, which others load.
    external: ["./widget.js"],
    logLevel: "warning",
  });
}

if (relative(process.argv[1] ?? "", fileURLToPath(import.meta.url)) === "") {
  const site = process.argv[2];
  const path = join(root, "src/platform/browser.js");
  // Written only when it changes, so that nothing is built anew.
  if (readFileSync(path, "utf8") !== platform()) writeFileSync(path, platform());
  if (site) {
    build(site, {}, "fallback", "widget", "stream", "tracker", "live-channels", "follow-button");
    // What only some pages need is a file of its own, with a hash in its name: hls.js.
    build(site, { splitting: true, chunkNames: "[name]-[hash]" }, "player", "share");
  }
}
