// Builds the image of the static program in target/dist, as the last stage of docs/deploy/Dockerfile says, writes it to
// target/image/aforo.tar, and checks it in containers: what is in it, whose rights it has, that it serves pages and counts,
// in memory and over Redis, what it keeps, and how it ends. Needs podman, runc and redis-server. Containers have their own
// network, or listen on this machine only.
//
//   node scripts/image.mjs
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { freePort } from "./free-port.mjs";

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

const PROGRAM = "target/dist/aforo";
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const IMAGE = "target/image/aforo.tar";
const USER = 65532;
/** How long anything is waited for, in ms. Far more than it takes. */
const PATIENCE = 60_000;
/** The longest time from SIGTERM to the end, in seconds: the contract's ten, and some for podman. */
const STOP_LIMIT = 15;

// A short path, because podman puts sockets below it.
const work = mkdtempSync(join(tmpdir(), "aforo-"));
const storage = ["--storage-driver", "vfs", "--root", join(work, "root"), "--runroot", join(work, "run")];
const runtime = ["--runtime", "runc", "--cgroup-manager", "cgroupfs"];
const command = [...storage, ...runtime];

const podman = (...args) => execFileSync("podman", [...command, ...args], { encoding: "utf8" }).trim();
const attempt = (...args) => spawnSync("podman", [...command, ...args], { encoding: "utf8" });

function check(isRight, problem) {
  if (!isRight) throw new Error(problem);
}

function checkEqual(found, expected, what) {
  const [one, other] = [found, expected].map((value) => JSON.stringify(value));
  check(one === other, `${what}: ${one}, not ${other}`);
}

/** Waits until `probe` returns something that is true, and returns it. */
async function until(what, probe) {
  const began = performance.now();
  for (;;) {
    const found = await probe();
    if (found) return found;
    check(performance.now() - began < PATIENCE, `not in time: ${what}`);
    await sleep(100);
  }
}

