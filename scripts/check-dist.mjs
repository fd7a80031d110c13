// Checks a program to deploy: it is static, and in an empty folder, without any setting, it serves its pages and files.
//
//   node scripts/check-dist.mjs <program>
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

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

const INTERPRETER = 3;
if (programHeaders(readFileSync(program)).includes(INTERPRETER)) fail("it needs a dynamic linker");

const folder = mkdtempSync(join(tmpdir(), "aforo-dist-"));
const port = await new Promise((found) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => found(port));
  });
});
const env = { LEPTOS_SITE_ADDR: `127.0.0.1:${port}` };
const server = spawn(program, { cwd: folder, env, stdio: ["ignore", "ignore", "inherit"] });
try {
  const get = async (path, headers = {}) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
    if (!response.ok) fail(`${path} answers ${response.status}`);
    return response;
  };
  for (let attempt = 0; ; attempt += 1) {
    if (await get("/healthz").catch(() => undefined)) break;
    if (server.exitCode !== null || attempt > 100) fail("it does not start");
    await new Promise((passed) => setTimeout(passed, 100));
  }
  const page = await (await get("/ana")).text();
  const files = [...page.matchAll(/"(\/[^"]+\.(?:js|css|wasm))"/g)].map(([, path]) => path);
  if (!files.some((path) => path.endsWith(".wasm") || path.endsWith("aforo.js"))) fail("the page names no script");
  for (const path of [...new Set(files), "/widget.js", "/favicon.svg"]) {
    const response = await get(path, { "accept-encoding": "br" });
    if (response.headers.get("content-encoding") !== "br") fail(`${path} is not compressed`);
  }
  execFileSync(program, ["health"], { cwd: folder, env });
  console.log(execFileSync(program, ["--version"], { env: {} }).toString().trim());
} finally {
  server.kill("SIGKILL");
  rmSync(folder, { recursive: true });
}
