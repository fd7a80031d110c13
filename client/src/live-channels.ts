/**
 * <live-channels>: the list of live channels on the home page. Served as /live-channels.js. It fetches the page every
 * 10 s and updates the channels and their order; the <viewer-counter> elements in the list update the counts.
 *
 * The list does not change while the pointer or the focus is in it.
 */

import "./widget.js";

const REFRESH_INTERVAL = 10_000;

class LiveChannels extends HTMLElement {
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #refresh = () => void this.#fetchList();

  connectedCallback() {
    this.#timer = setInterval(this.#refresh, REFRESH_INTERVAL);
    document.addEventListener("visibilitychange", this.#refresh);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.#refresh);
  }

  /** Whether the pointer or the focus is in the list. */
  get #isInUse() {
    // On touch screens :hover stays after a tap.
    return this.matches(":focus-within") || (matchMedia("(hover: hover)").matches && this.matches(":hover"));
  }

  async #fetchList() {
    if (document.hidden || this.#isInUse) return;
    try {
      const response = await fetch(location.pathname);
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = page.querySelector("live-channels");
      // The user may have moved into the list during the request.
      if (next && !this.#isInUse) this.#update(next);
    } catch {
      // The next interval tries again.
    }
  }

  #update(next: Element) {
    const [list, nextList] = [this.querySelector("ol"), next.querySelector("ol")];
    if (!list || !nextList) {
      if (list || nextList || this.textContent !== next.textContent) this.replaceChildren(...next.childNodes);
      return;
    }
    const key = (item: Element) => item.querySelector("a")!.pathname;
    const rows = (list: Element) => [...list.children] as HTMLElement[];
    const items = new Map(rows(list).map((item) => [key(item), item]));
    const wanted = rows(nextList).map((item) => items.get(key(item)) ?? item);
    if (wanted.length === items.size && wanted.every((item, i) => item === list.children[i])) return;
    const before = new Map(rows(list).map((item) => [item, item.offsetTop]));
    list.replaceChildren(...wanted);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const item of wanted) {
      const top = before.get(item);
      const from =
        top === undefined ? { opacity: 0 } : { transform: `translateY(${top - item.offsetTop}px)` };
      item.animate([from, {}], { duration: 300, easing: "ease-out" });
    }
  }
}

customElements.define("live-channels", LiveChannels);
