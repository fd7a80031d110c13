/**
 * Live counts over a stream of this page alone. This is all that a page needs while no other tab of its site reads counts
 * and its stream works, and it is small, so that the first number appears soon. Otherwise another source (counts.ts), which
 * is loaded then, takes over:
 *
 * - Another tab reads counts too. All tabs share one stream.
 * - The stream broke while the counts were not current: for the second time, or right after the page was hidden. Or nothing
 *   arrived for 30 s. The other source requests the counts if no stream gets through.
 * - There are more channels than one stream carries.
 *
 * A page with this stream holds the lock of the tab that leads (rules/relay.ts), so that other tabs know of it. At the first
 * message of another tab it releases the lock. A hidden page has neither the stream nor the lock.
 */

import type { Stop } from "./browser.ts";
import type { Counts, Watcher } from "./counts.ts";
import { MAX_CHANNELS } from "./rules/channel.ts";
import { readCount } from "./rules/count.ts";
import type { Known } from "./rules/relay.ts";
import { LATER_SPREAD, PAUSE, State, stateAfter } from "./rules/watchdog.ts";

interface Reading extends Watcher {
  news?: Known;
  /** Ends watching at the source that has taken over. */
  end?: Stop | undefined;
}

/**
 * Makes the only source of counts of this page from the server with this API. `name`: the name of the lock. `loadShared`
 * loads the source that takes over. It is called once at most.
 */
export const makeFirstStream = (
  api: string,
  name: string,
  loadShared: () => Promise<Pick<Counts, "watch">>,
) => {
  const readings = new Set<Reading>();
  let stream: EventSource | undefined;
  let releaseLock: Stop | undefined;
  let opening: ReturnType<typeof setTimeout> | undefined;
  let checking: ReturnType<typeof setInterval> | undefined;
  /** When the stream last delivered a count or a tick, and how current the counts are since then. */
  let heardAt = 0;
  let state = State.Live;
  let watchShared: Counts["watch"] | undefined;
  let takeover: Promise<void> | undefined;

  const show = () => {
    // If the clock was set back, as good as never.
    const aged = stateAfter(Math.abs(Date.now() - heardAt));
    if (aged) {
      state = aged;
      share();
    }
    for (const { news, update } of readings) update(news, state);
  };

  const heard = () => {
    heardAt = Date.now();
    state = State.Live;
    show();
  };

  const close = () => {
    stream?.close();
    stream = undefined;
    clearTimeout(opening);
    clearInterval(checking);
  };

  const leave = () => {
    close();
    releaseLock = releaseLock?.() as undefined;
  };

  const share = () => {
    releaseLock?.();
    takeover ??= loadShared().then(({ watch }) => {
      leave();
      watchShared = watch;
      for (const reading of readings) reading.end = watch(reading, state && heardAt);
    });
  };

  const sync = () => {
    if (watchShared) return;
    close();
    if (!releaseLock) heardAt = Date.now();
    if (!readings.size || document.hidden) {
      leave();
      state ||= State.Stale;
      return show();
    }
    if (!releaseLock) {
      const released = new Promise<void>((resolve) => (releaseLock = resolve));
      // Web Locks are missing over plain HTTP. There each tab has its own stream.
      navigator.locks
        ?.request(name, { ifAvailable: true }, (lock) => {
          if (!lock) return share();
          const tabs = new BroadcastChannel(name);
          tabs.onmessage = share;
          return released.then(() => tabs.close());
        })
        .catch(share);
    }
    checking = setInterval(show, 1e3);
    const channels = [...readings].map(({ channel }) => channel);
    if (channels.length > MAX_CHANNELS) return share();
    stream = new EventSource(api + "sse?channels=" + channels);
    stream.onmessage = ({ data }) => {
      const told = readCount(data, channels);
      if (!told) return;
      for (const reading of readings) if (reading.channel === told.channelId) reading.news = told;
      heard();
    };
    stream.addEventListener("tick", heard);
    stream.onerror = onBreak;
  };
  /** Opens and closes the stream as is needed then. */
  const syncIn = (millis: number) => {
    clearTimeout(opening);
    opening = setTimeout(sync, millis);
  };
  const onBreak = () => {
    // A page that is hidden, or has noticed already, has none.
    if (!stream) return;
    stream.close();
    stream = undefined;
    if (state) share();
    state ||= State.Stale;
    syncIn(PAUSE + LATER_SPREAD * Math.random());
  };
  addEventListener("visibilitychange", sync);
  addEventListener("offline", onBreak);
  addEventListener("online", sync);
  // When a navigation starts and the page stays after all (a download), Firefox and WebKit end streams without an event.
  addEventListener("beforeunload", () => syncIn(2e3));

  /** Watches a channel until the returned function is called. */
  return (reading: Reading): Stop => {
    if (!readings.size) state = State.Live;
    reading.end = watchShared?.(reading);
    readings.add(reading);
    // One stream for all elements that are added in one turn of the event loop.
    syncIn(0);
    return () => {
      reading.end?.();
      readings.delete(reading);
      if (!readings.size) sync();
    };
  };
};
