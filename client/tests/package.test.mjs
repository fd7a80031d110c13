// The npm package as it would be published: its content, its entry points, what a bundler makes of it, and that a server
// may import it. client/test.mjs has packed it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";

import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";

const { buildSync } = createRequire(join(process.cwd(), "scripts/package.json"))("esbuild");

/** The most bytes of watchCount alone, minified and compressed with Brotli. */
const WATCH_COUNT_BUDGET = 1_520;

const tests = "target/client-tests";
const tarball = readFileSync(`${tests}/aforo.tgz`);
const manifest = JSON.parse(readFileSync("client/package.json", "utf8"));
const entries = Object.keys(manifest.exports).filter((entry) => entry !== "./package.json");

// An app with the package, as npm would install it.
const app = `${tests}/app`;
mkdirSync(`${app}/node_modules`, { recursive: true });
execFileSync("tar", ["-xzf", `${tests}/aforo.tgz`, "-C", app]);
cpSync(`${app}/package`, `${app}/node_modules/aforo`, { recursive: true });
for (const name of ["react", "react-dom"]) {
  symlinkSync(join(process.cwd(), "client/node_modules", name), `${app}/node_modules/${name}`);
}

/** What esbuild makes of a page's script. */
const bundle = (contents) => {
  const { outputFiles } = buildSync({
    stdin: { contents, resolveDir: app },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    logLevel: "silent",
  });
  return outputFiles[0].text;
};
const compressed = (contents) => brotliCompressSync(bundle(contents)).length;

test("the package has scripts, their types, the description and the licence, and nothing else", () => {
  const listed = execFileSync("tar", ["-tzf", `${tests}/aforo.tgz`], { encoding: "utf8" });
  const files = listed
    .trim()
    .split("\n")
    .map((name) => name.replace(/^package\//, ""));
  const scripts = files.filter((name) => /^dist\/(esm|cjs)\/.*\.js$/.test(name));
  const types = scripts.map((name) => name.replace(/\.js$/, ".d.ts"));
  const rest = ["LICENSE", "README.md", "dist/cjs/package.json", "package.json"];
  assert.deepEqual(files.sort(), [...scripts, ...types, ...rest].sort());
  assert.ok(scripts.length > 20, `${scripts.length} scripts`);
  for (const name of ["widget", "stream", "player", "follow-button"]) {
    assert.ok(!files.includes(`dist/esm/${name}.js`), `${name} is a script of the site's own pages`);
  }
});

test("the package has the version of the crate", () => {
  assert.equal(manifest.version, /^version = "(.*)"$/m.exec(readFileSync("Cargo.toml", "utf8"))[1]);
});

test("publint finds nothing", async () => {
  const pack = { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) };
  const { messages } = await publint({ pack, strict: true });
  assert.deepEqual(messages, []);
});

test("the types are right for every way to import an entry point", async () => {
  const { types, problems, entrypoints } = await checkPackage(createPackageFromTarballData(tarball));
  assert.equal(types.kind, "included");
  assert.deepEqual(problems, []);
  assert.deepEqual(
    Object.keys(entrypoints).filter((entry) => entry !== "./package.json"),
    entries,
  );
});

test("watchCount alone is small", () => {
  const size = compressed(`import { watchCount } from "aforo"; watchCount("ana", console.log);`);
  assert.ok(size <= WATCH_COUNT_BUDGET, `${size} bytes, at most ${WATCH_COUNT_BUDGET} are allowed`);
});

test("a bundle has only what it uses, and always the element that it imports", () => {
  for (const entry of ["aforo", "aforo/shared", "aforo/react"])
    assert.equal(bundle(`import "${entry}";`), "");
  assert.match(bundle(`import "aforo/element";`), /viewer-counter/);
  const all = bundle(`export * from "aforo";`);
  assert.doesNotMatch(all, /BroadcastChannel|viewer-counter|react/);
});

test("a server may import and call everything, and nothing happens", () => {
  const calls = `
    const failed = () => { throw new Error("called on a server"); };
    globalThis.fetch = globalThis.EventSource = failed;
    watchCount("ana", failed)();
    shared.watchCount("ana", failed)();
    const tracker = trackViewer("no channel");
    tracker.on("state", failed)();
    tracker.on("count", failed);
    const Page = () => {
      const { viewerCount, isConnected } = useViewerCount({ channelId: "ana", initialCount: 4 });
      const { isCounted, state } = useViewerTracker({ channelId: "ana" });
      return [viewerCount, isConnected, isCounted, state].join(" ");
    };
    console.log(renderToString(createElement(Page)));`;
  const named = {
    aforo: "{ trackViewer, watchCount }",
    "aforo/react": "{ useViewerCount, useViewerTracker }",
    react: "{ createElement }",
    "react-dom/server": "{ renderToString }",
  };
  const modules = Object.entries(named)
    .map(([name, what]) => `import ${what} from "${name}";`)
    .join("\n");
  const scripts = {
    "server.mjs": `${modules} import "aforo/element"; import * as shared from "aforo/shared"; ${calls}`,
    "server.cjs":
      modules.replace(/import (.*) from (".*");/g, "const $1 = require($2);") +
      `require("aforo/element"); const shared = require("aforo/shared"); ${calls}`,
  };
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(`${app}/${name}`, script);
    const written = execFileSync(process.execPath, [`${app}/${name}`], { encoding: "utf8" });
    assert.equal(written.trim(), "4 false false connecting", name);
  }
});
