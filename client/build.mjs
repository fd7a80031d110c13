// Bundles the browser code that is not WebAssembly.
//
//   node client/build.mjs           writes the scripts that are linked into the islands or a part of pages into src/
//   node client/build.mjs <site>    also bundles the page scripts into the folder <site>
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { targets } from "../scripts/baseline.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(join(root, "scripts/package.json"));
const { buildSync, transformSync } = require("esbuild");
const { minify_sync: minify } = require("terser");
const source = (name) => join(root, "client/src", `${name}.ts`);

const HEAD = `\
// Generated from client/src/browser.ts by client/build.mjs. The source has the comments. It stays beside gloo and web-sys
// because the page scripts without WebAssembly run the same code, and because each operation is one call that never throws.`;

/** The content of src/platform/browser.js: client/src/browser.ts as JavaScript. */
function platform() {
  const { code } = transformSync(readFileSync(source("browser"), "utf8"), { loader: "ts", target: targets });
  return `${HEAD}\n${code}`;
}

/** The content of a script that is a part of a page's HTML. The server does not send the comment. */
function inline(name) {
  const [{ text }] = bundle({}, name);
  return `/* Generated from client/src/${name}.ts by client/build.mjs. */\n${text}`;
}

/** The scripts that the crate contains, by their paths. They are kept in the repository, so that cargo alone can build it. */
export const crateScripts = () => ({
  "src/platform/browser.js": platform(),
  "src/pages/start.js": inline("start"),
  "src/pages/overlay.js": inline("overlay-start"),
});

function build(options, ...names) {
  return buildSync({
    ...options,
    entryPoints: names.map(source),
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

/** Bundles scripts. Returns their paths and texts. terser makes them some percent smaller than esbuild alone. */
function bundle(options, ...names) {
  const { outputFiles } = build({ outdir: root, ...options, write: false }, ...names);
  return outputFiles.map(({ path, text }) => ({
    path,
    text: minify(text, { module: true, ecma: 2020, compress: { passes: 2 } }).code + "\n",
  }));
}

if (relative(process.argv[1] ?? "", fileURLToPath(import.meta.url)) === "") {
  const site = process.argv[2];
  for (const [name, script] of Object.entries(crateScripts())) {
    const path = join(root, name);
    // Keep the modification time of an unchanged file, or cargo rebuilds the crate.
    if (readFileSync(path, "utf8") !== script) writeFileSync(path, script);
  }
  if (site) {
    const write = ({ path, text }) => writeFileSync(path, text);
    mkdirSync(site, { recursive: true });
    bundle(
      { outdir: site },
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
    ).forEach(write);
    // hls.js, which only some pages need, has a hash in its name, which the player must know.
    const hls = build({ outdir: site, entryNames: "[name]-[hash]", metafile: true }, "player/hls");
    const path = `./${basename(Object.keys(hls.metafile.outputs)[0])}`;
    bundle({ outdir: site, define: { HLS_SCRIPT: JSON.stringify(path) } }, "player", "share").forEach(write);
  }
}
