/**
 * <live-channels>: the list of live channels on our own home page. Served as /live-channels.js. Its numbers are the
 * business of the elements in it; this reads the page again now and then, and takes over which channels there are, and
 * their order.
 *
 * Nothing moves under a pointer or the focus: while either is in the list, it waits.
 */

import "./widget.js";

const EVERY = 10_000;

class LiveChannels extends HTMLElement {
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #refresh = () => void this.#readAgain();

  connectedCallback() {
    this.#timer = setInterval(this.#refresh, EVERY);
    document.addEventListener("visibilitychange", this.#refresh);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.#refresh);
  }

  /** Whether somebody points at something in it, or is about to follow a link by keyboard. */
  get #isInUse() {
    // A finger leaves its hover behind.
    return this.matches(":focus-within") || (matchMedia("(hover: hover)").matches && this.matches(":hover"));
  }

  async #readAgain() {
    if (document.hidden || this.#isInUse) return;
    try {
      const response = await fetch(location.pathname);
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = page.querySelector("live-channels");
      // The answer took a while.
      if (next && !this.#isInUse) this.#take(next);
    } catch {
      // The next time, maybe.
    }
  }

  #take(next: Element) {
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
