/**
 * <viewer-counter> (element.ts) with the counts of the server that served this script. Served as /widget.js. To show a
 * number, a page needs no other script. What else elements need is loaded when it is first needed.
 */

import type { Stop } from "./browser.ts";
import type { Counts, Watcher } from "./counts.ts";
import { makeElement } from "./element.ts";
import { makeFirstStream } from "./first-stream.ts";
import { load } from "./load.ts";
import { STALE_AFTER, State } from "./rules/watchdog.ts";
import { streamName } from "./stream-name.ts";

interface ElementSource {
  watch(watcher: Watcher, element: HTMLElement): Stop | Promise<Stop>;
}

const api = new URL("api/viewer/", import.meta.url).href;
const watchFirst = makeFirstStream(api, streamName(api), () => load<Counts>("./stream.js"));

const name = "viewer-counter";
// A page may have this script twice, by two addresses.
if (!customElements.get(name))
  customElements.define(
    name,
    makeElement((watcher, element) => {
      const script = ["track", "poll"].find((name) => element.hasAttribute(name));
      if (!script) return watchFirst(watcher);
      // An initial count does not stay for ever if the script does not load.
      const aging = setTimeout(watcher.update, STALE_AFTER, undefined, State.Unknown);
      const end = load<ElementSource>(`./${script}.js`).then(({ watch }) => {
        clearTimeout(aging);
        return watch(watcher, element);
      });
      return async () => {
        clearTimeout(aging);
        (await end)();
      };
    }),
  );
