// Keeps the files of earlier builds that pages may still load: pages that are open, and pages of nodes not yet restarted.
// These are the folders in pkg, and the scripts beside it with a hash in their name. Moves the newest ones that the new
// site lacks.
//
//   node scripts/keep-builds.mjs <old site> <new site> <number of builds>
import { existsSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";

const [from, to, number] = process.argv.slice(2);
const list = (folder) => (existsSync(folder) ? readdirSync(folder) : []);

/** The newest of these entries of a folder that the new site lacks. */
const newest = (folder, isWanted) =>
  list(join(from, folder))
    .filter((name) => isWanted(name) && !existsSync(join(to, folder, name)))
    .map((name) => ({ name, time: statSync(join(from, folder, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time)
    .slice(0, +number)
    .map(({ name }) => name);

// Files directly in pkg belong to cargo-leptos.
for (const name of newest("pkg", (name) => existsSync(join(from, "pkg", name, "aforo.js")))) {
  renameSync(join(from, "pkg", name), join(to, "pkg", name));
}
for (const script of newest("", (name) => /^hls-\w+\.js$/.test(name))) {
  for (const name of [script, `${script}.br`, `${script}.gz`]) {
    if (existsSync(join(from, name))) renameSync(join(from, name), join(to, name));
  }
}
