/**
 * The overlay: keeps the badge in the page current, and celebrates when the count first reaches a milestone. Served as
 * /overlay.js. The page is src/pages/overlay.rs; it counts nobody.
 *
 * All that this script needs is in the attributes of the element around the badge.
 */

import { watchAlone } from "./own-stream.ts";
import type { News } from "./rules/relay.ts";
import { State } from "./rules/watchdog.ts";

/** How long a milestone is celebrated, in milliseconds. */
const CELEBRATION_TIME = 6e3;

const page = document.querySelector<HTMLElement>(".overlay")!;
const badge = page.firstElementChild as HTMLElement;
const number = badge.lastElementChild!;
const { channel, count, milestones, one, many, stale, unknown } = page.dataset as Record<string, string>;
const locale = document.documentElement.lang;

/** The highest milestone that was reached so far. `undefined` until the first live count, which celebrates nothing. */
let reached: number | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;

const celebrate = (count: number) => {
  // Ascending, so the last one that was reached is the highest.
  const highest = milestones!
    .split(" ")
    .filter((milestone) => milestone && +milestone <= count)
    .pop();
  const before = reached;
  reached = Math.max(reached ?? 0, +(highest ?? 0));
  if (before === undefined || reached <= before) return;
  badge.dataset.milestone = highest;
  clearTimeout(timer);
  timer = setTimeout(() => delete badge.dataset.milestone, CELEBRATION_TIME);
};

const show = (news: News, state: State) => {
  const count = state === State.Unknown ? null : news.count;
  let shown = "unknown";
  let text = "—";
  let label = unknown!;
  if (count !== null) {
    shown = news.stale || state === State.Stale ? "stale" : "live";
    text = count.toLocaleString(locale);
    label = text + " " + (count === 1 || (!count && locale === "pt") ? one : many);
    if (shown === "stale") label += ` (${stale})`;
    else celebrate(count);
  }
  badge.dataset.state = shown;
  badge.setAttribute("aria-label", label);
  if (number.textContent !== text) number.textContent = text;
};

const { state } = badge.dataset;
watchAlone(
  new URL("api/viewer/", import.meta.url).href,
  { channel: channel!, count: state === "unknown" ? null : +count!, stale: state === "stale", live: null },
  show,
);
