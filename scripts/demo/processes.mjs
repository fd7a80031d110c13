// The programs of the demo. They end with it, however it ends, and their folder goes too.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Reads process ids until its input ends; then ends these processes and removes the folder `$0`. */
const GUARD = `
pids=
while read -r pid; do pids="$pids $pid"; done
running() { for pid in $pids; do kill -0 $pid 2>/dev/null && return; done; return 1; }
kill -TERM $pids 2>/dev/null
tries=0
while running && [ $tries -lt 120 ]; do tries=$((tries + 1)); sleep 0.1; done
running && kill -KILL $pids 2>/dev/null
rm -rf "$0"
`;

/** Of the environment, only what programs need to run: settings of Aforo in it are not for the demo. */
const { PATH, HOME, TMPDIR } = process.env;
const ENVIRONMENT = { PATH, HOME, ...(TMPDIR && { TMPDIR }) };

export class Processes {
  #guard;
  #ends = false;
  /** The temporary folder of the demo. */
  folder;

  static async start() {
    const processes = new Processes();
    processes.folder = await mkdtemp(join(tmpdir(), "aforo-demo-"));
    // Of its own session: Ctrl+C in the terminal reaches only the demo itself, which ends the rest in order.
    processes.#guard = spawn("sh", ["-c", GUARD, processes.folder], {
      stdio: ["pipe", "ignore", "inherit"],
      detached: true,
    });
    return processes;
  }

  /** Starts a program with its output in `<name>.log`. If it ends before the demo, `failed` gets a message. */
  run(name, program, args, { env, failed }) {
    const log = join(this.folder, `${name}.log`);
    const output = openSync(log, "a");
    const child = spawn(program, args, {
      env: { ...ENVIRONMENT, ...env },
      stdio: ["ignore", output, output],
      detached: true,
    });
    child.on("error", (error) => failed(`${name} did not start: ${error.message}`));
    child.on("exit", (code, signal) => {
      if (this.#ends) return;
      const lines = readFileSync(log, "utf8").trim().split("\n").slice(-5);
      failed(`${name} ended (${signal ?? code}):\n${lines.join("\n")}`);
    });
    if (child.pid) this.#guard.stdin.write(`${child.pid}\n`);
  }

  /** Runs a program to its end. Returns what it printed. */
  async output(program, args) {
    const stdio = ["ignore", "pipe", "inherit"];
    const child = spawn(program, args, { env: ENVIRONMENT, stdio, detached: true });
    const ended = once(child, "exit");
    this.#guard.stdin.write(`${child.pid}\n`);
    let text = "";
    for await (const part of child.stdout) text += part;
    const [code] = await ended;
    if (code !== 0) throw new Error(`${program} ${args[0]} ended with ${code}`);
    return text;
  }

  /** Ends all programs and removes the folder. */
  async end() {
    if (!this.#ends) {
      this.#ends = true;
      this.#guard.stdin.end();
    }
    if (this.#guard.exitCode === null) await once(this.#guard, "exit");
  }
}

/** Waits until `isMet` returns something, and returns it. */
export async function until(what, isMet, seconds = 30) {
  const end = Date.now() + seconds * 1_000;
  for (;;) {
    const met = await isMet();
    if (met) return met;
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain: ${what}`);
    await new Promise((passed) => setTimeout(passed, 100));
  }
}

/** Whether a port of this machine accepts connections. */
export async function accepts(port) {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
