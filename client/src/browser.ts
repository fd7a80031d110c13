/**
 * Browser APIs for the WebAssembly and for the page scripts, without any decisions. No function here throws: if a
 * browser refuses an API (such as storage in a sandboxed frame), or a page or an extension has broken it, the rest
 * still works.
 *
 * client/build.mjs generates src/platform/browser.js, which the islands use, from this file. It stays beside gloo and
 * web-sys because the page scripts without WebAssembly run the same code, and because each operation is one call that
 * never throws.
 *
 * A function that starts a long-running operation takes a callback and returns a function that stops the operation.
 * A stopped operation does not call back. Requests, streams and locks report a failure as kind 0.
 *
 * The bindings of the WebAssembly trust the types of a callback's arguments: anything but a text in place of a text
 * damages its memory. What comes from a server, another tab or storage is therefore checked here.
 */

export type Callback = (kind: number, value: number, text: string) => void;
export type Stop = () => void;

const VIEWER = "aforo.viewer";

export const stop = (end: Stop): void => end();

/** Milliseconds since the epoch. Unlike performance.now(), this clock advances while the machine sleeps. */
export const now = (): number => Date.now();
export const random = (): number => Math.random();

/** Wraps a function that starts an operation: an exception becomes a callback (the last argument) with kind 0. */
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

/** A version 4 UUID. crypto.randomUUID needs a secure context; getRandomValues does not. */
export const newId = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 15) | 64;
  bytes[8] = (bytes[8]! & 63) | 128;
  const hex = Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(....)(....)(....)/, "$1-$2-$3-$4-");
};

let viewer: string | undefined;

/**
 * The id of this browser on this site, kept in memory if storage is refused. An id of zeros is invalid.
 *
 * It is read again each time. Tabs that open at once may each make one, and the last one stays in storage.
 */
export const viewerId = (): string => {
  try {
    const stored = localStorage.getItem(VIEWER);
    if (/^(?!0{8}-)[\da-f]{8}(-[\da-f]{4}){4}[\da-f]{8}$/.test(stored!)) viewer = stored!;
  } catch {}
  if (!viewer) {
    viewer = newId();
    try {
      localStorage.setItem(VIEWER, viewer);
    } catch {}
  }
  return viewer;
};

/**
 * The viewer of each session: this browser, as it joined, or as the server answered the join. For a session with a ticket
 * this is the viewer of the ticket, an id of version 8.
 */
const viewers = new Map<string, string>();

/** The sessions that have left, and not joined again. */
const left = new Set<string>();

/** https://developer.mozilla.org/docs/Web/API/Document/prerendering */
export const isPrerendering = (): boolean => !!(document as { prerendering?: boolean }).prerendering;

const handed = new Set<Element>();

/**
 * The data that the server hands over to an island, an attribute of the island's element. Islands hydrate in document
 * order, so each call takes the first element that is left.
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

/** Kinds: the position in the list, which has the order of the Rust enum `PageEvent`. */
export const onPageEvent = (callback: Callback): Stop => {
  // In this event Firefox must send the leave. Firefox kills a closing tab within milliseconds of `pagehide` and drops
  // requests sent after that, but it waits for `beforeunload` listeners. Other browsers deliver requests sent in
  // `pagehide` and must not use `beforeunload`, which also fires on pages that stay; for them the name matches no event.
  const beforeClosing = "mozInnerScreenX" in globalThis ? "beforeunload" : "none";
  const listeners: [EventTarget, string, (event: Event) => void][] = [
    [document, "visibilitychange", () => callback(0, 0, "")],
    [document, "prerenderingchange", () => callback(1, 0, "")],
    [window, "pagehide", () => callback(2, 0, "")],
    [document, "freeze", () => callback(3, 0, "")],
    [window, "pageshow", (event) => (event as PageTransitionEvent).persisted && callback(4, 0, "")],
    [document, "resume", () => callback(5, 0, "")],
    [window, "online", () => callback(6, 0, "")],
    [window, "offline", () => callback(7, 0, "")],
    [window, beforeClosing, () => callback(8, 0, "")],
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);
  return () => {
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
  };
};

/**
 * Calls back when half of the page's main element has been visible in the top-level window, or has covered half of it. If
 * the browser can't observe visibility, calls back at once.
 *
 * A frame of another origin does not know the size of the page in the window. It takes the size of the window with its bars.
 * The browser reports every hundredth: what covers the window may be a small part of the element.
 */
