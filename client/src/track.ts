/**
 * The counts of the elements with the attribute `track` (tracked.ts), from the server that served this script. Served as
 * /track.js, which is loaded on first use, and loads the source of the counts.
 */

import type { Stop } from "./browser.ts";
import type { Source, Watcher } from "./counts.ts";
import { load } from "./load.ts";
import { watchTracked } from "./tracked.ts";
import { track } from "./tracker.ts";

/** Watches a channel for an element, until the returned function is called. */
export const watch = async (watcher: Watcher, element: HTMLElement): Promise<Stop> => {
  let source: Source;
  if (element.hasAttribute("poll")) {
    const { api, watch, learn } = await load<typeof import("./poll.ts")>("./poll.js");
    source = { api, watch: (watcher) => watch(watcher, element), learn };
  } else {
    source = await load<Source>("./stream.js");
  }
  // The element may have changed while the source was loaded.
  const isTracked = element.isConnected && element.hasAttribute("track");
  return isTracked ? watchTracked(watcher, element, source, track) : () => {};
};
