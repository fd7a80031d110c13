// Runs the tests of client/ and of scripts/. Node.js can't import TypeScript, so esbuild bundles them first. The tests of the npm package
// need the packed package.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const { buildSync } = createRequire(join(root, "scripts/package.json"))("esbuild");

const run = (...args) => {
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
};
const files = (folder, suffix) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(folder, name));

rmSync("target/client-tests", { recursive: true, force: true });
const bundle = (outdir, entryPoints, alias = {}) =>
  buildSync({
    entryPoints,
    outdir: `target/client-tests/${outdir}`,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    alias,
    logLevel: "warning",
  });
bundle("", files("client/tests", ".test.ts"));
const packages = join(root, "client/node_modules");
bundle("react-18", ["client/tests/react.test.ts"], {
  react: join(packages, "react-18"),
  "react-dom": join(packages, "react-dom-18"),
});
run("client/package.mjs", "target/client-tests");

run(
  "--test",
  "--test-force-exit",
  ...files("target/client-tests", ".test.mjs"),
  ...files("target/client-tests/react-18", ".test.mjs"),
  ...files("client/tests", ".test.mjs"),
  ...files("scripts", ".test.mjs"),
);
