/**
 * Defines <viewer-counter> (../element.ts) for pages that bundle it. The attribute `base-url` is the counter server; by
 * default the page's own origin. Does nothing on a server, or if the page already has the element.
 */

import { makeElement, type Source } from "../element.ts";
import { apiOf } from "./server.ts";
import { track } from "./sessions.ts";
import { sourceOf } from "./shared.ts";

declare global {
  interface HTMLElementTagNameMap {
    "viewer-counter": HTMLElement;
  }
}

const sources = new Map<string, Promise<Source>>();

const connect = (element: HTMLElement): Promise<Source> => {
  const api = apiOf(element.getAttribute("base-url") ?? "");
  let source = sources.get(api);
  if (!source) {
    const { watch } = sourceOf(api);
    // Sessions pass their counts on by themselves.
    source = Promise.resolve({ api, watch, learn() {} });
    sources.set(api, source);
  }
  return source;
};

const define = () => {
  const Base = makeElement(connect, async () => ({ track }));
  class ViewerCounter extends Base {
    static override observedAttributes = [...Base.observedAttributes, "base-url"];
  }
  customElements.define("viewer-counter", ViewerCounter);
};

if (globalThis.customElements && !customElements.get("viewer-counter")) define();
