// Checks a program to deploy: it is static, and in an empty folder, without any setting but its port, it serves its pages
// and files. Prints how long it takes from a start to the first page: the median of 20 starts, each with a new database.
//
//   node scripts/check-dist.mjs <program>
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const STARTS = 20;
/** The longest time from a start to the first page, in ms. Far more than it takes. */
const PATIENCE = 30_000;

const program = resolve(process.argv[2]);
const fail = (problem) => {
  throw new Error(`${program}: ${problem}`);
};

/** The types of the program headers of a 64-bit ELF file. */
function programHeaders(elf) {
  if (elf.toString("latin1", 0, 4) !== "\x7fELF" || elf[4] !== 2) fail("not a 64-bit ELF program");
  const [start, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)];
  return Array.from({ length: count }, (_, nth) => elf.readUInt32LE(start + nth * size));
}

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** Starts the program in an empty folder, and ends it after `use`, which gets the URL, the environment and the folder. */
async function withServer(use) {
  const folder = mkdtempSync(join(tmpdir(), "aforo-dist-"));
  const env = { LEPTOS_SITE_ADDR: `127.0.0.1:${await freePort()}`, RUST_LOG: "warn" };
  const server = spawn(program, { cwd: folder, env, stdio: ["ignore", "ignore", "inherit"] });
  const ended = once(server, "exit");
  try {
    return await use({ url: `http://${env.LEPTOS_SITE_ADDR}`, env, folder, server });
  } finally {
    server.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true });
  }
}

/** Waits for the first page. Returns the time that it took, in ms. */
async function firstPage({ url, server }) {
  const began = performance.now();
  for (;;) {
    const page = await fetch(`${url}/ana`).catch(() => undefined);
    const took = performance.now() - began;
    if (page?.ok) return took;
    if (server.exitCode !== null || took > PATIENCE) fail("it does not start");
    await sleep(1);
  }
}

const INTERPRETER = 3;
if (programHeaders(readFileSync(program)).includes(INTERPRETER)) fail("it needs a dynamic linker");

await withServer(async (running) => {
  await firstPage(running);
  const get = async (path, headers = {}) => {
    const response = await fetch(`${running.url}${path}`, { headers });
    if (!response.ok) fail(`${path} answers ${response.status}`);
    return response;
  };
  const page = await (await get("/ana")).text();
  const named = [...page.matchAll(/"(\/[^"]+\.(?:js|css|wasm))"/g)].map(([, path]) => path);
  if (!named.some((path) => path.endsWith("/aforo.js"))) fail("the page names no script");
  for (const path of new Set([...named, "/widget.js", "/favicon.svg"])) {
    const response = await get(path, { "accept-encoding": "br" });
    if (response.headers.get("content-encoding") !== "br") fail(`${path} is not compressed`);
  }
  for (const word of ["health", "check"]) {
    execFileSync(program, [word], { cwd: running.folder, env: running.env });
  }
});

const times = [];
for (let nth = 0; nth < STARTS; nth += 1) times.push(await withServer(firstPage));
times.sort((one, other) => one - other);
const median = (times[STARTS / 2 - 1] + times[STARTS / 2]) / 2;
console.log(execFileSync(program, ["--version"], { env: {} }).toString().trim());
console.log(`the first page after a start: ${median.toFixed(0)} ms (median of ${STARTS})`);
