// Generated from client/src/browser.ts by client/build.mjs. The source has the comments. It stays beside gloo and web-sys
// because the page scripts without WebAssembly run the same code, and because each operation is one call that never throws.
const VIEWER = "aforo.viewer";
export const stop = (end) => end();
export const now = () => Date.now();
export const random = () => Math.random();
const guarded = (start) => (...args) => {
  try {
    return start(...args);
  } catch {
    const timer = setTimeout(args.at(-1), 0, 0, 0, "");
    return () => clearTimeout(timer);
  }
};
export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6] & 15 | 64;
  bytes[8] = bytes[8] & 63 | 128;
  const hex = Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(....)(....)(....)/, "$1-$2-$3-$4-");
};
let viewer;
export const viewerId = () => {
  try {
    const stored = localStorage.getItem(VIEWER);
    if (/^(?!0{8}-)[\da-f]{8}(-[\da-f]{4}){4}[\da-f]{8}$/.test(stored)) viewer = stored;
  } catch {
  }
  if (!viewer) {
    viewer = newId();
    try {
      localStorage.setItem(VIEWER, viewer);
    } catch {
    }
  }
  return viewer;
};
const viewers = /* @__PURE__ */ new Map();
const left = /* @__PURE__ */ new Set();
export const isPrerendering = () => !!document.prerendering;
const handed = /* @__PURE__ */ new Set();
export const handedOver = (name) => {
  for (const element of document.querySelectorAll(`.${name}[data-island]`)) {
    if (!handed.has(element)) {
      handed.add(element);
      return element.dataset.island;
    }
  }
  return "";
};
export const onPageEvent = (callback) => {
  const beforeClosing = "mozInnerScreenX" in globalThis ? "beforeunload" : "none";
  const listeners = [
    [document, "visibilitychange", () => callback(0, 0, "")],
    [document, "prerenderingchange", () => callback(1, 0, "")],
    [window, "pagehide", () => callback(2, 0, "")],
    [document, "freeze", () => callback(3, 0, "")],
    [window, "pageshow", (event) => event.persisted && callback(4, 0, "")],
    [document, "resume", () => callback(5, 0, "")],
    [window, "online", () => callback(6, 0, "")],
    [window, "offline", () => callback(7, 0, "")],
    [window, beforeClosing, () => callback(8, 0, "")]
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);
  return () => {
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
  };
};
export const onceSeen = /* @__PURE__ */ guarded((callback) => {
  const area = (rect) => rect ? rect.width * rect.height : outerWidth * outerHeight || Infinity;
  const observer = new IntersectionObserver(
    (entries) => {
      const isSeen = (entry) => entry.isIntersecting && (entry.intersectionRatio >= 0.5 || 2 * area(entry.intersectionRect) >= area(entry.rootBounds));
      if (entries.some(isSeen)) {
        observer.disconnect();
        callback(0, 0, "");
      }
    },
    { threshold: Array.from(Array(51), (_, hundredths) => hundredths / 100) }
  );
  observer.observe(document.querySelector("main") ?? document.documentElement);
  return () => observer.disconnect();
});
const textOf = (value) => typeof value === "string" ? value : "";
const written = (answer) => {
  const { channelId, count, stale, asOf, live } = answer;
  if (!textOf(channelId) || count !== null && typeof count !== "number") return "";
  const words = [channelId, count ?? "-", stale ? "stale" : "live", asOf];
  if (live != null) words.push(live ? "on" : "off");
  return words.join(" ");
};
const ids = (channelId, sessionId) => ({
  channelId,
  viewerId: viewers.get(sessionId) ?? viewerId(),
  sessionId
});
const embedder = () => {
  const { top, self, location, document: document2 } = globalThis;
  if (top === self) return;
  try {
    const { hostname } = new URL(location.ancestorOrigins?.[0] || document2.referrer);
    return hostname === location.hostname ? void 0 : hostname;
  } catch {
    return "";
  }
};
export const beat = /* @__PURE__ */ guarded(
  (url, channelId, sessionId, hidden, ticket, callback) => {
    const controller = new AbortController();
    const { signal } = controller;
    const isJoin = /join$/.test(url);
    const toLeave = url.replace(/\w+$/, "leave");
    let isOver = false;
    let leaveAgain;
    left.delete(sessionId);
    if (isJoin && !ticket) viewers.set(sessionId, viewerId());
    const body = JSON.stringify({
      ...ids(channelId, sessionId),
      hidden,
      ticket: ticket || void 0,
      embeddedIn: isJoin ? embedder() : void 0
    });
    const abort = () => controller.abort();
    addEventListener("pagehide", abort);
    fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal }).then(async (response) => {
      if (!response.ok) {
        const problem = await response.json().catch(() => {
        });
        const code = textOf(problem?.code);
        if (code === "ticket-required") return [3, 0, code];
        if (/^ticket/.test(code)) {
          viewers.delete(sessionId);
          return [4, 0, code];
        }
        return [0, Number(response.headers.get("Retry-After")) * 1e3, code];
      }
      const answer = await response.json();
      const { viewerId: viewerId2, heartbeatIntervalMs: interval } = answer;
      if (textOf(viewerId2) && !leaveAgain) viewers.set(sessionId, viewerId2);
      return [
        answer.active === false ? 2 : 1,
        // JSON can have numbers too large for a number.
        Number.isFinite(interval) ? interval : 0,
        written({ ...answer, channelId, asOf: 0 })
      ];
    }).catch(() => [0, 0]).then(([kind, value, text]) => {
      removeEventListener("pagehide", abort);
      if (signal.aborted) return;
      if (!isOver) callback(kind, value || 0, text ?? "");
      else if (leaveAgain) leaveAgain();
      else if (left.has(sessionId)) leave(toLeave, channelId, sessionId);
    });
    const moved = () => {
      const own = viewers.get(sessionId);
      if (!own || own[14] === "8" || own === viewerId()) return;
      const body2 = JSON.stringify(ids(channelId, sessionId));
      leaveAgain = () => sendLeave(toLeave, body2);
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
  }
);
export const leave = (url, channelId, sessionId) => {
  left.add(sessionId);
  sendLeave(url, JSON.stringify(ids(channelId, sessionId)));
};
const sendLeave = (url, body) => {
  try {
    if (navigator.sendBeacon(url, body)) return;
  } catch {
  }
  try {
    fetch(url, { method: "POST", body, keepalive: true }).catch(() => {
    });
  } catch {
  }
};
const ask = /* @__PURE__ */ guarded(
  (url, mode, millis, read, callback) => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), millis);
    let isOver = false;
    fetch(url, { cache: "no-store", mode, signal: controller.signal }).then((response) => {
      if (response.status >= 500) throw response;
      return read(response);
    }).then(
      (text) => isOver || callback(1, 0, text),
      () => isOver || callback(0, 0, "")
    );
    return () => {
      isOver = true;
      clearTimeout(timer);
      controller.abort();
    };
  }
);
export const probe = (url, millis, callback) => ask(url, "no-cors", millis, () => "", callback);
export const counts = (url, millis, callback) => ask(url, "cors", millis, async (response) => (await response.json()).counts.map(written).join(), callback);
export const openEvents = /* @__PURE__ */ guarded((url, callback) => {
  const source = new EventSource(url);
  ["error", "tick", "message", "figures"].forEach(
    (type, kind) => source.addEventListener(type, ({ data }) => callback(kind, 0, textOf(data)))
  );
  let timer;
  const leaving = () => {
    timer = setTimeout(() => {
      source.close();
      callback(0, 0, "");
    }, 2e3);
  };
  if (navigator.vendor !== "Google Inc.") addEventListener("beforeunload", leaving);
  return () => {
    source.close();
    clearTimeout(timer);
    removeEventListener("beforeunload", leaving);
  };
});
export const openStream = (url, callback) => openEvents(url, (kind, _, data) => {
  let text = "";
  try {
    if (kind > 1) text = written(JSON.parse(data));
  } catch {
    return;
  }
  callback(Math.min(kind, 2), 0, text);
});
export const openTabs = (name, callback) => {
  try {
    if (!navigator.locks || !localStorage) return;
    const tabs2 = new BroadcastChannel(name);
    tabs2.onmessage = ({ data }) => typeof data === "string" && callback(1, 0, data);
    return tabs2;
  } catch {
  }
};
let tabs;
export const joinTabs = (name, callback) => {
  tabs = openTabs(name, callback);
  return () => {
    tabs?.close();
    tabs = void 0;
  };
};
export const canShare = () => !!tabs;
export const tell = (text) => tabs?.postMessage(text);
export const lead = /* @__PURE__ */ guarded((name, steal, callback) => {
  const controller = new AbortController();
  let release;
  let isOver = false;
  navigator.locks.request(
    name,
    steal ? { steal } : { signal: controller.signal },
    () => isOver || new Promise((done) => {
      release = done;
      callback(1, 0, "");
    })
  ).catch(() => isOver || callback(0, 0, ""));
  return () => {
    isOver = true;
    if (release) release();
    else controller.abort();
  };
});
