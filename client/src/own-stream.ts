/**
 * The live count of one channel, over a stream that the page shares with no other: for pages that are alone in their
 * browser, or whose stream says more than counts. The same watchdog as for shared streams (rules/watchdog.ts) decides
 * when to reopen it and how current the count is.
 */

import { counts, now, onPageEvent, openEvents, probe, random, type Stop } from "./browser.ts";
import { readCount } from "./rules/count.ts";
import { readNews, type News } from "./rules/relay.ts";
import { ANSWER_TIMEOUT, State, Verdict, makeWatchdog } from "./rules/watchdog.ts";

/** The events of pages, by their kind (browser.ts). */
const enum Kind {
  Visibility,
  Prerendering,
  PageHide,
  Freeze,
  PageShow,
  Resume,
  Online,
  Offline,
}

/** The kinds of events of a stream. */
const TICK = 1;
const MESSAGE = 2;
const FIGURES = 3;

export interface More {
  /** The query of the stream, with its question mark. */
  query: string;
  /** Receives the instant of each count, by the store's clock: whatever the stream says. */
  asOf(instant: unknown): void;
  /** Receives the data of events with figures, and returns whether they are figures. */
  figures(data: string): boolean;
}

/**
 * Watches a channel until the page is closed. `api`: the API with its origin. `news`: the count that the page shows
 * already. `update` receives the last count and how current it is. `more`: what else the stream says.
 */
export const watchAlone = (
  api: string,
  news: News,
  update: (news: News, state: State) => void,
  more?: More,
): void => {
  const { channel } = news;
  const watchdog = makeWatchdog();
  let closeStream: Stop = () => {};
  let endRequest: Stop = () => {};
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** Shows what is known after an event, and waits for the next check. */
  const settle = () => {
    clearTimeout(timer);
    timer = setTimeout(check, watchdog.wait(now(), document.hidden));
    update(news, watchdog.state(now()));
  };

  const learn = (text: string) => {
    const told = readNews(text);
    if (told?.channel === channel) news = told;
  };

  /** Takes an event of the stream, and returns whether it proves that the stream works. */
  const hear = (kind: number, data: string) => {
    if (kind === FIGURES) return !!more?.figures(data);
    const told = kind === MESSAGE ? readCount(data, [channel]) : undefined;
    if (told) {
      news = { channel, count: told.count, stale: !!told.stale, live: told.live ?? null };
      more?.asOf(told.asOf);
    }
    return told || kind === TICK;
  };

  const open = () => {
    closeStream();
    closeStream = openEvents(api + "sse/" + channel + (more?.query ?? ""), (kind, _, data) => {
      if (!kind) {
        closeStream();
        watchdog.broke(now(), random());
      } else if (hear(kind, data)) {
        watchdog.heard(now());
      }
      settle();
    });
  };

  const reopen = () => {
    open();
    watchdog.reopened(now());
  };

  const check = () => {
    const verdict = watchdog.check(now(), document.hidden);
    if (verdict === Verdict.Reopen) reopen();
    else if (verdict !== Verdict.Fine) {
      endRequest();
      endRequest =
        verdict === Verdict.Ask
          ? probe(api + "ping", ANSWER_TIMEOUT, (kind) => {
              watchdog.answered(now(), !!kind);
              settle();
            })
          : counts(api + "counts?channels=" + channel, ANSWER_TIMEOUT, (kind, _, text) => {
              if (!kind) watchdog.answered(now(), false);
              else {
                if (!watchdog.isHeard(now())) learn(text);
                watchdog.told(now(), random());
              }
              settle();
            });
    }
    settle();
  };

  const begin = (wasAway: boolean) => {
    watchdog.begun(now(), wasAway);
    open();
    settle();
  };

  onPageEvent((kind) => {
    if (kind === Kind.PageHide || kind === Kind.Freeze) {
      closeStream();
      endRequest();
      clearTimeout(timer);
    } else if (kind === Kind.PageShow || kind === Kind.Resume) {
      begin(true);
    } else if (kind === Kind.Online) {
      if (watchdog.state(now()) !== State.Live) reopen();
      settle();
    } else if (kind === Kind.Offline) {
      watchdog.cutOff(now());
      settle();
    } else if (kind === Kind.Visibility) {
      check();
    }
  });
  begin(false);
};
