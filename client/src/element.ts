/**
 * <viewer-counter channel="ana"></viewer-counter>: the live viewer count of a channel, on any site.
 *
 *   channel   the name of the channel
 *   locale    the language of the number and the label; by default the document's
 *   count     the count to show until the first update
 *   track     counts the page as a viewer of the channel (if the server allows its origin)
 *   poll      requests the count at this interval in seconds, so that caches can answer, instead of opening a stream
 *   ticket    with `track`: the ticket that says who the viewer is; set it again to renew it
 *
 * All elements of a page, and all tabs of a site, share one stream. The badge takes the same custom properties for
 * theming as the channel page. Its `data-state` is live, stale or unknown. An element with a missing or invalid channel
 * name shows "unknown" and logs a warning to the console.
 */

import type { Stop } from "./browser.ts";
import type { Counts } from "./counts.ts";
import { retry } from "./retry.ts";
import { isChannel } from "./rules/channel.ts";
import type { News } from "./rules/relay.ts";
import { STALE_AFTER, State, UNKNOWN_AFTER } from "./rules/watchdog.ts";
import type { TrackOptions, Tracking } from "./tracker.ts";

const WORDS: Record<string, [one: string, many: string, old: string]> = {
  en: ["viewer", "viewers", "from a moment ago"],
  es: ["espectador", "espectadores", "dato de hace un momento"],
  pt: ["espectador", "espectadores", "dado de há pouco"],
};

const CSS =
  ".viewer-counter{display:inline-flex;align-items:center;gap:8px;padding:8px 12px;border-radius:8px;" +
  "background:var(--aforo-badge,#dc2626);color:var(--aforo-badge-text,#fff);" +
  "font:500 14px/20px var(--aforo-font,system-ui)}" +
  "i{border:3px solid;border-radius:50%;animation:p 2s infinite}" +
  "svg{width:16px;fill:none;stroke:currentcolor;stroke-width:2}" +
  // Align the number with the baseline of the text around the badge.
  "span span{align-self:baseline;min-width:var(--aforo-number-width,2ch);min-height:20px;text-align:center;" +
  "font-variant-numeric:tabular-nums}" +
  ":not([data-state=live])>i{padding:1.5px;border-width:1.5px;animation:none}" +
  "[data-state=stale]{background:var(--aforo-badge-stale,#57534e);outline:1px dashed;outline-offset:-3px}" +
  "[data-state=unknown]{background:var(--aforo-badge-unknown,#e7e5e4);color:var(--aforo-badge-unknown-text,#444)}" +
  "[data-state=unknown]>i,[data-state='']{visibility:hidden}" +
  // A current count of a channel that is off air.
  "[data-live=false]>i{padding:1.5px;border-width:1.5px;animation:none}" +
  "[data-live=false][data-state=live]{background:var(--aforo-badge-stale,#57534e)}" +
  // In forced colors, a live badge has the strongest outline.
  "@media(forced-colors:active){[data-state]{outline:2px solid;outline-offset:-2px}" +
  "[data-state]:not([data-state=live]){outline:1px dashed GrayText}}" +
  "@keyframes p{50%{opacity:.35}}@media(prefers-reduced-motion){i{animation:none}}";

const HTML =
  '<span class=viewer-counter data-state role=img translate=no><i></i><svg viewBox="0 0 24 24"><path d="M2 12s3.6-7 10-7' +
  ' 10 7 10 7-3.6 7-10 7S2 12 2 12Zm7 0a3 3 0 1 0 6 0 3 3 0 1 0-6 0"/></svg><span></span></span>';

/** Where an element's counts come from. `learn` passes on a count from the response to a beat. */
export type Source = Pick<Counts, "api" | "watch" | "learn">;

/** What counts a page as a viewer (tracker.ts). */
export interface Tracker {
  track(options: TrackOptions): Tracking;
}

/**
 * Makes the class of the element. `connect` returns the source for an element: always the same promise for the same
 * source. `loadTracker` is called again if it fails.
 */
