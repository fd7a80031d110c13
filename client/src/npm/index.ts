/** The package's main entry. */

import { makeReader } from "./reader.ts";
import { makeWatchCount, type WatchCount } from "./watch.ts";

/**
 * Watches the count of a channel over a stream of this page, until the returned function is called. All watched channels
 * of a page share the stream, and a hidden page has none. Does nothing on a server, and never throws.
 */
export const watchCount: WatchCount = /* @__PURE__ */ makeWatchCount(makeReader);

export { trackViewer } from "./track.ts";
export type { TrackerCount, TrackerEvents, TrackerState, TrackerStatus, ViewerTracker } from "./track.ts";
export type { ServerOptions, TrackerOptions } from "./server.ts";
export type { CountListener, CountState, CountUpdate } from "./watch.ts";
