// Smoke test of the output of `shrink.mjs` in a simulated page: each island must hydrate, show the counts of its
// stream, send beats and leave, also after failures. A removed function that is needed after all traps here.
//
//   node scripts/smoke.mjs <folder with wasm-bindgen's output> <folder with aforo.js and aforo.wasm>
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Window } from "happy-dom";

const [input, output] = process.argv.slice(2);
const ISLANDS = join(import.meta.dirname, "../src/islands");
const expect = (condition, what) => {
  if (!condition) throw new Error(`the browser code does not work: ${what}`);
};

/** The names of the islands in the source. In the bindings a hash follows the name. */
const named = readdirSync(ISLANDS).flatMap((file) =>
  [
    ...readFileSync(join(ISLANDS, file), "utf8").matchAll(
      /#\[island\]\s+(?:pub )?fn (\w+)/g,
    ),
  ].map(([, name]) => name),
);
const bindings = readFileSync(join(input, "aforo_bg.js"), "utf8");
const islands = new Map(
  named.map((name) => [
    name,
    new RegExp(`export function (${name}_\\d+)\\(`).exec(bindings)?.[1],
  ]),
);

/** The islands' HTML as the server renders it (src/islands). */
const HTML = {
  Counter: `<span class="viewer-counter" data-island="viewer es ana 3 live 1790000000000" role="img" data-state="live" aria-label="3 espectadores" title="3 espectadores"><span class="viewer-counter__dot"></span><svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true"><path d="M2"></path><circle cx="12" cy="12" r="3"></circle></svg><span class="viewer-counter__number">3</span></span>`,
  Tracker: `<span class="embed-viewer-tracker" data-island="eva" hidden></span>`,
};

/** The browser APIs that the browser code uses. */
const window = new Window({ url: "https://aforo.test/ana" });
const requests = [];
const streams = [];
/** The server's response to a beat. */
let answer = () =>
  Response.json({
    count: 3,
    stale: false,
    active: true,
    heartbeatIntervalMs: 1,
  });
class EventSource extends window.EventTarget {
  constructor(url) {
    super();
    this.url = String(url);
    streams.push(this);
  }
  close() {}
  emit(kind, data) {
    const event = new window.MessageEvent(kind, { data });
    this[`on${kind}`]?.(event);
    this.dispatchEvent(event);
  }
}
const fakeFetch = async (url, options = {}) => {
  if (String(url).startsWith("file:"))
    return new Response(readFileSync(new URL(url)));
  requests.push({
    path: new URL(url, window.location.href).pathname,
    body: options.body,
  });
  return answer();
};
const sendBeacon = (url, body) =>
  requests.push({ path: new URL(url, window.location.href).pathname, body });
Object.defineProperty(window.navigator, "sendBeacon", { value: sendBeacon });
for (const name of [
  "document",
  "navigator",
  "location",
  "localStorage",
  "history",
  "CSSStyleSheet",
  "HTMLElement",
]) {
  Object.defineProperty(globalThis, name, {
    value: window[name],
    configurable: true,
  });
}
for (const name of [
  "Window",
  "Node",
  "Element",
  "Text",
  "Comment",
  "Document",
  "Event",
  "CustomEvent",
  "DocumentFragment",
]) {
  globalThis[name] = window[name] ?? window.window[name];
}
Object.assign(globalThis, {
  window,
  self: window,
  EventSource,
  fetch: fakeFetch,
});
Object.assign(window, {
  EventSource,
  fetch: fakeFetch,
  IntersectionObserver: undefined,
});
for (const name of [
  "addEventListener",
  "removeEventListener",
  "dispatchEvent",
]) {
  globalThis[name] = window[name].bind(window);
}
Object.defineProperty(window, "constructor", {
  value: window.Window ?? Window,
});