export const onceSeen = /* @__PURE__ */ guarded<[]>((callback) => {
  /** The area of a rectangle; without one, that of the window. */
  const area = (rect: DOMRectReadOnly | null) =>
    rect ? rect.width * rect.height : outerWidth * outerHeight || Infinity;
  const observer = new IntersectionObserver(
    (entries) => {
      const isSeen = (entry: IntersectionObserverEntry) =>
        entry.isIntersecting &&
        (entry.intersectionRatio >= 0.5 || 2 * area(entry.intersectionRect) >= area(entry.rootBounds));
      if (entries.some(isSeen)) {
        observer.disconnect();
        callback(0, 0, "");
      }
    },
    { threshold: Array.from(Array(51), (_, hundredths) => hundredths / 100) },
  );
  observer.observe(document.querySelector("main") ?? document.documentElement);
  return () => observer.disconnect();
});

/** A text from outside; "" for anything else. */
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/**
 * Formats a count for the relay: "ana 5 live 1790000000123 on". The relay ignores the result for any other JSON. Servers
 * without live signals send no `live`, or `null`.
 */
const written = (answer: Record<string, unknown>): string => {
  const { channelId, count, stale, asOf, live } = answer;
  // An array would be written like its only item.
  if (!textOf(channelId) || (count !== null && typeof count !== "number")) return "";
  const words = [channelId, count ?? "-", stale ? "stale" : "live", asOf];
  if (live != null) words.push(live ? "on" : "off");
  return words.join(" ");
};

const ids = (channelId: string, sessionId: string) => ({
  channelId,
  viewerId: viewers.get(sessionId) ?? viewerId(),
  sessionId,
});

/** The host of the page that embeds this one; undefined for a page of its own. */
const embedder = () => {
  const { top, self, location, document } = globalThis;
  if (top === self) return;
  try {
    const { hostname } = new URL(location.ancestorOrigins?.[0] || document.referrer);
    return hostname === location.hostname ? undefined : hostname;
  } catch {
    return "";
  }
};

/**
 * Sends a join or a heartbeat. Kinds:
 * - 0: failed. Value: the shortest wait before a retry, in milliseconds. Text: the code of the server's problem, or "".
 * - 1: the session is counted. Value: milliseconds between beats, or 0. Text: the count.
 * - 2: the session is not counted. Value: as for 1.
 * - 3: the server wants a ticket.
 * - 4: the ticket is invalid or has expired.
 *
 * `ticket`: the ticket to send, or "".
 *
 * If another tab has stored another id of this browser, the session leaves with the old one, until the beat is stopped. That
 * is kind 2, and the next join has the stored id.
 *
 * A join that is stopped because its session has left goes on: even if it were aborted, it might arrive after the leave and be
 * counted. The session leaves again when the join has ended. A page that goes away aborts it.
 */
export const beat = /* @__PURE__ */ guarded(
  (
    url: string,
    channelId: string,
    sessionId: string,
    hidden: boolean,
    ticket: string,
    callback: Callback,
  ) => {
    const controller = new AbortController();
    const { signal } = controller;
    const isJoin = /join$/.test(url);
    const toLeave = url.replace(/\w+$/, "leave");
    let isOver = false;
    let leaveAgain: (() => void) | undefined;
    left.delete(sessionId);
    if (isJoin && !ticket) viewers.set(sessionId, viewerId());
    const body = JSON.stringify({
      ...ids(channelId, sessionId),
      hidden,
      ticket: ticket || undefined,
      embeddedIn: isJoin ? embedder() : undefined,
    });
    const abort = () => controller.abort();
    addEventListener("pagehide", abort);
    fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal })
      .then(async (response): Promise<[number, number, string?]> => {
        if (!response.ok) {
          const problem = await response.json().catch(() => {});
          // A gateway may answer with JSON of its own.
          const code = textOf(problem?.code);
          if (code === "ticket-required") return [3, 0, code];
          if (/^ticket/.test(code)) {
            // The next join is one of this browser.
            viewers.delete(sessionId);
            return [4, 0, code];
          }
          return [0, Number(response.headers.get("Retry-After")) * 1e3, code];
        }
        const answer = await response.json();
        const { viewerId, heartbeatIntervalMs: interval } = answer;
        if (textOf(viewerId) && !leaveAgain) viewers.set(sessionId, viewerId);
        return [
          answer.active === false ? 2 : 1,
          // JSON can have numbers too large for a number.
          Number.isFinite(interval) ? interval : 0,
          written({ ...answer, channelId, asOf: 0 }),
        ];
      })
      .catch((): [number, number] => [0, 0])
      .then(([kind, value, text]) => {
        removeEventListener("pagehide", abort);
        if (signal.aborted) return;
        if (!isOver) callback(kind, value || 0, text ?? "");
        else if (leaveAgain) leaveAgain();
        else if (left.has(sessionId)) leave(toLeave, channelId, sessionId);
      });
    const moved = () => {
      const own = viewers.get(sessionId);
      if (!own || own[14] === "8" || own === viewerId()) return;
      // As the old viewer, also after the next join.
      const body = JSON.stringify(ids(channelId, sessionId));
      leaveAgain = () => sendLeave(toLeave, body);
      leave(toLeave, channelId, sessionId);
      end();
      callback(2, 0, "");
    };
    const end = () => {
      isOver = true;
      removeEventListener("storage", moved);
      if (!isJoin || !left.has(sessionId)) abort();
    };
    addEventListener("storage", moved);
    return end;
  },
);

