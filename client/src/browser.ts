/**
 * What both the WebAssembly and the scripts ask of a browser. Nothing is decided here. What a browser refuses (storage in
 * a sandboxed frame, say) is done without, and what a page or an extension has broken fails alone: nothing here throws.
 *
 * The islands use it as src/platform/browser.js, which is made from this file.
 *
 * Whatever goes on for a while takes a callback and returns a function that ends it; one that is ended calls back no more.
 * The kind 0 always means that it failed.
 */

export type Callback = (kind: number, value: number, text: string) => void;
export type Stop = () => void;

const VIEWER = "aforo.viewer";

export const stop = (end: Stop): void => end();

/** Unlike performance.now() it goes on while the machine sleeps. */
export const now = (): number => Date.now();
export const random = (): number => Math.random();

/** Makes a function that starts something fail by its callback, its last argument, and not by an exception. */
const guarded =
  <A extends unknown[]>(start: (...args: [...A, Callback]) => Stop) =>
  (...args: [...A, Callback]): Stop => {
    try {
      return start(...args);
    } catch {
      const timer = setTimeout(args.at(-1) as Callback, 0, 0, 0, "");
      return () => clearTimeout(timer);
    }
  };

/** A version 4 UUID. crypto.randomUUID exists in secure contexts only, getRandomValues everywhere. */
export const newId = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 15) | 64;
  bytes[8] = (bytes[8]! & 63) | 128;
  const hex = Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(....)(....)(....)/, "$1-$2-$3-$4-");
};

let viewer: string | null | undefined;

/** This browser on this site; in memory where storage is refused. An id of zeros is not valid. */
export const viewerId = (): string => {
  try {
    viewer ??= localStorage.getItem(VIEWER);
  } catch {}
  if (!/^(?!0{8}-)[\da-f]{8}(-[\da-f]{4}){4}[\da-f]{8}$/.test(viewer!)) {
    viewer = newId();
    try {
      localStorage.setItem(VIEWER, viewer);
    } catch {}
  }
  return viewer!;
};

/** https://developer.mozilla.org/docs/Web/API/Document/prerendering */
export const isPrerendering = (): boolean => !!(document as { prerendering?: boolean }).prerendering;

const handed = new Set<Element>();

/**
 * What the page hands to an island: an attribute of the island's element. Islands come to life in the order in which they
 * stand in the document, so each takes the first that is left.
 */
export const handedOver = (name: string): string => {
  for (const element of document.querySelectorAll<HTMLElement>(`.${name}[data-island]`)) {
    if (!handed.has(element)) {
      handed.add(element);
      return element.dataset.island!;
    }
  }
  return "";
};

/**
 * Firefox cuts a closing tab off within milliseconds of `pagehide` and drops what the page sends after that, but waits for
 * its listeners of `beforeunload`. Elsewhere no event has this name: other browsers deliver what is sent in `pagehide`, and
 * `beforeunload` is also sent to pages that stay.
 */
const BEFORE_CLOSING = "mozInnerScreenX" in globalThis ? "beforeunload" : "none";

/** Kinds: the order of the list, which is that of `PageEvent`. */
export const onPageEvent = (callback: Callback): Stop => {
  const listeners: [EventTarget, string, (event: Event) => void][] = [
    [document, "visibilitychange", () => callback(0, 0, "")],
    [document, "prerenderingchange", () => callback(1, 0, "")],
    [window, "pagehide", () => callback(2, 0, "")],
    [document, "freeze", () => callback(3, 0, "")],
    [window, "pageshow", (event) => (event as PageTransitionEvent).persisted && callback(4, 0, "")],
    [document, "resume", () => callback(5, 0, "")],
    [window, "online", () => callback(6, 0, "")],
    [window, "offline", () => callback(7, 0, "")],
    [window, BEFORE_CLOSING, () => callback(8, 0, "")],
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);
  return () => {
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
  };
};

/** Calls back once half of the page's main part has been on screen, in the outermost window; at once if nothing can tell. */
export const onceSeen = /* @__PURE__ */ guarded<[]>((callback) => {
  const observer = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        observer.disconnect();
        callback(0, 0, "");
      }
    },
    { threshold: 0.5 },
  );
  observer.observe(document.querySelector("main") ?? document.documentElement);
  return () => observer.disconnect();
});

/** A count as the relay reads it: "ana 5 live 1790000000123". Of something else, words that it can't read. */
const written = (answer: Record<string, unknown>): string => {
  const { channelId, count, stale, asOf } = answer;
  return [channelId, count === null ? "-" : count, stale ? "stale" : "live", asOf].join(" ");
};

/**
 * Joins, or says that the page is still there. Kinds: 0 failed, value: milliseconds to wait at least; 1 counted, value:
 * milliseconds between beats, if the answer says, text: the count; 2 answered, not counted.
 */
