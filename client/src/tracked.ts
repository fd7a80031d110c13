/**
 * The counts of a <viewer-counter> with the attribute `track`: the page counts as a viewer while the element watches. Its
 * attribute `ticket` says who the viewer is.
 *
 * Where the element replaces a badge of the site's own pages (fallback.ts), `track` is the role of the page, as in
 * src/components/viewer_counter.rs.
 */

import type { Stop } from "./browser.ts";
import type { Source, Watcher } from "./counts.ts";
import type { Known } from "./rules/relay.ts";
import { State } from "./rules/watchdog.ts";
import type { TrackOptions, Tracking } from "./tracker.ts";

/** A page that is a viewer is one of the viewers. */
const withPage = (news: Known | undefined) => (news?.count === 0 ? { ...news, count: 1 } : news);

/** Watches and counts the page until the returned function is called. */
export const watchTracked = (
  { channel, update }: Watcher,
  element: HTMLElement,
  { api, watch, learn }: Source,
  track: (options: TrackOptions) => Tracking,
): Stop => {
  const role = element.getAttribute("track");
  if (role === "counted-elsewhere")
    return watch({ channel, update: (news, state) => update(withPage(news), state) });
  let isCounted = false;
  let news: Known | undefined;
  let state = State.Live;
  // A page of the site is one even before its join is answered.
  const show = () => update(isCounted || role === "viewer" ? withPage(news) : news, state);

  const ticket = () => element.getAttribute("ticket");
  const tracking = track({
    api,
    channel,
    ticket: ticket(),
    learn,
    counted(value) {
      isCounted = value;
      show();
    },
  });
  const renewing = new MutationObserver(() => tracking.renew(ticket()));
  renewing.observe(element, { attributeFilter: ["ticket"] });

  const endWatching = watch({
    channel,
    needed: true,
    update(known, current, isActivity) {
      news = known;
      state = current;
      show();
      if (isActivity) tracking.wake();
    },
    leave: () => tracking.leave(),
  });

  return () => {
    endWatching();
    renewing.disconnect();
    tracking.end();
  };
};
