"use client";

/** React hooks. They do nothing while a server renders. */

import {
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
  type DetailedHTMLProps,
  type HTMLAttributes,
} from "react";

import type { ServerOptions, TrackerOptions } from "./server.ts";
import { watchCount } from "./shared.ts";
import { trackViewer, type TrackerState, type ViewerTracker } from "./track.ts";
import type { CountState } from "./watch.ts";

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      /** The element that `aforo/element` defines. */
      "viewer-counter": ViewerCounterProps;
    }
  }
}

/** The attributes of `<viewer-counter>`. */
export type ViewerCounterProps = DetailedHTMLProps<HTMLAttributes<HTMLElement>, HTMLElement> & {
  channel: string;
  "base-url"?: string | undefined;
  locale?: string | undefined;
  count?: number | string | undefined;
  /** With `track`: the ticket that says who the viewer is. */
  ticket?: string | undefined;
  /** Present or absent: React 18 would also write `false` as an attribute. */
  track?: "" | undefined;
};

/** What both hooks take. */
export interface ViewerOptions extends ServerOptions {
  /** The channel; nothing happens while it is missing. */
  channelId: string | null | undefined;
  /** Whether the hook does anything; by default `true`. */
  enabled?: boolean | undefined;
}

/** What `useViewerTracker` takes. */
export interface ViewerTrackerOptions extends ViewerOptions {
  /**
   * The ticket that says who the viewer is, signed by the site's backend. A newer one is used from then on, in the same
   * session; with none any more, or one of another account, another session begins.
   */
  ticket?: TrackerOptions["ticket"];
}

/** What `useViewerCount` takes. */
export interface ViewerCountOptions extends ViewerOptions {
  /** The number to return until the first count arrives, such as one that the app's server has rendered. */
  initialCount?: number | null | undefined;
}

/** What `useViewerCount` returns. */
export interface ViewerCount {
  /** The number of viewers; `null` if it is not known. */
  viewerCount: number | null;
  /** Whether counts arrive now. */
  isConnected: boolean;
  /** How much is known; `idle` while the hook is not enabled. */
  state: CountState | "idle";
}

/** What `useViewerTracker` returns. */
export interface ViewerTracking {
  /** Whether the server counts this page. */
  isCounted: boolean;
  /** What the tracker is doing; `idle` while the hook is not enabled. */
  state: TrackerState | "idle";
  /** Why `state` is `retrying` or `invalid`: a problem code of the server, or `unreachable`. */
  error: string | null;
}

/** A value for React. `run` keeps it current from a subscription to its end, after which the value is the initial one. */
const makeStore = <Value>(initial: Value, run: (set: (value: Value) => void) => () => void) => {
  let value = initial;
  return {
    get: () => value,
    getInitial: () => initial,
    subscribe(changed: () => void) {
      if (value !== initial) {
        // React keeps the state of a component that it hides and shows again.
        value = initial;
        changed();
      }
      return run((next) => {
        value = next;
        changed();
      });
    },
  };
};

type Store<Value> = ReturnType<typeof makeStore<Value>>;

const useStore = <Value>({ subscribe, get, getInitial }: Store<Value>) =>
  useSyncExternalStore(subscribe, get, getInitial);

const idle = () => () => {};

/**
 * Counts the page as a viewer of the channel while the component is mounted. All trackers of a page, and all pages of a
 * browser, are one viewer.
 */
export function useViewerTracker({
  channelId,
  enabled = true,
  baseUrl,
  ticket,
}: ViewerTrackerOptions): ViewerTracking {
  const tracker = useRef<ViewerTracker>(undefined);
  const latest = useRef(ticket);
  // Before the subscription below, which begins with the latest ticket.
  useEffect(() => {
    latest.current = ticket;
    tracker.current?.renewTicket(ticket);
  }, [ticket]);
  const store = useMemo(() => {
    const status = (state: ViewerTracking["state"], error: string | null = null): ViewerTracking => ({
      isCounted: state === "counted",
      state,
      error,
    });
    if (!enabled || !channelId) return makeStore(status("idle"), idle);
    return makeStore(status("connecting"), (set) => {
      const own = trackViewer(channelId, { baseUrl, ticket: latest.current });
      const end = own.on("state", ({ state, error }) => set(status(state, error)));
      tracker.current = own;
      return () => {
        end();
        own.stop();
        tracker.current = undefined;
      };
    });
    // Not of ticket: the tracker takes a newer one.
  }, [channelId, enabled, baseUrl]);
  return useStore(store);
}

/** The number of viewers of the channel, kept current while the component is mounted. Does not count the page. */
export function useViewerCount({
  channelId,
  enabled = true,
  baseUrl,
  initialCount = null,
}: ViewerCountOptions): ViewerCount {
  const store = useMemo(() => {
    const status = (state: ViewerCount["state"], viewerCount: number | null = null, isConnected = false) => ({
      viewerCount,
      isConnected,
      state,
    });
    if (!enabled || !channelId) return makeStore(status("idle"), idle);
    return makeStore(status("connecting"), (set) =>
      watchCount(channelId, ({ count, state, isConnected }) => set(status(state, count, isConnected)), {
        baseUrl,
        initialCount,
      }),
    );
    // Not of initialCount: a page that is rendered again goes on with what it knows.
  }, [channelId, enabled, baseUrl]);
  const known = useStore(store);
  const isFirst = known.state === "idle" || known.state === "connecting";
  return isFirst ? { ...known, viewerCount: initialCount } : known;
}
