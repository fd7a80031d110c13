/**
 * Counts this page as a viewer, by tracker.ts. All trackers of a channel on a page are one session. It begins and ends
 * after the present turn of the event loop, so that a component that is unmounted and mounted again within one turn, as
 * React does in strict mode and at a fast refresh, goes on with the same session and sends nothing.
 */

import type { Counts } from "../counts.ts";
import * as page from "../tracker.ts";
import type { TrackOptions, Tracking } from "../tracker.ts";

interface Session {
  id: string;
  api: string;
  channel: string;
  listeners: Set<TrackOptions>;
  /** The ticket that was given last. */
  ticket: string | null;
  /** While the session lasts. */
  tracking?: Tracking | undefined;
  isCounted: boolean;
  /** The code of the last failure, if nothing has succeeded since. */
  failure?: string | undefined;
}

const sessions = new Map<string, Session>();

const idOf = (api: string, channel: string) => api + " " + channel;

/** The sources of counts over shared streams, by API. Sessions and streams help each other. */
export const sources = new Map<string, Counts>();

/** The running sessions with this server. */
export const trackingsOf = (api: string): Tracking[] =>
  [...sessions.values()].flatMap((session) => (session.api === api ? (session.tracking ?? []) : []));

/** Whether the server counts this page in this channel. */
export const isCounted = (api: string, channel: string): boolean =>
  !!sessions.get(idOf(api, channel))?.isCounted;

/** Tells a listener how the session is doing. */
const report = ({ failure, isCounted }: Session, { failed, counted }: TrackOptions) =>
  failure === undefined ? counted?.(isCounted) : failed?.(failure);

const begin = (session: Session) => {
  const { api, channel, ticket, listeners } = session;
  const reportAll = () => {
    for (const listener of listeners) report(session, listener);
  };
  session.tracking = page.track({
    api,
    channel,
    ticket,
    learn(count) {
      sources.get(api)?.learn(count);
      for (const { learn } of listeners) learn?.(count);
    },
    counted(isCounted) {
      session.isCounted = isCounted;
      session.failure = undefined;
      reportAll();
    },
    failed(code) {
      session.failure = code;
      reportAll();
    },
  });
};

/** Begins a session that has got a tracker, and ends one that has lost its last one. */
const settle = (session: Session) => {
  const { id, api, listeners, tracking } = session;
  if (!listeners.size && sessions.get(id) === session) sessions.delete(id);
  if (!listeners.size === !tracking) return;
  if (tracking) {
    session.tracking = undefined;
    tracking.end();
  } else {
    begin(session);
  }
  sources.get(api)?.refresh();
};

/** Tracks the page like `track` of tracker.ts, in the session of this channel. */
export const track = (options: TrackOptions): Tracking => {
  const { api, channel, ticket } = options;
  const id = idOf(api, channel);
  const known = sessions.get(id);
  // A person who has signed out is another viewer, also if the tracker is replaced within one turn.
  const goesOn = known && (known.listeners.size || ticket || !known.ticket);
  const session: Session = goesOn
    ? known
    : { id, api, channel, listeners: new Set(), ticket: null, isCounted: false };
  sessions.set(id, session);
  session.listeners.add(options);
  const renew = (newer: string | null | undefined) => {
    session.ticket = newer ?? null;
    session.tracking?.renew(newer);
  };
  if (ticket && ticket !== session.ticket) renew(ticket);
  queueMicrotask(() => {
    if (session.tracking && session.listeners.has(options)) report(session, options);
    settle(session);
  });
  return {
    wake: () => session.tracking?.wake(),
    leave: () => session.tracking?.leave(),
    renew,
    end() {
      session.listeners.delete(options);
      queueMicrotask(() => settle(session));
    },
  };
};
