/**
 * <viewer-counter channel="ana"></viewer-counter>: the live viewer count of a channel, on any site.
 *
 *   channel   the name of the channel
 *   locale    the language of the number and the label; by default the document's
 *   count     the count to show until the first update; for another channel, set it again
 *   track     counts the page as a viewer of the channel (if the server allows its origin)
 *   poll      requests the count at this interval in seconds, so that caches can answer, instead of opening a stream
 *   ticket    with `track`: the ticket that says who the viewer is; set it again to renew it, remove it to sign out
 *
 * All elements of a page, and all tabs of a site, share one stream. The badge takes the same custom properties for
 * theming as the channel page. Its `data-state` is live, stale or unknown, and a tap on a stale or unknown one says what that
 * means. An element with a missing or invalid channel name shows "unknown" and logs a warning to the console.
 */

import type { Stop } from "./browser.ts";
import type { Watcher } from "./counts.ts";
import { isChannel } from "./rules/channel.ts";
import type { Known } from "./rules/relay.ts";
import { State } from "./rules/watchdog.ts";

/**
 * The words of src/i18n: the noun, the end of its plural, what marks a stale count, and what replaces an unknown one. A test
 * (tests/it/widget.rs) compares them.
 */
const WORDS: Record<string, string> = {
  en: "viewer|s| (from a moment ago)|viewer count unavailable",
  es: "espectador|es| (dato de hace un momento)|número de espectadores no disponible",
  pt: "espectador|es| (dado de há pouco)|número de espectadores indisponível",
};

const CSS =
  // Forced colors make the transparent outline visible.
  "[data-state]{display:inline-flex;align-items:center;gap:8px;padding:8px 12px;border-radius:8px;" +
  "background:var(--aforo-badge,#dc2626);color:var(--aforo-badge-text,#fff);" +
  "font:500 14px/20px var(--aforo-font,system-ui);outline:2px solid transparent;outline-offset:-3px}" +
  "i{border:3px solid;border-radius:50%;animation:p 2s infinite}" +
  // The eye: a square on its corner, with the other two corners round, around a circle. An SVG would take more bytes.
  "b{border:1.4px solid;border-radius:50% 0;padding:1.3px;margin:3px;rotate:45deg}" +
  "b:after{content:'';display:block;border:1.4px solid;border-radius:50%;padding:1.3px}" +
  // Align the number with the baseline of the text around the badge.
  "span span{align-self:baseline;min-width:var(--aforo-number-width,2ch);text-align:center;" +
  "font-variant-numeric:tabular-nums}" +
  // `data-live` is false for a current count of a channel that is off air.
  "[data-state=stale],[data-live=false]{background:var(--aforo-badge-stale,#57534e)}" +
  "[data-state=stale]{outline:1px dashed}" +
  "[data-state=unknown]{background:var(--aforo-badge-unknown,#e7e5e4);color:var(--aforo-badge-unknown-text,#444);outline:1px dotted}" +
  "[data-state=''],[data-state=unknown]>i{visibility:hidden}" +
  "[data-state=stale]>i,[data-live=false]>i{border:1.4px solid;padding:1.6px;animation:none}" +
  "@keyframes p{50%{opacity:.35}}@media(prefers-reduced-motion){i{animation:none}}";

/** Makes the class of the element. `watch` watches for an element until the returned function is called. */
export const makeElement = (
  watch: (watcher: Watcher, element: HTMLElement) => Stop,
  observedAttributes = ["channel", "track", "poll"],
) => {
  // A Content-Security-Policy of the host does not apply to constructed style sheets.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);

  return class ViewerCounter extends HTMLElement {
    static observedAttributes = observedAttributes;
    #badge: HTMLElement;
    /** Ends watching. */
    #end: Stop | undefined;
    #news: Known | undefined;
    #state!: State;
    /** The attribute `count` that was shown last. */
    #count: number | undefined;

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet];
      // Not by HTML, which a page may forbid by Trusted Types.
      const badge = (this.#badge = document.createElement("span"));
      badge.className = "viewer-counter";
      badge.dataset.state = "";
      badge.translate = false;
      badge.setAttribute("role", "img");
      const add = (name: string) => badge.append(document.createElement(name));
      add("i");
      add("b");
      add("span");
      badge.lastChild!.textContent = "\xa0";
      root.append(badge);
    }

    connectedCallback() {
      if (this.#end) return;
      const channel = (this.getAttribute("channel") ?? "").toLowerCase();
      const count = parseInt(this.getAttribute("count")!);
      this.#state = State.Live;
      // One that was shown before is of another channel, or old.
      if (count >= 0 && count !== this.#count)
        this.#update({ count: (this.#count = count) } as Known, State.Live);
      this.#end = isChannel(channel)
        ? watch({ channel, update: this.#update }, this)
        : (console.warn("wrong channel", this), this.#update(undefined, State.Unknown), () => {});
    }

    disconnectedCallback() {
      // Later, since an element that is moved is connected again at once, and attributes change one by one.
      setTimeout(() => (this.isConnected ? this.connectedCallback() : this.#stop()));
    }

    attributeChangedCallback(name: string, old: string | null, value: string | null) {
      if (!this.#end || value === old) return;
      this.#stop();
      // With the channel or the base URL, but not with how the count is read.
      if (name < "d") this.#update(undefined, State.Unknown);
      this.disconnectedCallback();
    }

    #stop() {
      this.#end?.();
      this.#end = this.#news = undefined;
    }

    #update = (news: Known | undefined, state: State) => {
      // Only a count makes the state better: a source that has begun anew has none yet. Before the first count, the badge
      // stays hidden instead of showing a wrong number.
      if (news ? news === this.#news && state === this.#state : state <= this.#state) return;
      news = this.#news = news || this.#news;
      this.#state = state;
      const language = (this.getAttribute("locale") || this.closest<HTMLElement>("[lang]")?.lang)
        ?.slice(0, 2)
        .toLowerCase();
      const locale = WORDS[language!] ? language! : "es";
      const [one, plural, old, unknown] = WORDS[locale]!.split("|") as [string, string, string, string];
      const count = state < State.Unknown ? news?.count : null;
      let shown = "unknown";
      let number = "—";
      let label = unknown;
      if (count != null) {
        shown = state || news!.stale ? "stale" : "live";
        number = count.toLocaleString(locale);
        label = number + " " + one + (count === 1 || count + locale === "0pt" ? "" : plural);
        if (shown !== "live") label += old;
      }
      const badge = this.#badge;
      const text = badge.lastChild!;
      badge.dataset.state = shown;
      badge.dataset.live = (news?.live ?? "") as string;
      badge.title = label;
      text.textContent = number;
      // A tap or a key shows the label in place of the number, until the number changes, and hides it again. A live badge has
      // nothing to explain: it is no stop of the Tab key.
      badge.tabIndex = -(shown === "live");
      badge.onclick = badge.onkeypress = () => {
        if (shown !== "live") text.textContent = text.textContent === number ? label : number;
      };
    };
  };
};
