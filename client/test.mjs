// Runs the tests of client/. Node.js can't import TypeScript, so esbuild bundles them first.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const { buildSync } = createRequire(join(root, "scripts/package.json"))("esbuild");

const files = (folder, suffix) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(folder, name));

rmSync("target/client-tests", { recursive: true, force: true });
buildSync({
  entryPoints: files("client/tests", ".test.ts"),
  outdir: "target/client-tests",
  outExtension: { ".js": ".mjs" },
  bundle: true,
  format: "esm",
  platform: "node",
  logLevel: "warning",
});
const tests = [...files("target/client-tests", ".mjs"), ...files("client/tests", ".test.mjs")];
process.exit(spawnSync(process.execPath, ["--test", ...tests], { stdio: "inherit" }).status ?? 1);
