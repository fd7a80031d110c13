/**
 * <viewer-counter channel="ana"></viewer-counter>: how many are watching a channel right now, on any site.
 *
 *   channel   whose viewers to show
 *   locale    the language of its number and label; the document's otherwise
 *   count     what to show until the first news, if the page knows it
 *   track     the page is a viewer of the channel, too (for origins that the server allows)
 *
 * All elements of a page share one event stream, for 50 channels at most. The badge is themed by the same custom properties
 * as on the channel's own page; inside it is a `viewer-counter` with `data-state` live, stale or unknown.
 */

const API = new URL("api/viewer/", import.meta.url);
const WORDS = {
  en: ["viewer", "viewers", "from a moment ago"],
  es: ["espectador", "espectadores", "dato de hace un momento"],
  pt: ["espectador", "espectadores", "dado de há pouco"],
};

// The look of the channel's page. A style sheet that is made by script is one that no policy of the host refuses.
const SHEET = new CSSStyleSheet();
SHEET.replaceSync(
  ".viewer-counter{display:inline-flex;align-items:center;gap:8px;padding:8px 12px;border-radius:8px;" +
    "background:var(--aforo-badge,#dc2626);color:var(--aforo-badge-text,#fff);" +
    "font:500 14px/20px var(--aforo-font,system-ui)}" +
    "i{border:3px solid;border-radius:50%;animation:p 2s infinite}" +
    "svg{width:16px;fill:none;stroke:currentcolor;stroke-width:2}" +
    // The number is what lines up with text around the badge.
    "span span{align-self:baseline;min-width:var(--aforo-number-width,2ch);min-height:20px;text-align:center;" +
    "font-variant-numeric:tabular-nums}" +
    ":not([data-state=live])>i{padding:1.5px;border-width:1.5px;animation:none}" +
    "[data-state=stale]{background:var(--aforo-badge-stale,#57534e);outline:1px dashed;outline-offset:-3px}" +
    "[data-state=unknown]{background:var(--aforo-badge-unknown,#e7e5e4);color:var(--aforo-badge-unknown-text,#444)}" +
    "[data-state=unknown]>i,[data-state='']{visibility:hidden}" +
    // Where the reader chooses the colours, the edge of a live badge is the strongest.
    "@media(forced-colors:active){[data-state]{outline:2px solid;outline-offset:-2px}" +
    "[data-state]:not([data-state=live]){outline:1px dashed GrayText}}" +
    "@keyframes p{50%{opacity:.35}}@media(prefers-reduced-motion){i{animation:none}}",
);

const HTML =
  '<span class=viewer-counter data-state role=img><i></i><svg viewBox="0 0 24 24"><path d="M2 12s3.6-7 10-7 10 7 10 7' +
  '-3.6 7-10 7S2 12 2 12Zm7 0a3 3 0 1 0 6 0 3 3 0 1 0-6 0"/></svg><span></span></span>';

const elements = new Set();
/** Channel → the newest count that there is of it. */
const news = {};

let source;
/** The channels of the stream. */
let watched;
/** When anything came by one, and until when the one that is open is given. */
let heard, patience;
/** The last one broke, and nothing has come by another yet. */
let broken = 0;
/** The page is gone, maybe to come back: nothing may happen that its visitor doesn't see. */
let gone = 0;

const jitter = (least, more) => least + Math.random() * more;

const close = () => {
  source?.close();
  watched = "";
};

/** Opens a stream on the channels that are shown by now, unless that is what is open. */
const open = () => {
  const channels = new Set([...elements].map((element) => element.channel));
  const wanted = [...channels].sort().slice(0, 50).join();
  if (wanted === watched) return;
  close();
  watched = wanted;
  if (!wanted) return;
  patience = Date.now() + 60e3;
  source = new EventSource(API + "sse?channels=" + wanted);
  source.onmessage = ({ data }) => {
    const update = JSON.parse(data);
    news[update.channelId] = update;
    hear();
  };
  source.addEventListener("tick", hear);
  source.onerror = () => {
    // Closed, so that the browser doesn't open it as well: after some faults it would not.
    source.close();
    broken = 1;
    patience = Date.now() + jitter(500, 8500);
  };
};

const hear = () => {
  heard = Date.now();
  patience = heard + 60e3;
  broken = 0;
  check();
};

