// The crowd of the demo: viewers who come, stay a while and go. Each is a browser of its own, as far as the API can tell:
// an id, a join, heartbeats, and a leave. Some just vanish, as browsers do.
import { randomUUID } from "node:crypto";

/** The mean time that a viewer stays, in milliseconds. */
const STAY = 240_000;

/** The hosts of the pages that embed the player. */
const HOSTS = ["news.example", "forum.example", "blog.example"];

const sleep = (ms, signal) =>
  new Promise((passed) => {
    const timer = setTimeout(passed, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), passed()), { once: true });
  });

export class Crowd {
  #base;
  #ended = new AbortController();
  #watching = new Map();

  constructor(base) {
    this.#base = base;
  }

  /** Keeps the number of viewers of a channel near `level`, up and down, from `level` viewers on. */
  async fill(channel, level) {
    // A listener of each viewer that waits.
    (await import("node:events")).setMaxListeners(0, this.#ended.signal);
    const began = Date.now();
    while (!this.#ended.signal.aborted) {
      const wave = 1 + 0.35 * Math.sin((Date.now() - began) / 45_000);
      const wanted = Math.max(1, Math.round(level * wave));
      const missing = wanted - (this.#watching.get(channel) ?? 0);
      // At the start all of them come back, as after a restart of the server; later they come one by one.
      const come = Date.now() - began < 2_000 ? missing : Math.min(missing, 3);
      for (let i = 0; i < come; i += 1) void this.#watch(channel);
      await sleep(400 + Math.random() * 1_600, this.#ended.signal);
    }
  }

  /** Everyone goes. */
  end() {
    this.#ended.abort();
  }

  async #watch(channel) {
    this.#watching.set(channel, (this.#watching.get(channel) ?? 0) + 1);
    const who = { channelId: channel, viewerId: randomUUID(), sessionId: randomUUID() };
    const embeddedIn = Math.random() < 0.3 ? HOSTS[Math.floor(Math.random() * HOSTS.length)] : undefined;
    const goes = Date.now() - Math.log(1 - Math.random()) * STAY;
    const { heartbeatIntervalMs = 30_000 } = (await this.#call("join", { ...who, embeddedIn })) ?? {};
    for (;;) {
      const beat = heartbeatIntervalMs * (0.8 + Math.random() / 5);
      await sleep(Math.max(0, Math.min(beat, goes - Date.now())), this.#ended.signal);
      if (this.#ended.signal.aborted || Date.now() >= goes) break;
      await this.#call("heartbeat", who);
    }
    if (Math.random() < 0.9) await this.#call("leave", who);
    this.#watching.set(channel, this.#watching.get(channel) - 1);
  }

  /** A call of the API. A failed one is tried again with the next heartbeat. */
  async #call(name, body) {
    if (this.#ended.signal.aborted) return undefined;
    try {
      const response = await fetch(`${this.#base}/api/viewer/${name}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: this.#ended.signal,
      });
      return response.ok ? await response.json() : undefined;
    } catch {
      return undefined;
    }
  }
}
