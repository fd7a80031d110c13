/**
 * <viewer-counter channel="ana"></viewer-counter>: how many are watching a channel right now, on any site. Served as
 * /widget.js.
 *
 *   channel   whose viewers to show
 *   locale    the language of its number and label; the document's otherwise
 *   count     what to show until the first news, if the page knows it
 *   track     the page is a viewer of the channel, too (for origins that the server allows)
 *
 * All elements of a page, and all tabs of the site, share one stream. The badge is themed by the same custom properties as
 * on the channel's own page; inside it is a `viewer-counter` with `data-state` live, stale or unknown. An element without
 * a channel, or with a name that is not one of a channel, says unknown, and why on the console.
 */

import type { Stop } from "./browser.ts";
import { load, persist } from "./retry.ts";
import { isChannel } from "./rules/channel.ts";
import type { News } from "./rules/relay.ts";
import { STALE_AFTER, State, UNKNOWN_AFTER } from "./rules/watchdog.ts";
import type { Tracking } from "./tracker.ts";

const WORDS: Record<string, [one: string, many: string, old: string]> = {
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
  '<span class=viewer-counter data-state role=img translate=no><i></i><svg viewBox="0 0 24 24"><path d="M2 12s3.6-7 10-7' +
  ' 10 7 10 7-3.6 7-10 7S2 12 2 12Zm7 0a3 3 0 1 0 6 0 3 3 0 1 0-6 0"/></svg><span></span></span>';

/** Shared by all elements; loaded beside this file, so that one that does not load can be tried again. */
const stream = persist((nth) => load<typeof import("./stream.ts")>("./stream.js", nth));

class ViewerCounter extends HTMLElement {
  static observedAttributes = ["channel", "track"];
  #badge: HTMLElement;
  #number: HTMLElement;
  /** The channel watched; empty if there is none. */
  #channel = "";
  #tracks = false;
  #bad: string | null = "";
  #news: News | undefined;
  #state = State.Live;
  #isCounted = false;
  #end: Stop = () => {};

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [SHEET];
    root.innerHTML = HTML;
    this.#badge = root.firstChild as HTMLElement;
    this.#number = this.#badge.lastChild as HTMLElement;
  }

  connectedCallback() {
    this.#renew();
  }

  disconnectedCallback() {
    // Unless it has only been moved.
    setTimeout(() => this.isConnected || this.#renew());
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#renew();
  }

  /** Begins and ends what its attributes ask for. */
  #renew() {
    const given = this.getAttribute("channel");
    const name = given?.toLowerCase() ?? "";
    const isGood = isChannel(name);
    const channel = isGood && this.isConnected ? name : "";
    const tracks = !!channel && this.hasAttribute("track");
    if (channel !== this.#channel || tracks !== this.#tracks) {
      this.#end();
      this.#end = () => {};
      this.#channel = channel;
      this.#tracks = tracks;
      this.#news = undefined;
      if (channel) this.#begin(channel, tracks);
    }
    if (!isGood && given !== this.#bad) console.warn("<viewer-counter> has no valid channel:", given);
    this.#bad = isGood ? "" : given;
    this.#show();
  }

  #begin(channel: string, tracks: boolean) {
    let tracking: Tracking | undefined;
    let endWatching: Stop | undefined;
    let isOver = false;
    const hear = (news: News | undefined, state: State, isLife: boolean) => {
      if (news !== this.#news || state !== this.#state) {
        this.#news = news;
        this.#state = state;
        this.#show();
      }
      if (isLife) tracking?.wake();
    };
    // While there is no stream to say so.
    const aging = [
      setTimeout(hear, STALE_AFTER, undefined, State.Stale),
      setTimeout(hear, UNKNOWN_AFTER, undefined, State.Unknown),
    ];
    const endAging = () => aging.forEach((timer) => clearTimeout(timer));
    void stream.then(({ watch }) => {
      endAging();
      if (!isOver) endWatching = watch({ channel, needed: tracks, hear, leave: () => tracking?.leave() });
    });
    this.#end = () => {
      isOver = true;
      endAging();
      endWatching?.();
      tracking?.end();
    };
    const counted = (isCounted: boolean) => {
      this.#isCounted = isCounted;
      this.#show();
    };
    const begin = async (nth: number) => {
      if (isOver) return;
      const { track } = await load<typeof import("./tracker.ts")>("./tracker.js", nth);
      const { API, learn } = await stream;
      if (!isOver) tracking = track({ api: API, channel, learn, counted });
    };
    if (tracks) void persist(begin);
  }

  #show() {
    const first = this.getAttribute("count");
    const state = this.#channel ? this.#state : State.Unknown;
    const news = this.#news ?? (first ? { count: +first, stale: false } : undefined);
    // Before the first news, nothing is shown rather than a number that is none.
    if (!news && state === State.Live) return;
    const language = (this.getAttribute("locale") || this.closest<HTMLElement>("[lang]")?.lang)?.slice(0, 2);
    const locale = language && WORDS[language] ? language : "es";
    const [one, many, old] = WORDS[locale]!;
    const known = state === State.Unknown ? undefined : news?.count;
    let shown = "unknown";
    let number = "—";
    let label = many + ": —";
    if (known != null) {
      // Who watches is one of them.
      const count = Math.max(known, this.#isCounted ? 1 : 0);
      shown = news!.stale || state === State.Stale ? "stale" : "live";
      number = count.toLocaleString(locale);
      label = number + " " + (count === 1 || (!count && locale === "pt") ? one : many);
      if (shown === "stale") label += ` (${old})`;
    }
    this.#badge.dataset.state = shown;
    // The property of this name is younger than the baseline.
    this.#badge.setAttribute("aria-label", label);
    if (this.#number.textContent !== number) this.#number.textContent = number;
  }
}

customElements.define("viewer-counter", ViewerCounter);
