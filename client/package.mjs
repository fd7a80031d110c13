// Builds the npm package: client/dist, as ES modules and as CommonJS, with types.
//
//   node client/package.mjs            writes client/dist and client/LICENSE
//   node client/package.mjs <folder>   also packs them into the file <folder>/aforo.tgz
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const client = dirname(fileURLToPath(import.meta.url));
const dist = join(client, "dist");
const { transformSync } = createRequire(join(client, "../scripts/package.json"))("esbuild");

/** Calls back with the path and the text of every file in a folder. */
function eachFile(folder, callback) {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) callback(path, readFileSync(path, "utf8"));
  }
}

function write(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

rmSync(dist, { recursive: true, force: true });
const tsc = join(client, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", join(client, "tsconfig.npm.json")], { stdio: "inherit" });

eachFile(join(dist, "esm"), (path, text) => {
  const twin = path.replace(join(dist, "esm"), join(dist, "cjs"));
  if (path.endsWith(".d.ts")) {
    // The compiler renames imports in scripts only.
    const types = text.replace(/(["'])(\.\.?\/[^"']+)\.ts\1/g, "$1$2.js$1");
    write(path, types);
    write(twin, types);
  } else {
    write(twin, transformSync(text, { format: "cjs", platform: "node" }).code);
  }
});
write(join(dist, "cjs/package.json"), '{ "type": "commonjs" }\n');
copyFileSync(join(client, "../LICENSE"), join(client, "LICENSE"));

if (process.argv[2]) {
  const folder = resolve(process.argv[2]);
  mkdirSync(folder, { recursive: true });
  const options = ["--ignore-scripts", "--json", "--pack-destination", folder];
  const packed = execFileSync("npm", ["pack", ...options], { cwd: client, encoding: "utf8" });
  renameSync(join(folder, JSON.parse(packed)[0].filename), join(folder, "aforo.tgz"));
}
