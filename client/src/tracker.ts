/**
 * Counts this page as a viewer of a channel: see rules/tracker.ts. Served as /tracker.js, which is loaded when
 * something is to be tracked.
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
  /** Where the server's calls are, with a slash at the end. */
  api: string;
  channel: string;
  /** Whether to begin not before half of the page's main part has been on screen: for frames. */
  onceSeen?: boolean;
  /** Takes the count that came with an answer, as the relay reads it. */
  learn?: (count: string) => void;
  /** Takes whether the server counts the page. */
  counted?: (isCounted: boolean) => void;
}

export interface Tracking {
  /** An occasion to beat that browsers don't slow down as they do timers. */
  wake(): void;
  /** Leaves, as it does by itself when the page goes. */
  leave(): void;
  /** Leaves, and ends every timer and listener. */
  end(): void;
}

export const track = ({ api, channel, onceSeen: waits, learn, counted }: TrackOptions): Tracking => {
  const tracker = makeTracker(30e3);
  const none = () => {};
  let session = "";
  let isWanted = false;
  let endRequest: Stop = none;
  let endWaiting: Stop = none;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const send = (call: string) => {
    endRequest();
    endRequest = beat(api + call, channel, session, tracker.isHidden(), (kind, value, text) => {
      if (!kind) return on(Event.Failed, value);
      const answer: Answer = { active: kind === 1 };
      if (value > 0) answer.interval = value;
      on(Event.Answered, answer);
      counted?.(answer.active);
      if (answer.active) learn?.(text);
    });
  };

  const on = (event: Event, argument?: unknown) => {
    const todo = tracker.on(event, argument, now(), random());
    if (todo === Send.Leave) {
      // Before anything else ends, so that nothing that is given up can hold it back.
      leave(api + "leave", channel, session);
      // A beat that has not gone out by now must not arrive after the leave.
      endRequest();
      counted?.(false);
    } else if (todo !== Send.Nothing) {
      send(todo === Send.Join ? "join" : "heartbeat");
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
  if (waits) endWaiting = onceSeen(start);
  else start();

  return {
    wake: () => on(Event.Woken),
    leave: () => on(Event.Closed),
    end() {
      endListening();
      endWaiting();
      on(Event.Closed);
    },
  };
};
