/**
 * State machine of a page as a viewer: when to send joins, heartbeats and leaves. A port of src/browser/tracker, which
 * explains the rules. The sequences in tests/sequences keep both equal.
 */

const ANSWER_TIMEOUT = 15e3;
const BACK_OFF = [1e3, 30e3] as const;
const LONGEST_RETRY = 120e3;
const STAYED = 2e3;
const HIDE_AFTER = 1e3;
const LONGEST_NAP = 60e3;

/** An event of a page. */
export const enum Event {
  /** The page opened or came back: a new session starts. Argument: whether the page is hidden. */
  Opened,
  /** The page became hidden or visible. Argument: whether it is hidden. */
  Seen,
  /** A timer fired, or the stream delivered something: check whether a beat is due. */
  Woken,
  /** The network came back. */
  Online,
  /** The request succeeded. Argument: `Answer`. */
  Answered,
  /** The request failed. Argument: the server's Retry-After in milliseconds, or 0. */
  Failed,
  /** The server refused the request for its ticket. Argument: whether it wants one (or else refuses the one sent). */
  Refused,
  /** The page got a ticket, or a newer one. */
  Ticket,
  /** The browser is about to unload the page, which may still stay. */
  Unloading,
  /** The page is closing, or stops being a viewer. */
  Closed,
}

/** The response to a beat. */
export interface Answer {
  /** Whether the server counts the session. */
  active: boolean;
  /** The interval of beats in milliseconds, if the response has one. */
  interval?: number;
}

/** What a page must send. */
export const enum Send {
  Nothing,
  Join,
  Heartbeat,
  Leave,
}

const enum Phase {
  Idle,
  Watching,
  /** The page has left, and joins again when a beat is due. */
  Unloading,
  Left,
}

/** `interval`: milliseconds between beats until a response sets another interval. */
export const makeTracker = (interval: number) => {
  let phase = Phase.Idle;
  let hidden = false;
  let saidHidden = false;
  let hasJoined = false;
  let hasTicket = false;
  let sentTicket = false;
  let mustShow = false;
  let sentAt: number | undefined;
  let dueAt = 0;
  let lastAt = 0;
  let failures = 0;

  const isAwake = () => phase === Phase.Watching || phase === Phase.Unloading;

  const backOff = (now: number, retryAfter: number, random: number) => {
    const doubled = Math.min(BACK_OFF[0] * 2 ** Math.min(failures++, 10), BACK_OFF[1]);
    sentAt = undefined;
    lastAt = now;
    dueAt = now + Math.max(doubled * (0.5 + 0.5 * random), Math.min(retryAfter, LONGEST_RETRY));
  };

  return {
    /** Whether the page is hidden, for the body of a beat. */
    isHidden: () => hidden,
    /** Whether the page has a ticket that the server has not refused. Without one it must open again after `Ticket`. */
    hasTicket: () => hasTicket,
    /** Whether the last request carries the ticket. */
    sendsTicket: () => sentTicket,
    /** Handles an event and returns what to send. `now` and `random`: see rules/watchdog.ts. */
    on(event: Event, argument: unknown, now: number, random: number): Send {
      if (event === Event.Opened) {
        phase = Phase.Watching;
        hidden = saidHidden = argument as boolean;
        hasJoined = sentTicket = mustShow = false;
        sentAt = undefined;
        dueAt = lastAt = now;
        failures = 0;
      } else if (event === Event.Seen) {
        hidden = argument as boolean;
        if (hidden !== saidHidden && phase === Phase.Watching) {
          const at = hidden ? now + HIDE_AFTER : now;
          dueAt = sentAt === undefined ? Math.min(dueAt, at) : at;
        }
      } else if (event === Event.Online) {
        if (failures && phase === Phase.Watching) dueAt = now;
      } else if (event === Event.Answered) {
        const answer = argument as Answer;
        hasJoined = answer.active;
        interval = answer.interval ?? interval;
        failures = 0;
        mustShow = false;
        const next = now + (hasJoined ? interval * (0.8 + 0.2 * random) : BACK_OFF[0] * random);
        // If the visibility changed during the request, the beat that reports it is still due.
        dueAt = hidden === saidHidden ? next : Math.min(next, dueAt);
        sentAt = undefined;
      } else if (event === Event.Failed) {
        backOff(now, argument as number, random);
      } else if (event === Event.Refused) {
        if (argument ? hasTicket && !sentTicket : sentTicket) {
          if (argument) mustShow = true;
          else hasTicket = hasJoined = false;
          sentAt = undefined;
          if (phase === Phase.Watching) dueAt = now;
        } else {
          hasJoined = false;
          backOff(now, 0, random);
        }
      } else if (event === Event.Ticket) {
        hasTicket = true;
        if (failures && phase === Phase.Watching) dueAt = now;
      } else if (event === Event.Unloading) {
        if (phase !== Phase.Watching) return Send.Nothing;
        phase = Phase.Unloading;
        hasJoined = false;
        sentAt = undefined;
        lastAt = now;
        dueAt = failures ? Math.max(dueAt, now + STAYED) : now + STAYED;
        return Send.Leave;
      } else if (event === Event.Closed) {
        const wasWatching = phase === Phase.Watching;
        phase = Phase.Left;
        return wasWatching ? Send.Leave : Send.Nothing;
      }
      if (sentAt !== undefined && (now < sentAt || now - sentAt >= ANSWER_TIMEOUT)) backOff(now, 0, 0);
      if (!isAwake() || sentAt !== undefined || (now < dueAt && now >= lastAt)) {
        return Send.Nothing;
      }
      phase = Phase.Watching;
      sentAt = dueAt = lastAt = now;
      saidHidden = hidden;
      sentTicket = hasTicket && (mustShow || !hasJoined);
      return hasJoined ? Send.Heartbeat : Send.Join;
    },
    /** The milliseconds until the next `Woken` is due; `undefined` if none is needed. */
    wait: (now: number) =>
      isAwake()
        ? Math.min(Math.max((sentAt === undefined ? dueAt : sentAt + ANSWER_TIMEOUT) - now, 0), LONGEST_NAP)
        : undefined,
  };
};
