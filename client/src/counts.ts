/**
 * Live counts of this page's channels, over the event stream that all tabs of the browser share (rules/relay.ts).
 */

import {
  counts,
  isPrerendering,
  lead,
  newId,
  now,
  onPageEvent,
  openStream,
  openTabs,
  probe,
  random,
  type Stop,
} from "./browser.ts";
import { streamName } from "./stream-name.ts";
import { MAX_CHANNELS } from "./rules/channel.ts";
import { Event, makeRelay, type Known, type News } from "./rules/relay.ts";
import { ANSWER_TIMEOUT, State } from "./rules/watchdog.ts";

/** The kind of `pagehide` among the page events. */
const PAGE_HIDE = 2;
// The relay ignores `beforeunload`, the last kind: a page that stays has missed nothing. 0 checks what is watched.
const PAGE_EVENTS = [Event.Seen, 0, Event.Closed, Event.Closed, 0, 0, Event.Online, Event.Offline];

export interface Watcher {
  channel: string;
  /** Whether it needs the stream while the page is hidden. */
  needed?: boolean;
  /**
   * Receives the last count of the channel, if known, and how current it is. `isActivity`: the stream delivered
   * something, an occasion to send a due beat that browsers don't throttle as they do timers.
   */
  update(news: Known | undefined, state: State, isActivity?: boolean): void;
  /** Called when the page goes away, before the stream is closed: sends the leave. */
  leave?(): void;
}

export interface Counts {
  /** The base URL of the API, with a trailing slash. */
  api: string;
  /**
   * Watches a channel until the returned function is called. `since`: when the count that another source has shown was last
   * current, if it has become old; else 0.
   */
  watch(watcher: Watcher, since?: number): Stop;
  /** Passes on counts from a response to another request, such as a beat. */
  learn(text: string): void;
  /** Heeds what has changed of the watchers. */
  refresh(): void;
}

/** Where an element's counts come from. */
export interface Source extends Pick<Counts, "api" | "learn"> {
  watch(watcher: Watcher): Stop;
}

/** Makes the only source of counts of this page from the server with this API. */
export const makeCounts = (api: string): Counts => {
  const name = streamName(api);
  const watchers = new Set<Watcher>();
  /** The last count of each watched channel. */
  const known = new Map<string, News>();
  const relay = makeRelay(newId(), {
    open(channels) {
      closeStreams();
      for (let i = 0; i < channels.length; i += MAX_CHANNELS) {
        const url = api + "sse?channels=" + channels.slice(i, i + MAX_CHANNELS);
        streams.push(
          openStream(url, (kind, _, text) => on([Event.Broken, Event.Tick, Event.Count][kind]!, text)),
        );
      }
    },
    close: () => closeStreams(),
    lead(steal) {
      endLead();
      endLead = lead(name, steal, (kind) => on(kind ? Event.Granted : Event.Taken));
    },
    resign() {
      endLead();
      endRequest();
    },
    say: (text) => tabs?.postMessage(text),
    ask() {
      endRequest();
      endRequest = probe(api + "ping", ANSWER_TIMEOUT, (kind) => on(Event.Answered, !!kind));
    },
    count(channels) {
      endRequest();
      endRequest = counts(api + "counts?channels=" + channels, ANSWER_TIMEOUT, (kind, _, text) =>
        kind ? on(Event.Told, text) : on(Event.Answered, false),
      );
    },
    show: (news) => known.set(news.channel, news),
    wake() {
      isActivity = true;
    },
  });

  const none = () => {};
  let streams: Stop[] = [];
  let endLead: Stop = none;
  let endRequest: Stop = none;
  let tabs: BroadcastChannel | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isActivity = false;
  /** When the counts that were taken over were last current, until the relay knows it. */
  let oldSince = 0;

  const closeStreams = () => {
    for (const close of streams) close();
    streams = [];
  };

  const on = (event: Event, argument?: unknown) => {
    isActivity = false;
    relay.on(event, argument, now(), random());
    const state = relay.state(now());
    for (const { channel, update } of watchers) update(known.get(channel), state, isActivity);
    clearTimeout(timer);
    const wait = relay.wait(now());
    if (wait !== undefined) timer = setTimeout(on, wait, Event.Woken);
  };

  /** Tells the relay which channels are watched now. */
  const sync = () => {
    if (isPrerendering()) return;
    tabs ??= openTabs(name, (_kind, _value, text) => on(Event.Said, text));
    const all = [...watchers];
    const channels = [...new Set(all.map(({ channel }) => channel))];
    for (const channel of known.keys()) if (!channels.includes(channel)) known.delete(channel);
    on(Event.Watching, {
      channels,
      shares: !!tabs,
      hidden: document.hidden,
      needed: all.some(({ needed }) => !!needed),
      since: oldSince,
    });
    oldSince = 0;
  };

  onPageEvent((kind) => {
    const event = PAGE_EVENTS[kind];
    if (event === undefined) return;
    if (!event) return sync();
    if (kind === PAGE_HIDE) for (const watcher of watchers) watcher.leave?.();
    on(event, document.hidden);
    if (event === Event.Closed) {
      // An open BroadcastChannel would keep the page out of the back/forward cache.
      tabs?.close();
      tabs = undefined;
    }
  });

  let syncTimer: ReturnType<typeof setTimeout> | undefined;
  /** Batches all changes of one turn of the event loop. */
  const refresh = () => {
    syncTimer ??= setTimeout(() => {
      syncTimer = undefined;
      sync();
    });
  };

  return {
    api,
    watch(watcher, since = 0) {
      oldSince ||= since;
      watchers.add(watcher);
      refresh();
      return () => {
        watchers.delete(watcher);
        refresh();
      };
    },
    learn: (text) => on(Event.Told, text),
    refresh,
  };
};
