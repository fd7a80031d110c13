// Runs what `shrink.mjs` has made as a page does, and fails unless it lives: each island is there, wakes up, shows the news of
// its stream, joins, beats and leaves, through failures too. A function that was left out and is needed after all traps here.
//
//   node scripts/smoke.mjs <folder with wasm-bindgen's output> <folder with aforo.js and aforo.wasm>
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Window } from "happy-dom";

const [input, output] = process.argv.slice(2);
const ISLANDS = join(import.meta.dirname, "../src/islands");
const expect = (isSo, what) => {
  if (!isSo) throw new Error(`the browser half does not live: ${what}`);
};

/** Islands by their name in the source; in the bindings a hash follows it. */
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

/** The islands as the server renders them (src/islands). */
const HTML = {
  Counter: `<span class="viewer-counter" data-island="viewer es ana 3 live 1790000000000" role="img" data-state="live" aria-label="3 espectadores" title="3 espectadores"><span class="viewer-counter__dot"></span><svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true"><path d="M2"></path><circle cx="12" cy="12" r="3"></circle></svg><span class="viewer-counter__number">3</span></span>`,
  Tracker: `<span class="embed-viewer-tracker" data-island="eva" hidden></span>`,
};

/** The parts of a browser that the browser half asks for. */
const window = new Window({ url: "https://aforo.test/ana" });
const requests = [];
const streams = [];
/** How the server answers beats. */
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
  tell(kind, data) {
    const event = new window.MessageEvent(kind, { data });
    this[`on${kind}`]?.(event);
    this.dispatchEvent(event);
  }
}
const fetchOf = async (url, options = {}) => {
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
  fetch: fetchOf,
});
Object.assign(window, {
  EventSource,
  fetch: fetchOf,
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
/** Waits until something is so. */
const until = async (isSo, what) => {
  for (let i = 0; i < 200 && !isSo(); i += 1) await sleep(20);
  expect(faults.length === 0, `${what}: ${faults[0]?.stack}`);
  expect(isSo(), what);
};
const calls = (path, channel) =>
  requests.filter(
    (request) =>
      request.path.endsWith(path) && request.body?.includes(`"${channel}"`),
  ).length;
const page = (event) => window.dispatchEvent(new window.Event(event));

/** Far longer than it takes. */
setTimeout(
  () => fail(new Error("the browser half does not come to an end")),
  60_000,
);
const fail = (fault) => {
  console.error(fault);
  process.exit(1);
};

async function run() {
  const half = await import(pathToFileURL(resolve(output, "aforo.js")));
  await half.default({
    module_or_path: pathToFileURL(resolve(output, "aforo.wasm")),
  });
  half.hydrate();
  expect(named.length > 0, "there is no island in the source");
  for (const [name, exported] of islands) {
    expect(exported && half[exported], `island ${name} is not exported`);
    expect(HTML[name], `there is no HTML of ${name} to try it with`);
    const island = window.document.createElement("leptos-island");
    island.innerHTML = HTML[name];
    window.document.body.append(island);
    half[exported](island);
  }

  const badge = window.document.querySelector(".viewer-counter");
  const shows = (text, state) => () =>
    badge.textContent === text && badge.dataset.state === state;
  await until(
    () => calls("/join", "ana") && calls("/join", "eva"),
    "islands join",
  );
  await until(() => streams.length > 0, "a stream is opened");
  const news = (count, stale) =>
    JSON.stringify({ channelId: "ana", count, stale, asOf: Date.now() });
  streams.at(-1).tell("message", news(7, false));
  await until(shows("7", "live"), "the badge shows the news of its stream");
  streams.at(-1).tell("message", news(12_345, true));
  await until(shows("12.345", "stale"), "the badge shows old news as old");
  streams.at(-1).tell("message", news(null, true));
  await until(shows("—", "unknown"), "the badge shows that nothing is known");
  streams.at(-1).tell("tick", "");
  streams.at(-1).tell("error");

  // Every kind of answer, and everything that happens to a page.
  const answers = [
    () => Response.json({ count: 3, stale: true, active: false }),
    () => new Response("", { status: 500 }),
    () => new Response("", { status: 429, headers: { "retry-after": "1" } }),
    () => new Response("not JSON"),
    () => Promise.reject(new TypeError("no network")),
  ];
  for (answer of answers) {
    for (const event of ["offline", "online", "freeze", "resume", "pagehide"])
      page(event);
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
  page("pagehide");
  await until(
    () => calls("/leave", "ana") > left && calls("/leave", "eva"),
    "islands leave",
  );
}

run().then(() => {
  console.log(`the browser half lives: ${named.join(", ")}`);
  process.exit(0);
}, fail);