const faults = [];
process.on("uncaughtException", (fault) => faults.push(fault));
process.on("unhandledRejection", (fault) => faults.push(fault));
const sleep = (ms) => new Promise((passed) => setTimeout(passed, ms));
/** Waits until a condition holds. */
const until = async (condition, what) => {
  for (let i = 0; i < 200 && !condition(); i += 1) await sleep(20);
  expect(faults.length === 0, `${what}: ${faults[0]?.stack}`);
  expect(condition(), what);
};
const calls = (path, channel) =>
  requests.filter(
    (request) =>
      request.path.endsWith(path) && request.body?.includes(`"${channel}"`),
  ).length;
const emitPageEvent = (event) => window.dispatchEvent(new window.Event(event));

setTimeout(
  () => fail(new Error("the test did not end within 60 s")),
  60_000,
);
const fail = (fault) => {
  console.error(fault);
  process.exit(1);
};

async function run() {
  const module = await import(pathToFileURL(resolve(output, "aforo.js")));
  await module.default({
    module_or_path: pathToFileURL(resolve(output, "aforo.wasm")),
  });
  module.hydrate("a.ticket");
  expect(named.length > 0, "no islands found in the source");
  for (const [name, exported] of islands) {
    expect(exported && module[exported], `island ${name} is not exported`);
    expect(HTML[name], `smoke.mjs has no HTML for island ${name}`);
    const island = window.document.createElement("leptos-island");
    island.innerHTML = HTML[name];
    window.document.body.append(island);
    module[exported](island);
  }

  const badge = window.document.querySelector(".viewer-counter");
  const shows = (text, state) => () =>
    badge.textContent === text && badge.dataset.state === state;
  await until(
    () => calls("/join", "ana") && calls("/join", "eva"),
    "islands join",
  );
  const bodies = (call) =>
    requests
      .filter(({ path }) => path.endsWith(call))
      .map(({ body }) => JSON.parse(body));
  expect(
    bodies("/join").every(({ ticket }) => ticket === "a.ticket"),
    "joins carry the ticket",
  );
  await until(() => streams.length > 0, "a stream is opened");
  const message = (count, stale) =>
    JSON.stringify({ channelId: "ana", count, stale, asOf: Date.now() });
  streams.at(-1).emit("message", message(7, false));
  await until(shows("7", "live"), "the badge shows a count of its stream");
  streams.at(-1).emit("message", message(12_345, true));
  await until(shows("12.345", "stale"), "the badge shows a stale count");
  streams.at(-1).emit("message", message(null, true));
  await until(shows("—", "unknown"), "the badge shows an unknown count");
  streams.at(-1).emit("tick", "");
  streams.at(-1).emit("error");

  // Every kind of response, and every page event.
  const answers = [
    () => Response.json({ count: 3, stale: true, active: false }),
    () => new Response("", { status: 500 }),
    () => Response.json({ code: "ticket-required" }, { status: 403 }),
    () => Response.json({ code: "ticket-expired" }, { status: 403 }),
    () => new Response("", { status: 429, headers: { "retry-after": "1" } }),
    () => new Response("not JSON"),
    () => Promise.reject(new TypeError("no network")),
  ];
  for (answer of answers) {
    for (const event of ["offline", "online", "freeze", "resume", "pagehide"])
      emitPageEvent(event);
    window.dispatchEvent(
      Object.assign(new window.Event("pageshow"), { persisted: true }),
    );
    window.document.dispatchEvent(new window.Event("visibilitychange"));
    await sleep(50);
  }
  answer = () =>
    Response.json({
      count: 1,
      stale: false,
      active: true,
      heartbeatIntervalMs: 1,
    });
  const joined = calls("/join", "ana");
  window.dispatchEvent(
    Object.assign(new window.Event("pageshow"), { persisted: true }),
  );
  await until(
    () => calls("/join", "ana") > joined,
    "a page that comes back joins again",
  );
  const left = calls("/leave", "ana");
  emitPageEvent("pagehide");
  await until(
    () => calls("/leave", "ana") > left && calls("/leave", "eva"),
    "islands leave",
  );
}

run().then(() => {
  console.log(`smoke test passed: ${named.join(", ")}`);
  process.exit(0);
}, fail);
