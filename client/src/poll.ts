/**
 * Counts of this page's channels by polling, in place of stream.ts: one plain request for each channel at an interval,
 * which a cache in front of the server may answer. rules/poll.ts has the rules. Served as /poll.js.
 *
 * A hidden page requests nothing.
 */

import { now, onPageEvent, random, type Stop } from "./browser.ts";
import { makePoll, parseInterval } from "./rules/poll.ts";
import { readNews, type News } from "./rules/relay.ts";
import { ANSWER_TIMEOUT, State } from "./rules/watchdog.ts";
import type { Watcher } from "./counts.ts";

/** The API of the server that served this script. */
export const api = new URL("api/viewer/", import.meta.url).href;

/** By channel and interval. */
const pollers = new Map<string, ReturnType<typeof makePoller>>();

/** Requests one channel's count at one interval, for all elements that watch it so. */
const makePoller = (channel: string, interval: number) => {
  const poll = makePoll(interval, now());
  const watchers = new Set<Watcher>();
  let news: News | undefined;
  let controller: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** Requests the count if that is due, shows what is known, and waits for the next step. */
  const settle = (isActivity = false) => {
    if (!watchers.size) return;
    if (!controller && !document.hidden && poll.isDue(now())) void request();
    clearTimeout(timer);
    timer = setTimeout(settle, controller ? ANSWER_TIMEOUT : poll.wait(now(), document.hidden));
    const state = poll.state(now());
    for (const { update } of watchers) update(news, state, isActivity);
  };

  const request = async () => {
    const own = (controller = new AbortController());
    const limit = setTimeout(() => own.abort(), ANSWER_TIMEOUT);
    let retryAfter = 0;
    let isAnswered = false;
    try {
      // Without options, so that every cache on the way may answer.
      const response = await fetch(api + "count/" + channel, { signal: own.signal });
      retryAfter = +(response.headers.get("retry-after") ?? 0) || 0;
      const answer = await response.json();
      if (controller !== own) return;
      if (response.ok) {
        const { count, stale, asOf } = answer;
        const told = readNews([channel, count ?? "-", stale ? "stale" : "live", asOf].join(" "));
        if (!told) throw answer;
        const maxAge = /max-age=(\d+)/.exec(response.headers.get("cache-control") ?? "");
        news = told;
        poll.answered(now(), random(), asOf, +(maxAge?.[1] ?? 0));
        isAnswered = true;
      } else if (answer.code === "unavailable") {
        // The server says that the count is unknown.
        news = { channel, count: null, stale: true, live: null };
      }
    } catch {}
    clearTimeout(limit);
    if (controller !== own) return;
    controller = undefined;
    if (!isAnswered) poll.failed(now(), random(), retryAfter);
    settle(isAnswered);
  };

  return {
    poll,
    watchers,
    settle,
    learn(told: News) {
      if (told.channel !== channel || poll.state(now()) === State.Live) return;
      news = told;
      poll.told(now());
      settle();
    },
    end() {
      controller?.abort();
      controller = undefined;
      clearTimeout(timer);
    },
  };
};

/** The kinds of page events (browser.ts) after which a due request is sent at once: the page or the network is back. */
const BACK = [0, 1, 4, 5, 6];
const OFFLINE = 7;
onPageEvent((kind) => {
  for (const { poll, settle } of pollers.values()) {
    if (kind === OFFLINE) poll.cutOff();
    else if (BACK.includes(kind)) poll.hurry(now());
    else continue;
    settle();
  }
});

/** Watches a channel for an element, at the interval in its attribute `poll`, until the returned function is called. */
export const watch = (watcher: Watcher, element: HTMLElement): Stop => {
  const { channel } = watcher;
  const interval = parseInterval(element.getAttribute("poll") ?? "");
  const key = channel + " " + interval;
  let poller = pollers.get(key);
  if (!poller) pollers.set(key, (poller = makePoller(channel, interval)));
  const { watchers, settle, end } = poller;
  watchers.add(watcher);
  setTimeout(settle);
  return () => {
    watchers.delete(watcher);
    if (watchers.size) return;
    end();
    pollers.delete(key);
  };
};

/** Passes on a count from a response to another request, such as a beat. */
export const learn = (text: string): void => {
  const told = readNews(text);
  if (told) for (const poller of pollers.values()) poller.learn(told);
};
