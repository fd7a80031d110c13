/**
 * Live counts over a stream of this page alone. Small: it follows the watchdog's rules for staleness and reopening, but
 * does not share the stream with other tabs and has no substitute for streams that never get through (counts.ts has).
 * The page has no stream while it is hidden, so hidden tabs take no connections.
 */

import { now, openEvents, random, type Stop } from "../browser.ts";
import { ANSWER_TIMEOUT, State, Verdict, makeWatchdog } from "../rules/watchdog.ts";
import type { Count, Watch } from "./watch.ts";

/** The server's limit of channels per stream. For more channels, several streams are opened. */
const MAX_CHANNELS = 50;

/** Makes the only reader of this page for the server with this API. */
export const makeReader = (api: string): Watch => {
  const watchdog = makeWatchdog();
  const watchers = new Set<Parameters<Watch>>();
  /** The last count of each channel. */
  const known = new Map<string, Count>();
  /** The channels of the open streams. */
  let open: string[] = [];
  let streams: Stop[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the page is visible and watches channels. */
  let isActive = false;

  const close = () => {
    for (const end of streams) end();
    streams = [];
  };

  const connect = (opened = watchdog.opened) => {
    close();
    opened(now());
    for (let i = 0; i < open.length; i += MAX_CHANNELS) {
      const url = api + "sse?channels=" + open.slice(i, i + MAX_CHANNELS);
      streams.push(
        openEvents(url, (kind, _, data) => {
          if (kind) {
            watchdog.heard(now());
            if (data) {
              const answer = JSON.parse(data);
              known.set(answer.channelId, answer);
            }
          } else {
            watchdog.broke(now(), random());
            close();
          }
          show();
        }),
      );
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
      connect(watchdog.reopened);
    } else if (verdict) {
      fetch(api + "ping", { signal: AbortSignal.timeout(ANSWER_TIMEOUT) })
        .then(
          ({ status }) => status < 500,
          () => false,
        )
        .then((isAnswered) => {
          watchdog.answered(now(), isAnswered);
          show();
        });
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
    for (const channel of known.keys()) if (![...open, ...channels].includes(channel)) known.delete(channel);
    show();
  };

  // A page that goes away or comes back also changes its visibility.
  for (const type of ["visibilitychange", "online", "offline"]) addEventListener(type, sync);

  return (...watcher) => {
    watchers.add(watcher);
    queueMicrotask(sync);
    return () => {
      watchers.delete(watcher);
      queueMicrotask(sync);
    };
  };
};
