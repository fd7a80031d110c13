/**
 * <live-channels>: the list of live channels on our own home page. Its numbers are the business of the elements in it; this
 * reads the page again now and then, and takes over which channels there are, and their order.
 *
 * Nothing moves under a pointer or the focus: while either is in the list, it waits.
 */

import "./widget.js";

const EVERY = 10_000;

class LiveChannels extends HTMLElement {
  connectedCallback() {
    this.timer = setInterval(() => this.refresh(), EVERY);
    this.seen = () => document.hidden || this.refresh();
    document.addEventListener("visibilitychange", this.seen);
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
  }

  /** Whether somebody points at something in it, or is about to follow a link by keyboard. */
  get isInUse() {
    // A finger leaves its hover behind.
    return this.matches(":focus-within") || (matchMedia("(hover: hover)").matches && this.matches(":hover"));
  }

  async refresh() {
    if (document.hidden || this.isInUse) return;
    try {
      const response = await fetch(location.pathname);
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = page.querySelector("live-channels");
      // The answer took a while.
      if (next && !this.isInUse) this.take(next);
    } catch {
      // The next time, maybe.
    }
  }

  take(next) {
    const [list, nextList] = [this.querySelector("ol"), next.querySelector("ol")];
    if (!list || !nextList) {
      if (list || nextList || this.textContent !== next.textContent) this.replaceChildren(...next.childNodes);
      return;
    }
    const key = (item) => item.querySelector("a").pathname;
    const items = new Map([...list.children].map((item) => [key(item), item]));
    const wanted = [...nextList.children].map((item) => items.get(key(item)) ?? item);
    if (wanted.length === items.size && wanted.every((item, i) => item === list.children[i])) return;
    const before = new Map([...list.children].map((item) => [item, item.offsetTop]));
    list.replaceChildren(...wanted);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const item of wanted) {
      const from = before.has(item)
        ? { transform: `translateY(${before.get(item) - item.offsetTop}px)` }
        : { opacity: 0 };
      item.animate([from, {}], { duration: 300, easing: "ease-out" });
    }
  }
}

customElements.define("live-channels", LiveChannels);
