// What the browser half asks of a browser, where that is shorter to say in JavaScript than through bindings: it is a part
// of what every visitor downloads. Nothing is decided here. What a browser refuses (storage in a sandboxed frame, say) is
// done without.
//
// Whatever goes on for a while takes a callback, (kind, number, text), and returns a function that ends it: `stop`.
export const stop = (end) => end();

const VIEWER = "aforo.viewer";
const LOCK = "aforo-stream";

// Unlike performance.now() it goes on while the machine sleeps.
export const now = () => Date.now();
export const random = () => Math.random();

// crypto.randomUUID exists in secure contexts only, getRandomValues everywhere.
export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(....)(....)(....)/, "$1-$2-$3-$4-");
};

let viewer;
const viewerId = () => {
  try {
    viewer ??= localStorage.getItem(VIEWER);
  } catch {}
  // An id of zeros is none.
  if (!/^(?!0{8}-)[\da-f]{8}(-[\da-f]{4}){4}[\da-f]{8}$/.test(viewer)) {
    viewer = newId();
    try {
      localStorage.setItem(VIEWER, viewer);
    } catch {}
  }
  return viewer;
};

// https://developer.mozilla.org/docs/Web/API/Document/prerendering
export const isPrerendering = () => !!document.prerendering;

// What the page hands to an island: an attribute of the island's element. Islands come to life in the order in which they
// stand in the document, so each takes the first that is left.
const handed = new Set();
export const handedOver = (name) => {
  for (const element of document.querySelectorAll(`.${name}[data-island]`)) {
    if (!handed.has(element)) {
      handed.add(element);
      return element.dataset.island;
    }
  }
  return "";
};

const listen = (target, type, listener) => {
  target.addEventListener(type, listener);
  return () => target.removeEventListener(type, listener);
};

// Firefox cuts a closing tab off within milliseconds of `pagehide` and drops what the page sends after that, but waits for
// its listeners of `beforeunload`. Elsewhere no event has this name: other browsers deliver what is sent in `pagehide`, and
// `beforeunload` is also sent to pages that stay.
const BEFORE_CLOSING = "mozInnerScreenX" in globalThis ? "beforeunload" : "none";

// Kinds: the order of the list, which is that of `PageEvent`.
export const onPageEvent = (callback) => {
  const stops = [
    [document, "visibilitychange", () => callback(0, 0, "")],
    [document, "prerenderingchange", () => callback(1, 0, "")],
    [window, "pagehide", () => callback(2, 0, "")],
    [document, "freeze", () => callback(3, 0, "")],
    [window, "pageshow", (event) => event.persisted && callback(4, 0, "")],
    [document, "resume", () => callback(5, 0, "")],
    [window, "online", () => callback(6, 0, "")],
    [window, "offline", () => callback(7, 0, "")],
    [window, BEFORE_CLOSING, () => callback(8, 0, "")],
  ].map((each) => listen(...each));
  return () => stops.forEach((stop) => stop());
};

// Calls back once half of the page's main part has been on screen, in the outermost window.
export const onceSeen = (callback) => {
  if (!window.IntersectionObserver) {
    const timer = setTimeout(callback, 0, 0, 0, "");
    return () => clearTimeout(timer);
  }
  const observer = new IntersectionObserver(
    (entries) => entries.some((entry) => entry.isIntersecting) && (observer.disconnect(), callback(0, 0, "")),
    { threshold: 0.5 },
  );
  observer.observe(document.querySelector("main") ?? document.documentElement);
  return () => observer.disconnect();
};

// Kinds: 0 failed, number: milliseconds to wait at least; 1 counted, number: milliseconds between beats, if the answer
// says; 2 answered, not counted. Ended, it calls back no more, and what has not gone out will not.
export const beat = (path, channelId, sessionId, hidden, callback) => {
  const controller = new AbortController();
  const { signal } = controller;
  const body = JSON.stringify({ channelId, viewerId: viewerId(), sessionId, hidden });
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal })
    .then(async (response) =>
      response.ok
        ? response.json().then((answer) => [answer.active === false ? 2 : 1, answer.heartbeatIntervalMs])
        : [0, response.headers.get("Retry-After") * 1e3],
    )
    .catch(() => [0])
    .then(([kind, number]) => signal.aborted || callback(kind, number || 0, ""));
  return () => controller.abort();
};

// A beacon is delivered even if the page is gone by then. It goes out as text/plain, which needs no preflight.
export const leave = (path, channelId, sessionId) => {
  navigator.sendBeacon(path, JSON.stringify({ channelId, viewerId: viewerId(), sessionId }));
};

// Whether the server answers at all. Kinds: 0 no, 1 yes.
export const probe = (path, millis, callback) => {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), millis);
  let over;
  fetch(path, { cache: "no-store", signal: controller.signal })
    .then((response) => response.ok, () => false)
    .then((answered) => over || callback(answered ? 1 : 0, 0, ""));
  return () => {
    over = true;
    clearTimeout(timer);
    controller.abort();
  };
};

// Event streams. Kinds: 0 broken, 1 a tick, 2 a count, text: "channel count|- stale|live asOf".
export const openStream = (url, callback) => {
  const source = new EventSource(url);
  source.onmessage = ({ data }) => {
    const { channelId, count, stale, asOf } = JSON.parse(data);
    callback(2, 0, [channelId, count ?? "-", stale ? "stale" : "live", asOf].join(" "));
  };
  source.addEventListener("tick", () => callback(1, 0, ""));
  source.onerror = () => callback(0, 0, "");
  return () => {
    // A closed source calls back no more.
    source.close();
  };
};

// Whether tabs can share a stream: in secure contexts, and not in sandboxed frames.
let tabs;
export const joinTabs = (callback) => {
  try {
    // Asking is allowed everywhere; being refused takes a request.
    if (navigator.locks && localStorage) {
      tabs = new BroadcastChannel(LOCK);
      tabs.onmessage = ({ data }) => callback(0, 0, data);
    }
  } catch {}
  return () => {
    tabs?.close();
    tabs = undefined;
  };
};
export const canShare = () => !!tabs;
export const tell = (text) => tabs?.postMessage(text);

// Asks to be the one tab that has the stream. Kinds: 0 it is, 1 another has taken over. Ended, it is not.
export const lead = (steal, callback) => {
  const controller = new AbortController();
  let over;
  const request = navigator.locks.request(
    LOCK,
    steal ? { steal } : { signal: controller.signal },
    () =>
      over ||
      new Promise((release) => {
        over = release;
        callback(0, 0, "");
      }),
  );
  request.catch(() => over === true || callback(1, 0, ""));
  return () => {
    if (over) over();
    else controller.abort();
    over = true;
  };
};