export const makeElement = (
  connect: (element: HTMLElement) => Promise<Source>,
  loadTracker: (nth: number) => Promise<Tracker>,
): typeof HTMLElement & { observedAttributes: string[] } => {
  // A Content-Security-Policy of the host does not apply to constructed style sheets.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);

  return class ViewerCounter extends HTMLElement {
    static observedAttributes = ["channel", "track", "ticket", "poll"];
    #badge: HTMLElement;
    #number: HTMLElement;
    /** The watched channel, or "". */
    #channel = "";
    #tracks = false;
    /** The attribute `poll`. */
    #poll: string | null = null;
    #source: Promise<Source> | undefined;
    #tracking: Tracking | undefined;
    /** The invalid channel name of the last warning, or "". */
    #warnedName: string | null = "";
    #news: News | undefined;
    #state = State.Live;
    #isCounted = false;
    #end: Stop = () => {};

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet];
      root.innerHTML = HTML;
      this.#badge = root.firstChild as HTMLElement;
      this.#number = this.#badge.lastChild as HTMLElement;
    }

    connectedCallback() {
      this.#sync();
    }

    disconnectedCallback() {
      // Later, since an element that is moved is connected again at once.
      setTimeout(() => this.isConnected || this.#sync());
    }

    attributeChangedCallback(name: string, _old: string | null, value: string | null) {
      if (name === "ticket") {
        if (value) this.#tracking?.renew(value);
      } else if (this.isConnected) this.#sync();
    }

    /** Starts and stops watching and tracking as the attributes say. */
    #sync() {
      const given = this.getAttribute("channel");
      const name = given?.toLowerCase() ?? "";
      const isValid = isChannel(name);
      const channel = isValid && this.isConnected ? name : "";
      const tracks = !!channel && this.hasAttribute("track");
      const source = connect(this);
      const poll = this.getAttribute("poll");
      const isOther = source !== this.#source || poll !== this.#poll;
      if (channel !== this.#channel || tracks !== this.#tracks || isOther) {
        this.#end();
        this.#end = () => {};
        this.#channel = channel;
        this.#tracks = tracks;
        this.#source = source;
        this.#poll = poll;
        this.#news = undefined;
        delete this.#badge.dataset.live;
        if (channel) this.#begin(channel, tracks, source);
      }
      if (!isValid && given !== this.#warnedName)
        console.warn("<viewer-counter> has no valid channel:", given);
      this.#warnedName = isValid ? "" : given;
      this.#show();
    }

    #begin(channel: string, tracks: boolean, source: Promise<Source>) {
      let endWatching: Stop | undefined;
      let isOver = false;
      const update = (news: News | undefined, state: State, isActivity: boolean) => {
        if (news !== this.#news || state !== this.#state) {
          this.#news = news;
          this.#state = state;
          this.#show();
        }
        if (isActivity) this.#tracking?.wake();
      };
      // Until the source is there, these timers take its place.
      const aging = [
        setTimeout(update, STALE_AFTER, undefined, State.Stale),
        setTimeout(update, UNKNOWN_AFTER, undefined, State.Unknown),
      ];
      const endAging = () => aging.forEach((timer) => clearTimeout(timer));
      void source.then(({ watch }) => {
        endAging();
        if (!isOver)
          endWatching = watch({
            channel,
            poll: this.#poll,
            needed: tracks,
            update,
            leave: () => this.#tracking?.leave(),
          });
      });
      this.#end = () => {
        isOver = true;
        endAging();
        endWatching?.();
        this.#tracking?.end();
        this.#tracking = undefined;
      };
      const counted = (isCounted: boolean) => {
        this.#isCounted = isCounted;
        this.#show();
      };
      const begin = async (nth: number) => {
        if (isOver) return;
        const { track } = await loadTracker(nth);
        const { api, learn } = await source;
        const ticket = this.getAttribute("ticket");
        if (!isOver) this.#tracking = track({ api, channel, ticket, learn, counted });
      };
      if (tracks) void retry(begin);
    }

    #show() {
      const initial = this.getAttribute("count");
      const state = this.#channel ? this.#state : State.Unknown;
      const news = this.#news ?? (initial ? { count: +initial, stale: false, live: null } : undefined);
      // Before the first count, stay hidden instead of showing a wrong number.
      if (!news && state === State.Live) return;
      const language = (this.getAttribute("locale") || this.closest<HTMLElement>("[lang]")?.lang)?.slice(
        0,
        2,
      );
      const locale = language && WORDS[language] ? language : "es";
      const [one, many, old] = WORDS[locale]!;
      const known = state === State.Unknown ? undefined : news?.count;
      let shown = "unknown";
      let number = "—";
      let label = many + ": —";
      if (known != null) {
        // A page that is counted is one of the viewers.
        const count = Math.max(known, this.#isCounted ? 1 : 0);
        shown = news!.stale || state === State.Stale ? "stale" : "live";
        number = count.toLocaleString(locale);
        label = number + " " + (count === 1 || (!count && locale === "pt") ? one : many);
        if (shown === "stale") label += ` (${old})`;
      }
      this.#badge.dataset.state = shown;
      if (news?.live != null) this.#badge.dataset.live = String(news.live);
      // The ariaLabel property is newer than the oldest supported browsers.
      this.#badge.setAttribute("aria-label", label);
      if (this.#number.textContent !== number) this.#number.textContent = number;
    }
  };
};