/** Looks after the stream, which is dead if it says nothing for a minute (the server does every 25 s), and the elements. */
const check = () => {
  const now = Date.now();
  if (gone || document.prerendering) return;
  if (now > patience) close();
  open();
  for (const element of elements) element.check(now);
};

setInterval(check, 1e3);
addEventListener("visibilitychange", () => {
  // Timers of hidden pages are slow, and the server has to know.
  for (const element of elements) if (document.hidden) element.next = 0;
  check();
});
addEventListener("pageshow", () => {
  gone = 0;
});
addEventListener("pagehide", () => {
  gone = 1;
  for (const element of elements) element.leave();
  close();
});

/** A fresh UUID; `randomUUID` is missing on plain HTTP. */
const newId = () => URL.createObjectURL(new Blob()).slice(-36);

/** How often to beat, as the server has said, and how often it was in vain. */
let interval;
let tries = 0;

/** This browser on this site, where its storage allows; it is not recognised on others. */
let viewerId;
const viewer = () => {
  try {
    return (localStorage["aforo.viewer"] ??= newId());
  } catch {
    return (viewerId ??= newId());
  }
};

class ViewerCounter extends HTMLElement {
  static observedAttributes = ["channel"];
  /** When to beat again, with `track`. */
  next = 0;
  #session;
  #badge;
  #number;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [SHEET];
    root.innerHTML = HTML;
    this.#badge = root.firstChild;
    this.#number = this.#badge.lastChild;
  }

  get channel() {
    return (this.getAttribute("channel") ?? "").toLowerCase();
  }

  connectedCallback() {
    elements.add(this);
    // What is known, at once. Without a moment no beat is due, and nothing is old.
    this.check();
    // Together with others that come at the same time.
    setTimeout(check);
  }

  disconnectedCallback() {
    elements.delete(this);
    // Unless it has only been moved.
    setTimeout(() => this.isConnected || this.leave());
  }

  attributeChangedCallback(_name, before) {
    this.leave(before);
  }

  check(now) {
    if (this.hasAttribute("track") && now >= this.next) this.#beat();
    const first = this.getAttribute("count");
    const told = news[this.channel] ?? (first ? { count: +first } : broken && {});
    // Nothing is shown rather than a number that is none.
    if (!told) return;
    const language = (this.getAttribute("locale") || this.closest("[lang]")?.lang)?.slice(0, 2);
    const locale = WORDS[language] ? language : "es";
    const [one, many, old] = WORDS[locale];
    const isKnown = told.count != null;
    const isOld = told.stale || now > (heard || now) + 30e3;
    // Who watches is one of them.
    const count = Math.max(told.count, this.#session ? 1 : 0);
    const number = isKnown ? count.toLocaleString(locale) : "—";
    const noun = count === 1 || (!count && locale === "pt") ? one : many;
    const label = isKnown ? number + " " + noun + (isOld ? ` (${old})` : "") : many + ": —";
    this.#badge.dataset.state = isKnown ? (isOld ? "stale" : "live") : "unknown";
    this.#badge.ariaLabel = label;
    if (this.#number.textContent !== number) this.#number.textContent = number;
  }

  #body(channelId = this.channel) {
    return JSON.stringify({
      channelId,
      viewerId: viewer(),
      sessionId: this.#session,
      hidden: document.hidden,
    });
  }

  /** Joins, or says that it is still there. */
  async #beat() {
    const wasCounted = this.#session;
    const session = (this.#session ??= newId());
    // Ever longer, since an origin that is not allowed looks like a network that fails.
    let wait = jitter(2e3, 8e3) * ++tries;
    let isCounted = wasCounted;
    this.next = Infinity;
    try {
      const response = await fetch(API + (wasCounted ? "heartbeat" : "join"), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: this.#body(),
      });
      const answer = await response.json();
      if (response.ok) {
        interval = answer.heartbeatIntervalMs ?? interval;
        wait = interval * jitter(0.8, 0.2);
        isCounted = answer.active ?? true;
        tries = 0;
      }
    } catch {
      // The next time, maybe.
    }
    // It may have left, and joined anew, meanwhile.
    if (this.#session === session) {
      this.next = Date.now() + wait;
      // Who was not let in, or is taken for gone, joins the next time.
      if (!isCounted) this.#session = undefined;
    }
  }

  leave(channelId) {
    if (this.#session) navigator.sendBeacon(API + "leave", this.#body(channelId));
    this.#session = undefined;
    this.next = 0;
  }
}

customElements.define("viewer-counter", ViewerCounter);
