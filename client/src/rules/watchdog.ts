/**
 * State machine that decides when to reopen an event stream, and how current the shown counts are. A port of
 * src/browser/watchdog.rs, which explains the rules. The sequences in tests/sequences keep both equal.
 *
 * `now`: milliseconds of a clock that advances while the machine sleeps. `random`: a new random number from 0 to 1.
 */

const ASK_AFTER = 13e3;
export const ANSWER_TIMEOUT = 5e3;
const COUNT_AFTER = 8e3;
const COUNT_SPREAD = 4e3;
const ANSWER_LASTS = 20e3;
export const STALE_AFTER = 30e3;
const DEAD_AFTER = 60e3;
export const UNKNOWN_AFTER = 60e3;
const LEADER_TIMEOUT = 4e3;
const LEADER_SPREAD = 2e3;
export const PAUSE = 500;
export const FIRST_SPREAD = 4500;
export const LATER_SPREAD = 8500;
export const GRACE = 1e3;

/** What to do next about a stream. */
export const enum Verdict {
  Fine,
  /** Check that the server is reachable. */
  Ask,
  /** Request the counts from the server. */
  Count,
  Reopen,
}

/** How current the shown counts are. */
export const enum State {
  Live,
  Stale,
  Unknown,
}

/** How current a count is that was last confirmed this long ago. */
export const stateAfter = (age: number): State =>
  age < STALE_AFTER ? State.Live : age < UNKNOWN_AFTER ? State.Stale : State.Unknown;

export type Watchdog = ReturnType<typeof makeWatchdog>;

export const makeWatchdog = () => {
  let heardAt = 0;
  let knownAt = 0;
  let askAt = 0;
  /** When to reopen the stream; 0 if it is not broken. */
  let reopenAt = 0;
  let failures = 0;
  let staleAt = Infinity;
  let needsNews = false;

  const begun = (now: number, wasAway: boolean, since?: number) => {
    heardAt = now;
    knownAt = since || now;
    askAt = now + ASK_AFTER;
    reopenAt = failures = 0;
    staleAt = Infinity;
    needsNews = wasAway;
  };
  const opened = (now: number) => {
    heardAt = now;
    reopenAt = 0;
    if (!failures) askAt = now + ASK_AFTER;
  };
  const answered = (now: number, isAnswered: boolean) => {
    askAt = now + (isAnswered ? ASK_AFTER : ANSWER_TIMEOUT);
    if (!isAnswered) staleAt = Math.min(staleAt, now);
    else if (!failures) staleAt = Infinity;
  };
  /** Whether the stream delivers the counts. Otherwise responses to requests do. */
  const isHeard = (now: number) => !failures && !needsNews && now - heardAt < STALE_AFTER;
  const isBroken = () => !!reopenAt;

  return {
    begun,
    opened,
    reopened(now: number) {
      failures ||= 1;
      opened(now);
    },
    /** The leader was asked whether it is there. */
    asked(now: number, random: number) {
      reopenAt ||= now + LEADER_TIMEOUT + LEADER_SPREAD * random;
    },
    /** The leader responded. */
    found() {
      reopenAt = 0;
    },
    heard(now: number) {
      begun(now, false);
    },
    broke(now: number, random: number) {
      reopenAt = now + PAUSE + (failures ? LATER_SPREAD : FIRST_SPREAD) * random;
      if (!failures) {
        staleAt = Math.min(staleAt, now + GRACE);
        askAt = Math.min(askAt, now + GRACE + COUNT_AFTER * random);
      }
      failures++;
    },
    /** The network was lost. */
    cutOff(now: number) {
      staleAt = now;
    },
    answered,
    /** A response contained the counts of all shown channels. */
    told(now: number, random: number) {
      answered(now, true);
      if (!isHeard(now)) {
        askAt = now + COUNT_AFTER + COUNT_SPREAD * random;
        staleAt = now + ANSWER_LASTS;
        knownAt = now;
        needsNews = false;
      }
    },
    isHeard,
    isBroken,
    check(now: number, isHidden: boolean) {
      if (now < Math.max(heardAt, knownAt)) {
        // The clock was set back.
        heardAt = knownAt = now;
        askAt = now + ASK_AFTER;
        reopenAt &&= now;
        if (staleAt < Infinity) staleAt = now;
      }
      const isDead = now - heardAt >= DEAD_AFTER;
      if (isDead && !failures) staleAt = Math.min(staleAt, now);
      if (isBroken() ? now >= reopenAt : isDead) return Verdict.Reopen;
      if (isHidden || now < askAt) return Verdict.Fine;
      askAt = now + 2 * ANSWER_TIMEOUT;
      return isHeard(now) ? Verdict.Ask : Verdict.Count;
    },
    state(now: number) {
      const isCurrent = !needsNews && now < staleAt && !stateAfter(now - Math.max(heardAt, knownAt));
      return isCurrent ? State.Live : stateAfter(now - knownAt) || State.Stale;
    },
    /** The milliseconds until the next check is due. */
    wait(now: number, isHidden: boolean) {
      let next = reopenAt || heardAt + DEAD_AFTER;
      if (!isHidden) next = Math.min(next, askAt);
      for (const at of [staleAt, Math.max(heardAt, knownAt) + STALE_AFTER, knownAt + UNKNOWN_AFTER]) {
        if (now < at) next = Math.min(next, at);
      }
      return Math.min(Math.max(next - now, 0), DEAD_AFTER);
    },
  };
};
