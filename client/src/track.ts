/**
 * The counts of the elements with the attribute `track` (tracked.ts), from the server that served this script. Served as
 * /track.js, which is loaded on first use, and loads the source of the counts.
 */

import type { Stop } from "./browser.ts";
import type { Source, Watcher } from "./counts.ts";
import { load } from "./load.ts";
import { STALE_AFTER, State } from "./rules/watchdog.ts";
import { watchTracked } from "./tracked.ts";
import { track } from "./tracker.ts";

/** Watches a channel for an element, until the returned function is called. */
export const watch = async (watcher: Watcher, element: HTMLElement): Promise<Stop> => {
  let source: Source;
  // The element may change while the source is loaded.
  const isTracked = () => element.isConnected && element.hasAttribute("track");
  // An initial count does not stay for ever if the source does not load.
  const aging = setTimeout(() => {
    if (isTracked()) watcher.update(undefined, State.Unknown);
  }, STALE_AFTER);
  if (element.hasAttribute("poll")) {
    const { api, watch, learn } = await load<typeof import("./poll.ts")>("./poll.js");
    source = { api, watch: (watcher) => watch(watcher, element), learn };
  } else {
    source = await load<Source>("./stream.js");
  }
  clearTimeout(aging);
  return isTracked() ? watchTracked(watcher, element, source, track) : () => {};
};
