/**
 * Replaces islands that don't work: WebAssembly is not supported, did not load, or the island panicked.
 * <viewer-counter> replaces the badge, and tracker.ts counts the page. Served as /fallback.js, which a page loads only
 * in that case.
 */

import { load } from "./load.ts";
import type { TrackOptions } from "./tracker.ts";

const replaceBadge = async (badge: HTMLElement, ticket: string) => {
  const [role, locale, channel, count] = badge.dataset.island!.split(" ") as [string, string, string, string];
  await load("./widget.js");
  const element = document.createElement("viewer-counter");
  element.setAttribute("channel", channel);
  element.setAttribute("locale", locale);
  // A page that is a viewer shows at least itself.
  const isViewer = role === "viewer" || role === "counted-elsewhere";
  if (count !== "-") element.setAttribute("count", isViewer && count === "0" ? "1" : count);
  if (role !== "reader") element.setAttribute("track", role);
  if (ticket) element.setAttribute("ticket", ticket);
  badge.replaceWith(element);
};

const track = async (channel: string, ticket: string) => {
  type Tracker = { track(options: TrackOptions): void };
  const { track } = await load<Tracker>("./tracker.js");
  track({ api: new URL("api/viewer/", import.meta.url).href, channel, ticket, onceSeen: true });
};

/** Replaces one island. `ticket`: the page's, or "". */
export const takeOver = (island: Element, ticket = ""): void => {
  const badge = island.querySelector<HTMLElement>(".viewer-counter[data-island]");
  if (badge) void replaceBadge(badge, ticket);
  const tracker = island.querySelector<HTMLElement>(".embed-viewer-tracker[data-island]");
  if (tracker) void track(tracker.dataset.island!, ticket);
};