/** Builds the last stage alone. The program takes the place of what the first stage would make. */
function build() {
  const first = join(work, "build");
  mkdirSync(join(first, "empty"), { recursive: true });
  cpSync(PROGRAM, join(first, "src", PROGRAM));
  cpSync(CERTIFICATES, join(first, CERTIFICATES), { dereference: true });
  // Docker's format: the other one has no health check.
  const options = ["--format", "docker", "--build-context", `build=${first}`];
  execFileSync(
    "podman",
    [...command, "build", ...options, "-f", "docs/deploy/Dockerfile", "-t", "aforo", join(first, "empty")],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  mkdirSync("target/image", { recursive: true });
  rmSync(IMAGE, { force: true });
  podman("save", "--quiet", "--format", "docker-archive", "-o", IMAGE, "localhost/aforo:latest");
}

function checkContent() {
  const [{ Config: config, Healthcheck: health }] = JSON.parse(podman("image", "inspect", "aforo"));
  checkEqual(config.User, `${USER}:${USER}`, "the user");
  checkEqual(config.Entrypoint, ["/aforo"], "the entry point");
  checkEqual(Object.keys(config.ExposedPorts), ["3000/tcp"], "the port");
  checkEqual(Object.keys(config.Volumes), ["/var/lib/aforo"], "the volume");
  checkEqual(config.StopSignal, "SIGTERM", "the signal that ends it");
  checkEqual(health?.Test, ["CMD", "/aforo", "health"], "the health check");

  const layers = join(work, "layers");
  mkdirSync(layers);
  execFileSync("tar", ["-xf", IMAGE, "-C", layers]);
  const [manifest] = JSON.parse(readFileSync(join(layers, "manifest.json"), "utf8"));
  const entries = manifest.Layers.flatMap((layer) =>
    execFileSync("tar", ["-tvf", join(layers, layer), "--numeric-owner"], { encoding: "utf8" })
      .trim()
      .split("\n"),
  );
  const words = entries.map((entry) => entry.split(/\s+/));
  const files = words.filter(([mode]) => !mode.startsWith("d")).map((entry) => entry.at(-1));
  checkEqual(files.sort(), ["aforo", CERTIFICATES.slice(1)], "the files");
  const data = words.find((entry) => entry.at(-1) === "var/lib/aforo/");
  checkEqual(data?.[1], `${USER}/${USER}`, "the owner of /var/lib/aforo");
}

/** Containers that run. They are removed at the end. */
const running = new Set();

/** The options of a container with few rights, whose root can't be written to. */
const options = (settings, more) => [
  ...["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"],
  // The defaults are more than some machines allow, and systemd would run the health check.
  ...["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--no-healthcheck"],
  ...Object.entries(settings).flatMap(([name, value]) => ["--env", `${name}=${value}`]),
  ...more,
];

/** Starts a container. */
function start(settings, ...more) {
  const id = podman("run", "--detach", ...options(settings, more), "aforo");
  running.add(id);
  return id;
}

/** Ends a container by SIGTERM, and checks that it ends by itself. */
function stop(id) {
  podman("stop", "--time", String(STOP_LIMIT), id);
  const [{ State: state }] = JSON.parse(podman("container", "inspect", id));
  check(state.ExitCode === 0, `SIGTERM ends it with status ${state.ExitCode}: ${podman("logs", id)}`);
  podman("rm", id);
  running.delete(id);
}

/** Waits until the server in a container is there, as the health check of the image asks. */
const healthy = (id) =>
  until("the health check", () => {
    const [{ State: state }] = JSON.parse(podman("container", "inspect", id));
    check(state.Running, `the container has ended: ${attempt("logs", id).stderr}`);
    return attempt("exec", id, "/aforo", "health").status === 0;
  });

/** As it is, without any setting. */
async function checkDefaults() {
  // A new volume gets its owner from the folder in the image.
  const data = ["--network", "none", "--volume", "kept:/var/lib/aforo"];
  const id = start({}, ...data);
  await healthy(id);
  const [{ Mountpoint: volume }] = JSON.parse(podman("volume", "inspect", "kept"));
  const [{ State: state }] = JSON.parse(podman("container", "inspect", id));
  const status = readFileSync(`/proc/${state.Pid}/status`, "utf8");
  check(status.includes(`\nUid:\t${USER}\t${USER}\t`), `the user of the process: ${status}`);
  check(/\nCapEff:\t0+\n/.test(status), `the capabilities of the process: ${status}`);
  const said = attempt("exec", id, "/aforo", "check");
  check(said.status === 0, `aforo check: ${said.stdout}${said.stderr}`);
  check(said.stdout.includes("/var/lib/aforo/aforo.db"), `aforo check names the database: ${said.stdout}`);
  checkEqual(statSync(join(volume, "aforo.db")).uid, USER, "the owner of the database");
  stop(id);
  // A new container has the same volume, and the database in it.
  const { ino } = statSync(join(volume, "aforo.db"));
  const again = start({}, ...data);
  await healthy(again);
  checkEqual(statSync(join(volume, "aforo.db")).ino, ino, "the database after a restart");
  stop(again);
}

/** Makes a folder that the user of the image may write to. */
function folder(path) {
  mkdirSync(path);
  execFileSync("chown", [`${USER}:${USER}`, path]);
  return path;
}

/** Starts a container that listens on this machine only, and waits for it. */
async function reachable(settings, ...more) {
  const address = `127.0.0.1:${await freePort()}`;
  const id = start({ LEPTOS_SITE_ADDR: address, ...settings }, "--network", "host", ...more);
  await healthy(id);
  return { id, url: `http://${address}` };
}

async function get(url) {
  const response = await fetch(url);
  check(response.ok, `${url} answers ${response.status}`);
  return response;
}

async function joinChannel(url, channelId) {
  const body = JSON.stringify({ channelId, viewerId: randomUUID() });
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}/api/viewer/join`, { method: "POST", headers, body });
  check(response.ok, `a join is answered by ${response.status}`);
}

const countIs = (url, channelId, expected) =>
  until(`${expected} viewers`, async () => {
    const { count, stale } = await (await get(`${url}/api/viewer/count/${channelId}`)).json();
    return count === expected && stale === false;
  });

async function checkMemory() {
  const { id, url } = await reachable({});
  await get(`${url}/healthz`);
  const page = await (await get(`${url}/`)).text();
  const loaded = [...page.matchAll(/"(\/[^"]+\.(?:js|css|wasm))"/g)].map(([, path]) => path);
  check(loaded.length > 0, "the page names no files");
  for (const path of new Set(loaded)) await get(`${url}${path}`);
  await joinChannel(url, "ana");
  await joinChannel(url, "ana");
  await countIs(url, "ana", 2);
  stop(id);
}

async function checkRedis() {
  const port = await freePort();
  const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const redis = spawn("redis-server", flags, { cwd: work, stdio: "ignore" });
  const ended = once(redis, "exit");
  try {
    const data = ["--volume", `${folder(join(work, "shared"))}:/var/lib/aforo`];
    const settings = { REDIS_URL: `redis://127.0.0.1:${port}` };
    const nodes = [await reachable(settings, ...data), await reachable(settings, ...data)];
    await joinChannel(nodes[0].url, "ana");
    await joinChannel(nodes[1].url, "ana");
    for (const { url } of nodes) await countIs(url, "ana", 2);
    for (const { id } of nodes) stop(id);
  } finally {
    redis.kill();
    await ended;
  }
}

/** Webhooks need the certificates, and a wrong setting ends the start. */
async function checkStart() {
  const webhooks = {
    WEBHOOK_URLS: "https://hooks.example/",
    WEBHOOK_SECRET: `whsec_${Buffer.alloc(32).toString("base64")}`,
  };
  const id = start(webhooks, "--network", "none");
  await healthy(id);
  stop(id);
  const none = ["--network", "none", "--env", "SSL_CERT_FILE=/nothing"];
  const without = attempt("run", "--rm", ...options(webhooks, none), "aforo");
  check(without.status !== 0, "webhooks start without certificates, so their absence would not be noticed");
  const wrong = options({ VIEWER_TIMEOUT: "soon" }, ["--network", "none"]);
  const { status, stderr } = attempt("run", "--rm", ...wrong, "aforo");
  check(status === 2 && stderr.includes("VIEWER_TIMEOUT"), `a wrong setting: status ${status}, ${stderr}`);
}

try {
  build();
  checkContent();
  await checkDefaults();
  await checkMemory();
  await checkRedis();
  await checkStart();
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  const [image, program] = [IMAGE, PROGRAM].map((path) => megabytes(statSync(path).size));
  console.log(`${IMAGE}: ${image} MB, of which the program is ${program} MB`);
} finally {
  for (const id of running) attempt("rm", "--force", "--time", "0", id);
  rmSync(work, { recursive: true, force: true });
}
