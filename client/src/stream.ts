/**
 * The counts of this page's channels, by the stream that all tabs of the browser share: see rules/relay.ts. Served as
 * /stream.js.
 */

import {
  canShare,
  counts,
  isPrerendering,
  joinTabs,
  lead,
  newId,
  now,
  onPageEvent,
  openStream,
  probe,
  random,
  tell,
  type Stop,
} from "./browser.ts";
import { Event, makeRelay, type News } from "./rules/relay.ts";
import { ANSWER_TIMEOUT, State } from "./rules/watchdog.ts";

/** The most channels of one stream; for more, there are more streams. */
const MAX_CHANNELS = 50;

/** Where the server is that this script is of. */
export const API = new URL("api/viewer/", import.meta.url).href;

/** What the tabs of one site share a stream by. Its own pages use the short name, as their islands do. */
const TABS = "aforo-stream" + (API === new URL("/api/viewer/", location.href).href ? "" : " " + API);

export interface Watcher {
  channel: string;
  /** Whether it needs to hear also while nobody sees the page. */
  needed: boolean;
  /** Takes the news there are, if any; how current the last are (`State`); and whether something came in. */
  hear(news: News | undefined, state: State, isLife: boolean): void;
  /** What it does before the stream is closed because the page goes: to leave. */
  leave?(): void;
}

const watchers = new Set<Watcher>();
/** The last news of each channel that is watched. */
const known = new Map<string, News>();
const relay = makeRelay(newId(), {
  open(channels) {
    closeStreams();
    for (let i = 0; i < channels.length; i += MAX_CHANNELS) {
      const url = API + "sse?channels=" + channels.slice(i, i + MAX_CHANNELS);
      streams.push(
        openStream(url, (kind, _, text) => on([Event.Broken, Event.Tick, Event.Count][kind]!, text)),
      );
    }
  },
  close: () => closeStreams(),
  lead(steal) {
    endLead();
    endLead = lead(TABS, steal, (kind) => on(kind ? Event.Granted : Event.Taken));
  },
  resign() {
    endLead();
    endQuestion();
  },
  say: tell,
  ask() {
    endQuestion();
    endQuestion = probe(API + "ping", ANSWER_TIMEOUT, (kind) => on(Event.Answered, !!kind));
  },
  count(channels) {
    endQuestion();
    endQuestion = counts(API + "counts?channels=" + channels, ANSWER_TIMEOUT, (kind, _, text) =>
      kind ? on(Event.Told, text) : on(Event.Answered, false),
    );
  },
  show: (news) => known.set(news.channel, news),
  wake() {
    isLife = true;
  },
});

const none = () => {};
let streams: Stop[] = [];
let endLead: Stop = none;
let endQuestion: Stop = none;
let leaveTabs: Stop | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
let isLife = false;

const closeStreams = () => {
  for (const close of streams) close();
  streams = [];
};

const on = (event: Event, argument?: unknown) => {
  isLife = false;
  relay.on(event, argument, now(), random());
  const state = relay.state(now());
  for (const { channel, hear } of watchers) hear(known.get(channel), state, isLife);
  clearTimeout(timer);
  const wait = relay.wait(now());
  if (wait !== undefined) timer = setTimeout(on, wait, Event.Woken);
};

/** Has the relay know what is watched now. */
const begin = () => {
  if (isPrerendering()) return;
  leaveTabs ??= joinTabs(TABS, (_kind, _value, text) => on(Event.Said, text));
  const all = [...watchers];
  const channels = [...new Set(all.map(({ channel }) => channel))];
  for (const name of known.keys()) if (!channels.includes(name)) known.delete(name);
  on(Event.Watching, {
    channels,
    shares: canShare(),
    hidden: document.hidden,
    needed: all.some(({ needed }) => needed),
  });
};

/** The kind of page event that is the last, other than a freeze. */
const CLOSES = 2;
// None of a page that is about to be unloaded: one that stays after all has missed nothing.
const PAGE_EVENTS = [Event.Seen, 0, Event.Closed, Event.Closed, 0, 0, Event.Online, Event.Offline];
onPageEvent((kind) => {
  const event = PAGE_EVENTS[kind];
  if (event === undefined) return;
  if (!event) return begin();
  if (kind === CLOSES) for (const watcher of watchers) watcher.leave?.();
  on(event, document.hidden);
  if (event === Event.Closed) {
    // A page with an open channel to other tabs is not kept for coming back.
    leaveTabs?.();
    leaveTabs = undefined;
  }
});

let beginning: ReturnType<typeof setTimeout> | undefined;
/** Together with others that come and go in the same moment. */
const beginSoon = () => {
  beginning ??= setTimeout(() => {
    beginning = undefined;
    begin();
  });
};

/** Watches a channel until the function returned is called. */
export const watch = (watcher: Watcher): Stop => {
  watchers.add(watcher);
  beginSoon();
  return () => {
    watchers.delete(watcher);
    beginSoon();
  };
};

/** Takes in counts with which the server has answered something else, such as a beat. */
export const learn = (text: string): void => on(Event.Told, text);
