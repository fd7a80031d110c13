// Checks a program to deploy: it is static and stripped, and in an empty folder, without any setting but its port, it serves
// its pages and files, within 100 ms of its start. Prints this time: the median of 20 starts, each with a new database. A
// busy machine gets more than one try.
//
//   node scripts/check-dist.mjs <program>
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "./free-port.mjs";

const STARTS = 20;
/** The longest median of the times from a start to the first page, in ms. */
const START_BUDGET = 100;
/** How often the starts are measured, until they are within the budget: the machine may be busy with something else. */
const SERIES = 5;
/** The longest time from a start to the first page, in ms. Far more than it takes. */
const PATIENCE = 30_000;

const program = resolve(process.argv[2]);
const fail = (problem) => {
  throw new Error(`${program}: ${problem}`);
};

/** The types of the program headers of a 64-bit ELF file. */
function programHeaders(elf) {
  const [start, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)];
  return Array.from({ length: count }, (_, nth) => elf.readUInt32LE(start + nth * size));
}

/** The names of the sections of a 64-bit ELF file. */
function sections(elf) {
  const start = Number(elf.readBigUInt64LE(40));
  const [size, count, namesAt] = [58, 60, 62].map((at) => elf.readUInt16LE(at));
  // Of a header: where its name is in the section of names, and where the section is in the file.
  const headers = Array.from({ length: count }, (_, nth) => elf.subarray(start + nth * size, start + (nth + 1) * size));
  const names = Number(headers[namesAt].readBigUInt64LE(24));
  return headers.map((header) => {
    const at = names + header.readUInt32LE(0);
    return elf.toString("latin1", at, elf.indexOf(0, at));
  });
}

/** Starts the program in an empty folder, and ends it after `use`, which gets all that is known of it. */
async function withServer(use) {
  const folder = mkdtempSync(join(tmpdir(), "aforo-dist-"));
  const env = { LEPTOS_SITE_ADDR: `127.0.0.1:${await freePort()}`, RUST_LOG: "warn" };
  const began = performance.now();
  const server = spawn(program, { cwd: folder, env, stdio: ["ignore", "ignore", "inherit"] });
  const ended = once(server, "exit");
  try {
    return await use({ url: `http://${env.LEPTOS_SITE_ADDR}`, env, folder, server, began });
  } finally {
    server.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true });
  }
}

/** Waits for the first page. Returns the time from the start of the program to it, in ms. */
async function firstPage({ url, server, began }) {
  for (;;) {
    const page = await fetch(`${url}/ana`).catch(() => undefined);
    const took = performance.now() - began;
    if (page?.ok) return took;
    if (server.exitCode !== null || took > PATIENCE) fail("it does not start");
    await sleep(1);
  }
}

const INTERPRETER = 3;
const elf = readFileSync(program);
if (elf.toString("latin1", 0, 4) !== "\x7fELF" || elf[4] !== 2) fail("not a 64-bit ELF program");
if (programHeaders(elf).includes(INTERPRETER)) fail("it needs a dynamic linker");
const named = sections(elf);
if (!named.includes(".text")) fail("it has no section of code");
const unwanted = named.filter((name) => name === ".symtab" || name.startsWith(".debug_"));
if (unwanted.length > 0) fail(`it is not stripped: ${unwanted.join(", ")}`);

await withServer(async (running) => {
  await firstPage(running);
  const get = async (path, headers = {}) => {
    const response = await fetch(`${running.url}${path}`, { headers });
    if (!response.ok) fail(`${path} answers ${response.status}`);
    return response;
  };
  const page = await (await get("/ana")).text();
  const loaded = [...page.matchAll(/"(\/[^"]+\.(?:js|css|wasm))"/g)].map(([, path]) => path);
  if (!loaded.some((path) => path.endsWith("/aforo.js"))) fail("the page names no script");
  for (const path of new Set([...loaded, "/widget.js", "/favicon.svg"])) {
    const response = await get(path, { "accept-encoding": "br" });
    if (response.headers.get("content-encoding") !== "br") fail(`${path} is not compressed`);
  }
  for (const word of ["health", "check"]) {
    execFileSync(program, [word], { cwd: running.folder, env: running.env });
  }
});

/** The median of the times from a start to the first page, in ms. */
async function medianStart() {
  const times = [];
  for (let nth = 0; nth < STARTS; nth += 1) times.push(await withServer(firstPage));
  times.sort((one, other) => one - other);
  return (times[STARTS / 2 - 1] + times[STARTS / 2]) / 2;
}

let median = await medianStart();
for (let nth = 1; nth < SERIES && median > START_BUDGET; nth += 1) median = Math.min(median, await medianStart());
console.log(execFileSync(program, ["--version"], { env: {} }).toString().trim());
console.log(`the first page after a start: ${median.toFixed(0)} ms (median of ${STARTS})`);
if (median > START_BUDGET) fail(`${median.toFixed(0)} ms from a start to the first page; ${START_BUDGET} ms are allowed`);
