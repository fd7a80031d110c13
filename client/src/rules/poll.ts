/**
 * State machine that decides when to request a count again, and how current the last one is. For pages that poll
 * instead of keeping a stream, so that caches in front of the server can answer them.
 *
 * The rules of streams (rules/watchdog.ts) apply: an answer is what an event is to a stream. A count turns stale when a
 * request fails, or after 30 s without an answer, and unknown 30 s after that. Two rules are added, because a cache
 * may answer:
 * - An answer with the same instant (`asOf`) as the one before it is a copy, and confirms nothing. So a cache that keeps
 *   an answer for longer than it may does not keep a count live.
 * - The 30 s grow where answers may be kept for longer (`max-age`).
 *
 * `now` and `random`: see rules/watchdog.ts.
 */

import { ANSWER_TIMEOUT, STALE_AFTER, State, UNKNOWN_AFTER, stateAfter } from "./watchdog.ts";

/** The interval without a valid attribute, and the shortest and the longest interval. In milliseconds. */
const DEFAULT = 10e3;
const SHORTEST = 1e3;
const LONGEST = 60e3;

/** Requests are spread over this part of the interval, so that pages that opened together drift apart. */
const JITTER = 0.2;

/** The longest pause after failures, and the longest that the server may ask for. */
const LONGEST_PAUSE = 30e3;
const LONGEST_RETRY = 120e3;

/**
 * How often the time for which an answer may be kept can pass until a newer one arrives: a shared cache and the
 * browser's may each keep it that long, and show it for as long again while they fetch a new one.
 */
const CACHED_TIMES = 4;

/** The interval in the attribute `poll`, a number of seconds. */
export const parseInterval = (text: string): number =>
  Math.min(Math.max(+text * 1e3 || DEFAULT, SHORTEST), LONGEST);

export const makePoll = (interval: number, now: number) => {
  /** When a count was last confirmed. */
  let confirmedAt = now;
  let askAt = now;
  /** The instant of the last count, by the store's clock. */
  let lastAsOf: unknown;
  let failures = 0;
  let lasts = Math.max(STALE_AFTER, interval + ANSWER_TIMEOUT);

  /** The time after which a count that was not confirmed is unknown. */
  const ends = () => lasts + UNKNOWN_AFTER - STALE_AFTER;

  const poll = {
    /** A request was answered with a count. `maxAge`: for how long caches may keep the answer, in seconds. */
    answered(now: number, random: number, asOf: unknown, maxAge: number) {
      failures = 0;
      lasts = Math.max(STALE_AFTER, interval + CACHED_TIMES * maxAge * 1e3 + ANSWER_TIMEOUT);
      if (asOf !== lastAsOf) confirmedAt = now;
      lastAsOf = asOf;
      askAt = now + interval * (1 - JITTER / 2 + JITTER * random);
    },
    /** A request failed. `retryAfter`: the shortest pause that the server asks for, in seconds. */
    failed(now: number, random: number, retryAfter: number) {
      failures += 1;
      const pause = Math.min(1e3 * 2 ** failures, LONGEST_PAUSE) * (0.5 + 0.5 * random);
      askAt = now + Math.max(interval, pause, Math.min(retryAfter * 1e3, LONGEST_RETRY));
    },
    /** The answer to another request, such as a beat, had the count. */
    told(now: number) {
      confirmedAt = now;
      failures = 0;
    },
    /** The network was lost. */
    cutOff() {
      failures ||= 1;
    },
    /** The network is back, or the page: do not wait for the next request. */
    hurry(now: number) {
      if (failures || now - confirmedAt >= interval) askAt = Math.min(askAt, now);
    },
    /** Also due if the clock was set back, and the next request is further away than any pause. */
    isDue: (now: number) => now >= askAt || askAt > now + LONGEST_RETRY,
    state(now: number): State {
      // The clock was set back.
      if (now < confirmedAt) confirmedAt = now;
      const state = stateAfter(now - confirmedAt - (lasts - STALE_AFTER));
      return state || (failures ? State.Stale : State.Live);
    },
    /** The milliseconds until the next request or the next change of the state is due. `isHidden`: nothing is requested. */
    wait(now: number, isHidden: boolean): number {
      const instants = [confirmedAt + lasts, confirmedAt + ends()].filter((at) => at > now);
      if (!isHidden) instants.push(poll.isDue(now) ? now : askAt);
      return Math.max(Math.min(...instants, now + LONGEST) - now, 0);
    },
  };
  return poll;
};
