/**
 * Counts over one stream for all tabs of the browser (counts.ts). Where tabs can't share (plain HTTP off localhost), each
 * visible page has a stream of its own.
 */

import { makeCounts, type Counts } from "../counts.ts";
import { State } from "../rules/watchdog.ts";
import { isCounted, sources, trackingsOf } from "./sessions.ts";
import type { ServerOptions } from "./server.ts";
import { makeWatchCount, type Count, type CountListener, type Watch } from "./watch.ts";

/** The only source of counts of this page for the server with this API. */
export const sourceOf = (api: string): Counts => {
  let source = sources.get(api);
  if (!source) {
    let url = api;
    try {
      url = new URL(api, location.href).href;
    } catch {
      // Requests to it fail, which is reported like an unreachable server.
    }
    source = makeCounts(url);
    sources.set(api, source);
  }
  return source;
};

/** Options of a watch over the shared stream. */
export interface SharedOptions extends ServerOptions {
  /** A number that is known already, for as long as no count arrives and it is not too old. */
  initialCount?: number | null | undefined;
}

const makeWatch =
  (api: string, initialCount: number | null | undefined): Watch =>
  (channel, update) =>
    sourceOf(api).watch({
      channel,
      // A page that is a viewer beats on stream events while its timers are throttled.
      get needed() {
        return trackingsOf(api).length > 0;
      },
      update(news, state, isActivity) {
        if (isActivity) for (const tracking of trackingsOf(api)) tracking.wake();
        let count: Count | undefined = news;
        // A page that is counted is one of the viewers.
        if (news?.count === 0 && isCounted(api, channel)) count = { ...news, count: 1 };
        // Until the first count arrives, or the stream breaks, the state is `connecting`.
        if (!news && initialCount != null && state !== State.Live)
          count = { count: initialCount, stale: true };
        update(count, state);
      },
      leave() {
        for (const tracking of trackingsOf(api)) tracking.leave();
      },
    });

/**
 * Watches the count of a channel, over the stream that all tabs of the browser share. Otherwise the same as `watchCount`
 * of the package's main entry, which is smaller.
 */
export const watchCount = (
  channelId: string,
  listener: CountListener,
  options: SharedOptions = {},
): (() => void) =>
  makeWatchCount((api) => makeWatch(api, options.initialCount))(channelId, listener, options);

export type { ServerOptions } from "./server.ts";
export type { CountListener, CountState, CountUpdate } from "./watch.ts";
