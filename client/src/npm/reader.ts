/**
 * Live counts over a stream of this page alone. Small: it follows the watchdog's rules for staleness and reopening, but
 * does not share the stream with other tabs and has no substitute for streams that never get through (counts.ts has).
 * The page has no stream while it is hidden, so hidden tabs take no connections.
 */

import { now, random } from "../browser.ts";
import { MAX_CHANNELS } from "../rules/channel.ts";
import { readCount } from "../rules/count.ts";
import { ANSWER_TIMEOUT, State, Verdict, makeWatchdog } from "../rules/watchdog.ts";
import type { Count, Watch } from "./watch.ts";

/** Makes the only reader of this page for the server with this API. */
export const makeReader = (api: string): Watch => {
  const watchdog = makeWatchdog();
  const watchers = new Set<Parameters<Watch>>();
  /** The last count of each channel. */
  const known = new Map<string, Count>();
  /** The channels of the open streams. */
  let open: string[] = [];
  const streams: EventSource[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the page is visible and watches channels. */
  let isActive = false;

  const close = () => {
    for (const stream of streams.splice(0)) stream.close();
  };

  const heard = () => {
    watchdog.heard(now());
    show();
  };
  const broken = () => {
    watchdog.broke(now(), random());
    close();
    show();
  };

  const connect = () => {
    close();
    watchdog.opened(now());
    for (let i = 0; i < open.length; i += MAX_CHANNELS) {
      const channels = open.slice(i, i + MAX_CHANNELS);
      try {
        const stream = new EventSource(api + "sse?channels=" + channels);
        streams.push(stream);
        stream.onmessage = ({ data }) => {
          const told = readCount(data, channels);
          if (!told) return;
          known.set(told.channelId, told);
          heard();
        };
        stream.addEventListener("tick", heard);
        stream.onerror = broken;
      } catch {
        // The URL is invalid, or a page has broken the API.
        setTimeout(broken);
      }
    }
  };

  const show = () => {
    clearTimeout(timer);
    if (isActive) timer = setTimeout(check, watchdog.wait(now(), false));
    const state = watchdog.state(now()) || (isActive ? State.Live : State.Stale);
    for (const [channel, update] of watchers) update(known.get(channel), state);
  };

  const check = () => {
    const verdict = watchdog.check(now(), false);
    if (verdict === Verdict.Reopen) {
      connect();
      watchdog.reopened(now());
    } else if (verdict) {
      // An error has no status.
      const settled = ({ status = 500 }) => {
        watchdog.answered(now(), status < 500);
        show();
      };
      fetch(api + "ping", { signal: AbortSignal.timeout(ANSWER_TIMEOUT) }).then(settled, settled);
    }
    show();
  };

  const sync = (event?: Event) => {
    const channels = [...new Set([...watchers].map(([channel]) => channel))];
    const isWanted = !!channels[0] && !document.hidden;
    if (event?.type === "offline") watchdog.cutOff(now());
    if (isWanted !== isActive) {
      isActive = isWanted;
      open = [];
      if (isWanted) watchdog.begun(now(), !!known.size);
      else close();
    }
    if (isWanted && (event?.type === "online" || channels.some((channel) => !open.includes(channel)))) {
      open = channels;
      connect();
    }
    for (const channel of known.keys())
      if (!(isWanted ? open : channels).includes(channel)) known.delete(channel);
    show();
  };

  // A page that goes away or comes back also changes its visibility.
  for (const type of ["visibilitychange", "online", "offline"]) addEventListener(type, sync);

  // When a navigation starts and the page stays after all (a download), Firefox and WebKit end streams without an event.
  if (navigator.vendor !== "Google Inc.")
    addEventListener("beforeunload", () => {
      const [before] = streams;
      setTimeout(() => before && before === streams[0] && broken(), 2e3);
    });

  return (...watcher) => {
    watchers.add(watcher);
    queueMicrotask(sync);
    return () => {
      watchers.delete(watcher);
      queueMicrotask(sync);
    };
  };
};
