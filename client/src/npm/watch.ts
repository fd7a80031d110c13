/** What watchCount reports, for both sources of counts: reader.ts and shared.ts. */

import type { Stop } from "../browser.ts";
import { isChannel } from "../rules/channel.ts";
import type { State } from "../rules/watchdog.ts";
import { apiOf, isPage, type ServerOptions } from "./server.ts";

/**
 * How much is known of a count:
 * - `connecting`: nothing yet, and nothing is wrong.
 * - `live`: the count is current.
 * - `stale`: the count is up to a minute old: the stream broke, the server can't reach its store, or the page is hidden.
 * - `unknown`: there is no count, or none of the last minute.
 * - `invalid`: the name can't be a channel's. Nothing is requested.
 */
export type CountState = "connecting" | "live" | "stale" | "unknown" | "invalid";

/** A change of a watched count. */
export interface CountUpdate {
  /** The channel, as it was given. */
  channelId: string;
  /** The number of viewers; `null` if it is not known. */
  count: number | null;
  state: CountState;
  /** Whether counts of this channel arrive now. */
  isConnected: boolean;
}

/** Receives every change. An exception in it is reported as uncaught and ends nothing. */
export type CountListener = (update: CountUpdate) => void;

/** Watches the count of a channel until the returned function is called. */
export type WatchCount = (channelId: string, listener: CountListener, options?: ServerOptions) => () => void;

/** A count as the server reports it. */
export interface Count {
  /** `null` if the server does not know it. */
  count: number | null;
  /** Whether the server could not confirm it. */
  stale: boolean;
}

/** Watches a channel until the returned function is called: reports its last count, if known, and how current it is. */
export type Watch = (channel: string, update: (count: Count | undefined, state: State) => void) => Stop;

/** By the values of `State`, and one more. */
const STATES = ["live", "stale", "unknown", "connecting"] as const;

/** Makes a `watchCount`. `make` is called once for each server. */
export const makeWatchCount = (make: (api: string) => Watch): WatchCount => {
  const sources: Record<string, Watch> = {};

  return (channelId, listener, { baseUrl } = {}) => {
    if (!isPage()) return () => {};
    let last = "";
    const tell = (count: number | null, state: CountState, isConnected: boolean) => {
      const before = last;
      last = [count, state, isConnected].join();
      if (last === before) return;
      try {
        listener({ channelId, count, state, isConnected });
      } catch (error) {
        reportError(error);
      }
    };
    const channel = `${channelId ?? ""}`.toLowerCase();
    if (isChannel(channel)) {
      const api = apiOf(baseUrl);
      return (sources[api] ??= make(api))(channel, (known, state) => {
        const nth = known?.count == null ? (known || state ? 2 : 3) : state || +known.stale;
        tell(nth < 2 ? known!.count : null, STATES[nth]!, !state && !!known);
      });
    }
    const timer = setTimeout(tell, 0, null, "invalid", false);
    return () => clearTimeout(timer);
  };
};
