/**
 * Counts this page as a viewer of a channel, by the rules in rules/tracker.ts. Served as /tracker.js, which only
 * fallback.ts loads, and a part of /track.js.
 */

import {
  beat,
  isPrerendering,
  leave,
  newId,
  now,
  onPageEvent,
  onceSeen,
  random,
  type Stop,
} from "./browser.ts";
import { Event, Send, makeTracker, type Answer } from "./rules/tracker.ts";

export interface TrackOptions {
  /** The base URL of the API, with a trailing slash. */
  api: string;
  channel: string;
  /** The ticket that says who the viewer is. It is kept in memory only. */
  ticket?: string | null;
  /** Whether to wait until half of the page's main element has been visible; for frames. */
  onceSeen?: boolean;
  /** Receives the count in a response to a beat, formatted for the relay. */
  learn?: (count: string) => void;
  /** Receives whether the server counts the page. */
  counted?: (isCounted: boolean) => void;
  /** Receives the code of the server's problem with a beat; "" if the server gave no answer or another one. */
  failed?: (code: string) => void;
}

export interface Tracking {
  /** Sends a beat if one is due. For callers that browsers don't throttle as they do timers. */
  wake(): void;
  /**
   * Takes a newer ticket, or the first one. With none, or one of another account, the session ends and another one begins.
   */
  renew(ticket: string | null | undefined): void;
  /** Sends the leave. The tracker also does so by itself when the page goes away. */
  leave(): void;
  /** Sends the leave and removes all timers and listeners. */
  end(): void;
}

/** The account of a ticket; `undefined` if it can't be read. */
const accountOf = (ticket: string): unknown => {
  try {
    return JSON.parse(atob(ticket.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))).sub;
  } catch {}
};

export const track = ({
  api,
  channel,
  ticket,
  onceSeen: waitsUntilSeen,
  learn,
  counted,
  failed,
}: TrackOptions): Tracking => {
  let tracker = makeTracker(30e3);
  const none = () => {};
  let session = "";
  let isWanted = false;
  let endRequest: Stop = none;
  let endWaiting: Stop = none;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const send = (call: string) => {
    endRequest();
    const shown = tracker.sendsTicket() ? ticket! : "";
    endRequest = beat(api + call, channel, session, tracker.isHidden(), shown, (kind, value, text) => {
      if (!kind || kind > 2) {
        if (kind) {
          on(Event.Refused, kind === 3);
          counted?.(false);
        } else on(Event.Failed, value);
        return failed?.(text);
      }
      const answer: Answer = { active: kind === 1 };
      if (value > 0) answer.interval = value;
      on(Event.Answered, answer);
      counted?.(answer.active);
      if (answer.active) learn?.(text);
    });
  };

  const on = (event: Event, argument?: unknown) => {
    const command = tracker.on(event, argument, now(), random());
    if (command === Send.Leave) {
      // First, so that aborting a request can't delay the leave, and a pending join is left again.
      leave(api + "leave", channel, session);
      // A pending heartbeat must not arrive after the leave.
      endRequest();
      counted?.(false);
    } else if (command !== Send.Nothing) {
      send(command === Send.Join ? "join" : "heartbeat");
    }
    clearTimeout(timer);
    const wait = tracker.wait(now());
    if (wait !== undefined) timer = setTimeout(on, wait, Event.Woken);
  };

  const open = () => {
    if (!isWanted || isPrerendering()) return;
    session = newId();
    on(Event.Opened, document.hidden);
  };
  const start = () => {
    isWanted = true;
    open();
  };

  // 0 calls `open`.
  const PAGE_EVENTS = [
    Event.Seen,
    0,
    Event.Closed,
    undefined,
    0,
    Event.Woken,
    Event.Online,
    undefined,
    Event.Unloading,
  ];
  const endListening = onPageEvent((kind) => {
    const event = PAGE_EVENTS[kind];
    if (event === 0) open();
    else if (event !== undefined) on(event, document.hidden);
  });
  if (ticket) on(Event.Ticket);
  if (waitsUntilSeen) endWaiting = onceSeen(start);
  else start();

  return {
    wake: () => on(Event.Woken),
    renew(newer) {
      if ((newer || "") === (ticket || "")) return;
      // A page without a ticket, or with one of another account, may be counted as another viewer.
      const isOther = !newer || !tracker.hasTicket() || accountOf(newer) !== accountOf(ticket!);
      const isOpen = isOther && tracker.wait(0) !== undefined;
      if (isOpen) on(Event.Closed);
      ticket = newer;
      if (isOther) tracker = makeTracker(30e3);
      if (newer) on(Event.Ticket);
      if (isOpen) open();
    },
    leave: () => on(Event.Closed),
    end() {
      endListening();
      endWaiting();
      on(Event.Closed);
    },
  };
};
