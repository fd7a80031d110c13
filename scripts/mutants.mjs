// Mutation test: applies known faults to the code, one at a time, and fails if the tests miss one.
//
//   node scripts/mutants.mjs [name...]
//
// Each fault is a patch in tests/mutants with a header:
//
//   Fault: the fault, in a sentence or two
//   Invariant: the invariant in tests/oracle that the fault breaks; one line each if the fault may break several
//   Trouble: the kind of trouble to simulate; optional, for faults that other simulations rarely show
//
// If the simulation can't detect a fault, the header names the test that does, in place of the invariant:
//
//   Test: lib the_full_path_of::a_unit_test          (or: it the_path_of::a_test_in_tests/it)
//
// The faults are applied to a copy of the tree. The copy shares cargo's target folder, so that dependencies are not
// compiled again, and has its own version number, so that cargo can tell it from the tree. The unchanged tree must pass
// first. A fault is caught if the invariant or test in its header fails; a test that runs for five minutes, or one minute if
// it is a unit test, has failed.
// A patch that does not apply or does not compile is an error.
//
// SEEDS is the number of simulations for each fault (default 100).
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const MUTANTS = join(ROOT, "tests/mutants");
const TREE = join(ROOT, "target/mutants");
const SEEDS = process.env.SEEDS || "100";
const TEST_LIMIT_MS = { lib: 60_000, it: 300_000 };
const env = { ...process.env, CARGO_TARGET_DIR: resolve(ROOT, process.env.CARGO_TARGET_DIR || "target") };

/** Reads a patch and its header. */
function read(name) {
  const text = readFileSync(join(MUTANTS, `${name}.patch`), "utf8");
  const header = text.slice(0, text.indexOf("\n--- ")).replace(/\n +/g, " ").split("\n");
  const field = (key) => header.filter((line) => line.startsWith(`${key}: `)).map((line) => line.slice(key.length + 2));
  const [[fault], invariants, [test], [trouble]] = ["Fault", "Invariant", "Test", "Trouble"].map(field);
  if (!fault || (invariants.length > 0) === Boolean(test)) {
    throw new Error(`the header of ${name}.patch needs a Fault, and either an Invariant or a Test`);
  }
  return { name, fault, invariants, test, trouble };
}

/** Makes the copy equal to the tree. Doesn't touch equal files, so that cargo does not compile them again. */
function refresh() {
  const list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const files = git(ROOT, list).split("\0").filter((file) => file && existsSync(join(ROOT, file)));
  const kept = new Set(files);
  for (const entry of existsSync(TREE) ? readdirSync(TREE, { recursive: true, withFileTypes: true }) : []) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile() && !kept.has(file.slice(TREE.length + 1))) rmSync(file);
  }
  for (const file of files) {
    const to = join(TREE, file);
    const content = versioned(file, readFileSync(join(ROOT, file)));
    if (existsSync(to) && content.equals(readFileSync(to))) continue;
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, content);
  }
}

/** The content of a file for the copy: the version of aforo is replaced. */
function versioned(file, content) {
  if (file !== "Cargo.toml" && file !== "Cargo.lock") return content;
  const text = content.toString();
  const changed = text.replace(/^(name = "aforo"\nversion = ").*(")$/m, "$10.0.0-mutant$2");
  if (changed === text) throw new Error(`${file} has no version line after 'name = "aforo"'`);
  return Buffer.from(changed);
}

function git(cwd, args) {
  const options = { cwd, encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "pipe"] };
  // Without the ceiling, git in the copy would find the repository around it.
  return execFileSync("git", args, { ...options, env: { ...env, GIT_CEILING_DIRECTORIES: dirname(TREE) } });
}

/**
 * Runs a command in the copy until it ends, `isEnough` accepts a line, or `timeout` ms have passed. Returns its exit
 * status and its output lines.
 */
function run(command, args, more, { isEnough = () => false, timeout = 0 } = {}) {
  return new Promise((done, fail) => {
    const stdio = ["ignore", "pipe", "pipe"];
    const child = spawn(command, args, { cwd: TREE, env: { ...env, ...more }, stdio, timeout, killSignal: "SIGKILL" });
    const lines = [];
    const onLine = (line) => {
      lines.push(line);
      if (isEnough(line)) child.kill("SIGKILL");
    };
    for (const output of [child.stdout, child.stderr]) createInterface({ input: output }).on("line", onLine);
    child.on("error", fail);
    child.on("close", (status) => done({ status, lines }));
  });
}