/** Sends a leave as a beacon, which is delivered after the page is gone. Its text/plain needs no CORS preflight. */
export const leave = (url: string, channelId: string, sessionId: string): void => {
  left.add(sessionId);
  sendLeave(url, JSON.stringify(ids(channelId, sessionId)));
};

const sendLeave = (url: string, body: string) => {
  try {
    if (navigator.sendBeacon(url, body)) return;
  } catch {}
  try {
    fetch(url, { method: "POST", body, keepalive: true }).catch(() => {});
  } catch {}
};

/**
 * Sends a GET request. Kinds: 0 a timeout, a network error, a status of 500 or more, or an unreadable response; 1 a
 * response, text: the result of `read`.
 */
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
    let isOver = false;
    fetch(url, { cache: "no-store", mode, signal: controller.signal })
      .then((response): string | Promise<string> => {
        if (response.status >= 500) throw response;
        return read(response);
      })
      .then(
        (text) => isOver || callback(1, 0, text),
        () => isOver || callback(0, 0, ""),
      );
    return () => {
      isOver = true;
      clearTimeout(timer);
      controller.abort();
    };
  },
);

/** Checks that the server is reachable: any status below 500, or an opaque response of another origin. */
export const probe = (url: string, millis: number, callback: Callback): Stop =>
  ask(url, "no-cors", millis, () => "", callback);

/** Fetches counts. Text: the counts, formatted for the relay and separated by commas. */
export const counts = (url: string, millis: number, callback: Callback): Stop =>
  ask(url, "cors", millis, async (response) => (await response.json()).counts.map(written).join(), callback);

/**
 * Opens an event stream. Kinds: 0 broken; 1 a tick; 2 a message; 3 figures, which only streams of the statistics page have.
 * Text: the data of the event.
 */
export const openEvents = /* @__PURE__ */ guarded((url: string, callback: Callback) => {
  const source = new EventSource(url);
  ["error", "tick", "message", "figures"].forEach((type, kind) =>
    source.addEventListener(type, ({ data }: MessageEventInit) => callback(kind, 0, textOf(data))),
  );
  // When a navigation starts and the page stays after all (a download), Firefox and WebKit end its streams without an
  // event.
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leaving = () => {
    timer = setTimeout(() => {
      source.close();
      callback(0, 0, "");
    }, 2_000);
  };
  if (navigator.vendor !== "Google Inc.") addEventListener("beforeunload", leaving);
  return () => {
    source.close();
    clearTimeout(timer);
    removeEventListener("beforeunload", leaving);
  };
});

/** Opens a stream of counts. Kinds: 0 broken; 1 a tick; 2 a count, text: formatted for the relay. Skips invalid JSON. */
export const openStream = (url: string, callback: Callback): Stop =>
  openEvents(url, (kind, _, data) => {
    let text = "";
    try {
      if (kind > 1) text = written(JSON.parse(data));
    } catch {
      return;
    }
    callback(Math.min(kind, 2), 0, text);
  });

/** Receives messages of other tabs. Tabs can share a stream in secure contexts, but not in sandboxed frames. */
export const openTabs = (name: string, callback: Callback): BroadcastChannel | undefined => {
  try {
    // A sandboxed frame has navigator.locks, but only a lock request would fail. Reading localStorage throws at once.
    if (!navigator.locks || !localStorage) return;
    const tabs = new BroadcastChannel(name);
    tabs.onmessage = ({ data }) => typeof data === "string" && callback(1, 0, data);
    return tabs;
  } catch {}
};

let tabs: BroadcastChannel | undefined;

/** The same for a page with one stream at most. */
export const joinTabs = (name: string, callback: Callback): Stop => {
  tabs = openTabs(name, callback);
  return () => {
    tabs?.close();
    tabs = undefined;
  };
};
export const canShare = (): boolean => !!tabs;
export const tell = (text: string): void => tabs?.postMessage(text);

/** Requests the lock of the leader, the tab that has the stream. Kinds: 0 refused, or stolen later; 1 granted. */
export const lead = /* @__PURE__ */ guarded((name: string, steal: boolean, callback: Callback) => {
  const controller = new AbortController();
  let release: (() => void) | undefined;
  let isOver = false;
  navigator.locks
    .request(
      name,
      steal ? { steal } : { signal: controller.signal },
      () =>
        isOver ||
        new Promise<void>((done) => {
          release = done;
          callback(1, 0, "");
        }),
    )
    .catch(() => isOver || callback(0, 0, ""));
  return () => {
    isOver = true;
    if (release) release();
    else controller.abort();
  };
});
