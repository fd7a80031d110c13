/** trackViewer: counts the page as a viewer of a channel. */

import { isChannel } from "../rules/channel.ts";
import { readNews } from "../rules/relay.ts";
import { apiOf, isPage, type TrackerOptions } from "./server.ts";
import { track } from "./sessions.ts";
import type { Tracking } from "../tracker.ts";

/**
 * What a tracker is doing:
 * - `connecting`: the page has not been counted yet, or left and is about to join again.
 * - `counted`: the server counts the page.
 * - `retrying`: the last request failed. The next one follows by itself.
 * - `invalid`: the name can't be a channel's. Nothing is sent.
 * - `stopped`: the tracker was stopped.
 */
export type TrackerState = "connecting" | "counted" | "retrying" | "invalid" | "stopped";

/** The state of a tracker. */
export interface TrackerStatus {
  /** The channel, as it was given. */
  channelId: string;
  state: TrackerState;
  /**
   * Why the state is `retrying` or `invalid`: the `code` of the server's problem document, such as `limit-reached`;
   * `unreachable` if there was none, which includes refusals that the browser hides from pages of other origins.
   */
  error: string | null;
}

/** The count in the answer to a join or a heartbeat. */
export interface TrackerCount {
  channelId: string;
  /** The number of viewers; `null` if the server does not know it. */
  count: number | null;
  /** Whether the server could not confirm the number. */
  isStale: boolean;
}

/** The events of a tracker. */
export interface TrackerEvents {
  state: TrackerStatus;
  count: TrackerCount;
}

/** A running tracker. */
export interface ViewerTracker {
  readonly status: TrackerStatus;
  /** Calls the listener at every event of this type, until the returned function is called. */
  on<Type extends keyof TrackerEvents>(
    type: Type,
    listener: (event: TrackerEvents[Type]) => void,
  ): () => void;
  /**
   * Takes a newer ticket, or the first one. With a newer one of the same account the session goes on. `null`: the person has
   * signed out. Then, and with a ticket of another account, this session ends and another one begins.
   */
  renewTicket(ticket: string | null | undefined): void;
  /** Sends the leave, if this is the last tracker of the channel on the page. */
  stop(): void;
}

/**
 * Counts the page as a viewer of a channel until `stop` is called or the page goes away. All trackers of a page, and all
 * pages of a browser, are one viewer. Does nothing on a server, and never throws.
 */
export const trackViewer = (channelId: string, { baseUrl, ticket }: TrackerOptions = {}): ViewerTracker => {
  const listeners: { [Type in keyof TrackerEvents]: Set<(event: TrackerEvents[Type]) => void> } = {
    state: new Set(),
    count: new Set(),
  };
  const emit = <Type extends keyof TrackerEvents>(type: Type, event: TrackerEvents[Type]) => {
    for (const listener of listeners[type]) {
      try {
        listener(event);
      } catch (error) {
        reportError(error);
      }
    }
  };
  let status: TrackerStatus = { channelId, state: "connecting", error: null };
  const become = (state: TrackerState, error: string | null = null) => {
    if (state === status.state && error === status.error) return;
    status = { channelId, state, error };
    emit("state", status);
  };

  let tracking: Tracking | undefined;
  const channel = `${channelId ?? ""}`.toLowerCase();
  if (!isPage()) {
    // A server is no viewer.
  } else if (isChannel(channel)) {
    tracking = track({
      api: apiOf(baseUrl),
      channel,
      ticket: ticket ?? null,
      counted: (isCounted) => become(isCounted ? "counted" : "connecting"),
      failed: (code) => become("retrying", code || "unreachable"),
      learn(text) {
        const news = readNews(text);
        if (news) emit("count", { channelId, count: news.count, isStale: news.stale });
      },
    });
  } else {
    queueMicrotask(() => status.state === "stopped" || become("invalid", "invalid-channel"));
  }

  return {
    get status() {
      return status;
    },
    on(type, listener) {
      listeners[type].add(listener);
      return () => listeners[type].delete(listener);
    },
    renewTicket(ticket) {
      if (status.state !== "stopped") tracking?.renew(ticket);
    },
    stop() {
      tracking?.end();
      become("stopped");
    },
  };
};
