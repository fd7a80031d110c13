/**
 * Defines <viewer-counter> (../element.ts) for pages that bundle it. The attribute `base-url` is the counter server; by
 * default the page's own origin. Does nothing on a server, or if the page already has the element.
 */

import { makeElement } from "../element.ts";
import { watchTracked } from "../tracked.ts";
import { apiOf } from "./server.ts";
import { track } from "./sessions.ts";
import { sourceOf } from "./shared.ts";

declare global {
  interface HTMLElementTagNameMap {
    "viewer-counter": HTMLElement;
  }
}

const define = () => {
  const ViewerCounter = makeElement(
    (watcher, element) => {
      const api = apiOf(element.getAttribute("base-url") ?? "");
      const { watch } = sourceOf(api);
      if (!element.hasAttribute("track")) return watch(watcher);
      // Sessions pass their counts on by themselves.
      return watchTracked(watcher, element, { api, watch, learn() {} }, track);
    },
    ["channel", "track", "base-url"],
  );
  customElements.define("viewer-counter", ViewerCounter);
};

if (globalThis.customElements && !customElements.get("viewer-counter")) define();
