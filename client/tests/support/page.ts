/**
 * A page without a browser, for the tests of the npm package: the globals of a page at https://site.test/, and a server
 * whose answers the test chooses. Import it before the code under test.
 */

import { mock } from "node:test";
import { pathToFileURL } from "node:url";

type HappyDom = typeof import("../../../scripts/node_modules/happy-dom/lib/index.js");
const { Window } = (await import(
  pathToFileURL("scripts/node_modules/happy-dom/lib/index.js").href
)) as HappyDom;

const window = new Window({ url: "https://site.test/watch" });
for (const name of [
  "document",
  "location",
  "localStorage",
  "HTMLElement",
  "HTMLIFrameElement",
  "MutationObserver",
  "CSSStyleSheet",
  "customElements",
] as const) {
  Object.defineProperty(globalThis, name, { value: window[name], writable: true });
}
Object.assign(globalThis, {
  window: globalThis,
  addEventListener: window.addEventListener.bind(window),
  removeEventListener: window.removeEventListener.bind(window),
  dispatchEvent: window.dispatchEvent.bind(window),
  reportError: (error: unknown) => reported.push(error),
});
Object.defineProperty(globalThis, "navigator", {
  value: {
    vendor: "Google Inc.",
    userAgent: "",
    sendBeacon(url: string, body: string) {
      calls.push({ call: url.split("/").at(-1)!, url, body: JSON.parse(body) });
      return true;
    },
  },
});

/** A beat or a leave. */
export interface Call {
  call: string;
  url: string;
  body: { channelId: string; viewerId: string; sessionId: string; hidden?: boolean; ticket?: string };
}

/** The viewer of every ticket. */
export const ACCOUNT = "5a3c1d62-7b1f-8e1a-9c45-0d6f2b7e8a90";

/** The beats and leaves since the last `reset`. */
export const calls: Call[] = [];
/** The paths of other requests. */
export const requests: string[] = [];
/** What was reported as an uncaught exception. */
export const reported: unknown[] = [];

type Answer = (call: Call) => Response | Promise<Response>;
const json = (body: object, status = 200, headers = {}) =>
  new Response(JSON.stringify(body), { status, headers });
/** Counts every session, those with a ticket as one account. */
export const counting: Answer = ({ call, body }) => {
  const answer = { channelId: body.channelId, count: 1, stale: false, active: true };
  if (call !== "join") return json(answer);
  const viewerId = body.ticket ? ACCOUNT : body.viewerId;
  return json({ ...answer, viewerId, heartbeatIntervalMs: 30_000 });
};
/** Refuses with a problem document. */
export const refusing =
  (status: number, code: string): Answer =>
  () =>
    json({ code, status }, status, { "Retry-After": "7" });
/** Does not answer, like a server that is down. */
export const down: Answer = () => Promise.reject(new TypeError("Failed to fetch"));

let answer = counting;
/** Chooses the answers to beats from now on. */
export const setAnswer = (next: Answer): void => {
  answer = next;
};

let isReachable = true;
/** Chooses whether the server answers other requests from now on. */
export const setReachable = (next: boolean): void => {
  isReachable = next;
};

globalThis.fetch = (async (url: string, options: { method?: string; body?: string } = {}) => {
  const path = url.split("/api/viewer/")[1]!;
  if (options.method === "POST") {
    const call = { call: path, url, body: JSON.parse(options.body!) as Call["body"] };
    calls.push(call);
    return answer(call);
  }
  requests.push(path);
  if (!isReachable) throw new TypeError("Failed to fetch");
  return new Response(null, { status: 204 });
}) as typeof fetch;

/** What is no count of the channel `ana`, although a proxy or a faulty server may send it. */
export const JUNK = [
  "",
  "{",
  "<h1>Bad gateway</h1>",
  "null",
  "5",
  "[]",
  '"ana"',
  "{}",
  '{"channelId":"ana"}',
  '{"channelId":["ana"],"count":9}',
  '{"channelId":"eva","count":9}',
  ...['"many"', '"9"', "-1", "1.5", "1e999", "true", "{}", "[9]"].map(
    (count) => `{"channelId":"ana","count":${count},"stale":false,"asOf":1}`,
  ),
];

/** A stream that the page opened. */
export class Stream extends EventTarget {
  static all: Stream[] = [];
  onmessage?: (event: { data: string }) => void;
  onerror?: () => void;
  isOpen = true;

  constructor(readonly url: string) {
    super();
    if (!URL.canParse(url, location.href)) throw new SyntaxError(url);
    Stream.all.push(this);
  }

  /** The streams that are open now. */
  static get open(): Stream[] {
    return this.all.filter(({ isOpen }) => isOpen);
  }

  /** Delivers a count. */
  send(channelId: string, count: number | null, stale = false): void {
    this.deliver(JSON.stringify({ channelId, count, stale, asOf: 1 }));
  }

  /** Delivers an event with any data. */
  deliver(data: string, type = "message"): void {
    const event = new MessageEvent(type, { data });
    this.dispatchEvent(event);
    if (type === "message") this.onmessage?.(event);
  }

  tick(): void {
    this.deliver("{}", "tick");
  }

  break(): void {
    this.dispatchEvent(new Event("error"));
    this.onerror?.();
  }

  close(): void {
    this.isOpen = false;
  }
}
Object.assign(globalThis, { EventSource: Stream });

/** Takes over the clock, which then stands still but for `pass`, and random numbers, which are in the middle. */
export const holdClock = (): void => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  // The timers of Node.js 20 lose their order if one has no delay.
  const { setTimeout } = globalThis;
  globalThis.setTimeout = ((callback: () => void, delay = 0, ...rest: []) =>
    setTimeout(callback, delay, ...rest)) as typeof setTimeout;
  mock.method(Math, "random", () => 0.5);
};
export const releaseClock = (): void => {
  mock.timers.reset();
  mock.restoreAll();
};

/** Lets time pass on the held clock. Requests are answered within it. */
export const pass = async (millis: number): Promise<void> => {
  for (let rest = millis; rest > 0; rest -= 500) {
    mock.timers.tick(Math.min(rest, 500));
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
  }
};

/** Hides or shows the page. */
export const setHidden = (hidden: boolean): void => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new window.Event("visibilitychange", { bubbles: true }) as unknown as Event);
};

/** Dispatches an event of the window, such as `pagehide`. */
export const dispatch = (type: string): void => void window.dispatchEvent(new window.Event(type));

/** Forgets what was recorded, and answers as at first. */
export const reset = (): void => {
  calls.length = requests.length = reported.length = Stream.all.length = 0;
  answer = counting;
  isReachable = true;
  setHidden(false);
};
