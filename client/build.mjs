// Bundles what runs in browsers outside of WebAssembly.
//
//   node client/build.mjs           src/platform/browser.js, which the islands are linked with
//   node client/build.mjs <site>    also the scripts of pages, into the folder of the site
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { buildSync, transformSync } = createRequire(join(root, "scripts/package.json"))("esbuild");
const source = (name) => join(root, "client/src", `${name}.ts`);

/** The oldest browsers in which everything works, as esbuild names them; the README says what others get. */
export const BASELINE = ["chrome111", "edge111", "firefox115", "safari16.4", "ios16.4"];

/** What the islands ask of a browser, in JavaScript, as wasm-bindgen links it. */
export function platform() {
  const { code } = transformSync(readFileSync(source("browser"), "utf8"), { loader: "ts", target: BASELINE });
  return `// Made from client/src/browser.ts, which explains it, by client/build.mjs.\n${code}`;
}

function build(outdir, ...names) {
  buildSync({
    entryPoints: names.map(source),
    outdir,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "esm",
    target: BASELINE,
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
  if (site) build(site, "fallback", "widget", "stream", "tracker", "live-channels", "follow-button");
}