export const beat = /* @__PURE__ */ guarded(
  (url: string, channelId: string, sessionId: string, hidden: boolean, callback: Callback) => {
    const controller = new AbortController();
    const { signal } = controller;
    const body = JSON.stringify({ channelId, viewerId: viewerId(), sessionId, hidden });
    fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal })
      .then(async (response): Promise<[number, number, string?]> => {
        if (!response.ok) return [0, Number(response.headers.get("Retry-After")) * 1e3];
        const answer = await response.json();
        return [
          answer.active === false ? 2 : 1,
          answer.heartbeatIntervalMs,
          written({ ...answer, channelId, asOf: 0 }),
        ];
      })
      .catch((): [number, number] => [0, 0])
      .then(([kind, value, text]) => signal.aborted || callback(kind, value || 0, text ?? ""));
    return () => controller.abort();
  },
);

/** Says that the page goes. A beacon, as text/plain, needs no preflight and is delivered even if the page is gone by then. */
export const leave = (url: string, channelId: string, sessionId: string): void => {
  const body = JSON.stringify({ channelId, viewerId: viewerId(), sessionId });
  try {
    if (navigator.sendBeacon(url, body)) return;
  } catch {}
  try {
    fetch(url, { method: "POST", body, keepalive: true }).catch(() => {});
  } catch {}
};

/** Asks the server for something. Kinds: 0 no answer in this time, or one that it can't give; 1 answered, text: what is read. */
const ask = /* @__PURE__ */ guarded(
  (
    url: string,
    mode: RequestMode,
    millis: number,
    read: (response: Response) => string | Promise<string>,
    callback: Callback,
  ) => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), millis);
    let over = false;
    fetch(url, { cache: "no-store", mode, signal: controller.signal })
      .then((response): string | Promise<string> => {
        if (response.status >= 500) throw response;
        return read(response);
      })
      .then(
        (text) => over || callback(1, 0, text),
        () => over || callback(0, 0, ""),
      );
    return () => {
      over = true;
      clearTimeout(timer);
      controller.abort();
    };
  },
);

/** Whether the server is there: any answer below 500 proves it. An answer that the page may not read is one, too. */
export const probe = (url: string, millis: number, callback: Callback): Stop =>
  ask(url, "no-cors", millis, () => "", callback);

/** The counts of some channels. Text: each as the relay reads it, separated by commas. */
export const counts = (url: string, millis: number, callback: Callback): Stop =>
  ask(url, "cors", millis, async (response) => (await response.json()).counts.map(written).join(), callback);

/** Opens an event stream. Kinds: 0 broken; 1 a tick; 2 a count, text: as the relay reads it. Junk is ignored. */
export const openStream = /* @__PURE__ */ guarded((url: string, callback: Callback) => {
  const source = new EventSource(url);
  source.onmessage = ({ data }) => {
    let text;
    try {
      text = written(JSON.parse(data));
    } catch {
      return;
    }
    callback(2, 0, text);
  };
  source.addEventListener("tick", () => callback(1, 0, ""));
  source.onerror = () => callback(0, 0, "");
  // Firefox and WebKit end the streams of a page that was to be left and stays, as with a link to a download, and say nothing.
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leaving = () => {
    timer = setTimeout(() => {
      source.close();
      callback(0, 0, "");
    }, 2_000);
  };
  if (navigator.vendor !== "Google Inc.") addEventListener("beforeunload", leaving);
  // A closed source calls back no more.
  return () => {
    source.close();
    clearTimeout(timer);
    removeEventListener("beforeunload", leaving);
  };
});

let tabs: BroadcastChannel | undefined;

/** Listens to the other tabs, if tabs can share a stream: in secure contexts, and not in sandboxed frames. */
export const joinTabs = (name: string, callback: Callback): Stop => {
  try {
    // Asking is allowed everywhere; being refused takes a request.
    if (navigator.locks && localStorage) {
      tabs = new BroadcastChannel(name);
      tabs.onmessage = ({ data }) => typeof data === "string" && callback(1, 0, data);
    }
  } catch {}
  return () => {
    tabs?.close();
    tabs = undefined;
  };
};
export const canShare = (): boolean => !!tabs;
export const tell = (text: string): void => tabs?.postMessage(text);

/** Asks to be the one tab that has the stream. Kinds: 0 another has taken over, or it can't be had; 1 it is. */
export const lead = /* @__PURE__ */ guarded((name: string, steal: boolean, callback: Callback) => {
  const controller = new AbortController();
  let release: (() => void) | undefined;
  let over = false;
  navigator.locks
    .request(
      name,
      steal ? { steal } : { signal: controller.signal },
      () =>
        over ||
        new Promise<void>((done) => {
          release = done;
          callback(1, 0, "");
        }),
    )
    .catch(() => over || callback(0, 0, ""));
  return () => {
    over = true;
    if (release) release();
    else controller.abort();
  };
});