/** Compiles a test target in the copy and returns the path of its executable. */
async function build(target) {
  const args = ["test", ...(target === "lib" ? ["--lib"] : ["--test", target]), "--no-run"];
  const { status, lines } = await run("bash", ["scripts/cargo.sh", ...args, "--message-format", "json"]);
  const messages = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  if (status !== 0) {
    const errors = messages.filter((message) => message.message?.level === "error");
    throw new Error(`the copy does not compile: ${errors[0]?.message.rendered ?? lines.at(-1)}`);
  }
  return messages.find((message) => message.executable && message.target.name === (target === "lib" ? "aforo" : target))
    .executable;
}

/** Runs the tests in the copy. Returns the broken invariant or test and the seed, or `null` if all pass. */
async function judge({ test, trouble }, seeds) {
  if (test) {
    const [target, name] = test.split(" ");
    const { status, lines } = await run(await build(target), ["--exact", name], {}, { timeout: TEST_LIMIT_MS[target] });
    if (!lines.some((line) => line.startsWith("running 1 test"))) throw new Error(`test ${name} not found`);
    return status === 0 ? null : { broken: test, where: "" };
  }
  const found = /^AFORO_SEED=(\d+): violated: (.*): Finding \{/;
  const more = { AFORO_SIM_SEEDS: seeds, ...(trouble ? { AFORO_SIM_TROUBLE: trouble } : {}) };
  const isEnough = (line) => found.test(line);
  const { status, lines } = await run(await build("sim"), ["--nocapture"], more, { isEnough });
  const finding = lines.map((line) => line.match(found)).find(Boolean);
  if (finding) return { broken: finding[2], where: `seed ${finding[1]}` };
  if (status !== 0) throw new Error(`the simulation failed without a finding: ${lines.slice(-20).join("\n")}`);
  return null;
}

async function tryOne(mutant) {
  try {
    git(TREE, ["apply", join(MUTANTS, `${mutant.name}.patch`)]);
  } catch (error) {
    return ["ERROR", `the patch does not apply: ${error.stderr.trim()}`];
  }
  try {
    const verdict = await judge(mutant, SEEDS);
    if (!verdict) return ["SURVIVED", mutant.fault];
    const isExpected = mutant.test || mutant.invariants.includes(verdict.broken);
    return [isExpected ? "caught" : "UNEXPECTED", `${verdict.broken} ${verdict.where}`.trim()];
  } catch (error) {
    return ["ERROR", error.message];
  }
}

const all = readdirSync(MUTANTS).filter((file) => file.endsWith(".patch")).map((file) => file.slice(0, -6));
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`not found in tests/mutants: ${unknown.join(", ")}. Available: ${all.join(", ")}`);
  process.exit(2);
}
const mutants = (asked.length > 0 ? asked : all.sort()).map(read);
const width = Math.max(...mutants.map(({ name }) => name.length));

// The copy has left its own program in the target folder, which cargo would take for that of the tree.
process.on("exit", () => {
  const now = new Date();
  for (const file of ["src/lib.rs", "src/main.rs"]) utimesSync(join(ROOT, file), now, now);
});

refresh();
const needed = [...new Map(mutants.map((mutant) => [mutant.test ?? `sim ${mutant.trouble ?? ""}`, mutant])).values()];
for (const one of needed) {
  const verdict = await judge(one, "12");
  if (verdict) {
    console.error(`the unchanged tree fails: ${verdict.broken} ${verdict.where}`);
    process.exit(1);
  }
}
console.log("the unchanged tree passes");

let missed = 0;
for (const mutant of mutants) {
  const [outcome, detail] = await tryOne(mutant);
  refresh();
  missed += outcome === "caught" ? 0 : 1;
  console.log(`${outcome.padEnd(10)} ${mutant.name.padEnd(width)}  ${detail}`);
}
console.log(`${mutants.length - missed} of ${mutants.length} faults were caught`);
process.exit(missed === 0 ? 0 : 1);
