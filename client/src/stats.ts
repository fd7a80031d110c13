/**
 * The statistics page (src/pages/stats), kept current. Served as /stats.js. The page is complete without it.
 *
 * - The count and the figures of the present broadcast come over a stream of the page's own.
 * - The other parts, those with `data-part`, are fetched with the page itself: once in an interval of a minute or more, at
 *   a moment of the minute that is random for each page, and never while the page is hidden. The server draws them, so
 *   the chart is drawn in one place only.
 * - If the address names no time zone, the browser's is added to it.
 *
 * All that this script needs is in attributes of the page.
 */

import { now as browserTime, onPageEvent, random } from "./browser.ts";
import { attachCursor } from "./chart-cursor.ts";
import { watchAlone } from "./own-stream.ts";
import { makeClock } from "./rules/clock.ts";
import { makeWriter, readFigures, type Figures } from "./rules/figures.ts";
import type { News } from "./rules/relay.ts";
import { State } from "./rules/watchdog.ts";

/** The interval of fetches: a fifth of a step, within these bounds. In milliseconds. */
const SHORTEST = 60e3;
const LONGEST = 300e3;

/** After the end of a minute, what happened in it is written within some seconds. */
const WRITTEN_AFTER = 6e3;

const FETCH_TIMEOUT = 15e3;

/** By how much a fetch may come too early after one that came late: timers are not exact. */
const TOLERANCE = 5e3;

const page = document.querySelector<HTMLElement>(".stats")!;
const data = page.dataset as Record<string, string>;
const locale = document.documentElement.lang;
const find = (selector: string) => page.querySelector<HTMLElement>(selector);

/** Sets a text only if it differs, so that selections and screen readers are not disturbed. */
const say = (element: Element | null, text: string) => {
  if (element && element.textContent !== text) element.textContent = text;
};
const fill = (pattern: string, words: Record<string, string>) =>
  pattern.replace(/{(\w+)}/g, (_, word: string) => words[word] ?? "");

const clock = makeClock();
const elapsed = () => performance.now();
/** The server's time. Where the server has not told it, no instant is shown. */
const now = () => clock.now(elapsed()) ?? browserTime();

let writer = makeWriter(locale, data.months!, data.zone!);

// The count.

const badge = find(".viewer-counter")!;

const showCount = (news: News, state: State) => {
  const count = state === State.Unknown ? null : news.count;
  let shown = "unknown";
  let label = data.unknown!;
  if (count !== null) {
    shown = news.stale || state === State.Stale ? "stale" : "live";
    label = writer.number(count) + " " + (count === 1 || (!count && locale === "pt") ? data.one : data.many);
    if (shown === "stale") label += ` (${data.stale})`;
  }
  badge.dataset.state = shown;
  badge.setAttribute("aria-label", label);
  say(badge.lastElementChild, count === null ? "—" : writer.number(count));
};

// The figures.

/** The figures of the newest broadcast. `undefined` before the stream has said them. */
let figures: Figures | null | undefined;

const showFigures = () => {
  if (figures === undefined) return;
  const present = now();
  for (const [name, text] of Object.entries(writer.figures(figures, +data.exact!, present))) {
    const element = find(`[data-figure="${name}"]`);
    if (name !== "peakAt") say(element, text);
    else if (element && element.textContent !== text) {
      const time = document.createElement("time");
      if (text) time.dateTime = new Date(figures!.peakAt!).toISOString();
      time.textContent = text;
      element.replaceChildren(time);
    }
  }
  if (!figures) return;
  // The first broadcast of the channel has begun.
  find('[data-part="now"]')!.hidden = false;
  find("[data-never]")?.remove();
  const { startedAt, endedAt } = figures;
  const isOver = endedAt !== null;
  say(find("[data-now]"), isOver ? data.last! : data.this!);
  const when = isOver ? writer.span(startedAt, endedAt, present) : writer.instant(startedAt, present);
  const length = writer.length(((endedAt ?? present) - startedAt) / 1e3);
  say(find("[data-since]"), fill(isOver ? data.wasOnAir! : data.onAir!, { when, length }));
};

// The parts of the page that the server draws.

/** The HTML of each part as the server has sent it: scripts and visitors change it. */
const sent = new Map<string, string>();
const parts = (root: ParentNode) => [...root.querySelectorAll<HTMLElement>("[data-part]")];

/** Puts a part into the page in place of the present one. The visitor's focus, open table and scroll position stay. */
const replace = (present: HTMLElement, next: HTMLElement) => {
  const focused = document.activeElement?.id;
  const hadFocus = present.contains(document.activeElement);
  for (const { id } of present.querySelectorAll("details[open]")) {
    next.querySelector<HTMLDetailsElement>("#" + id)?.setAttribute("open", "");
  }
  const scrolled = [...present.querySelectorAll('[role="region"]')].map(({ scrollTop }) => scrollTop);
  present.replaceWith(next);
  next.querySelectorAll('[role="region"]').forEach((region, i) => (region.scrollTop = scrolled[i] ?? 0));
  if (next.dataset.starts) attachCursor(next);
  if (hadFocus && focused) next.querySelector<HTMLElement>("#" + focused)?.focus({ preventScroll: true });
};

/** Whether the visitor has selected text in a part, or has focused something in it that cannot be found again. */
const isInUse = (part: HTMLElement) => {
  const selection = getSelection();
  const isFocused = part.contains(document.activeElement) && !document.activeElement!.id;
  return isFocused || (!!selection && !selection.isCollapsed && part.contains(selection.anchorNode));
};

/** When a page was drawn, by the server's clock; 0 if it has no chart. */
const asOf = (root: ParentNode = page) =>
  +(root.querySelector<HTMLElement>("[data-as-of]")?.dataset.asOf ?? 0);
clock.drawn(asOf(), elapsed());

/** Takes over the parts of the page as it is now. */
const takeOver = (next: HTMLElement) => {
  clock.drawn(asOf(next), elapsed());
  Object.assign(data, next.dataset);
  writer = makeWriter(locale, data.months!, data.zone!);
  let last: Element | undefined;
  const kept = new Set<string>();
  for (const part of parts(next)) {
    const { part: name } = part.dataset as { part: string };
    const html = part.outerHTML;
    let shown = find(`[data-part="${name}"]`) ?? undefined;
    kept.add(name);
    if (!shown) {
      last!.after(part);
      if (part.dataset.starts) attachCursor(part);
      shown = part;
      sent.set(name, html);
    } else if (sent.get(name) !== html && !isInUse(shown)) {
      replace(shown, part);
      shown = part;
      sent.set(name, html);
    }
    last = shown;
  }
  for (const part of parts(page)) if (!kept.has(part.dataset.part!)) part.remove();
  showFigures();
};

// Fetches.

const interval = () => {
  const viewers = find('[data-part="viewers"]');
  if (!viewers?.dataset.starts) return SHORTEST;
  const { step } = viewers.dataset;
  return step ? Math.min(Math.max(+step * 200, SHORTEST), LONGEST) : LONGEST;
};
/** The moment of the minute in which this page fetches. */
const moment = WRITTEN_AFTER + random() * (SHORTEST - WRITTEN_AFTER);
/** When the last fetch began: by the clock of the machine, and by the server's, which goes on while the machine sleeps. */
let fetchedAt = { elapsed: elapsed(), server: clock.now(elapsed()) };
let timer: ReturnType<typeof setTimeout> | undefined;
let isFetching = false;

/** The wait until the next fetch: at this page's moment, an interval after the last one, or else as soon as possible. */
const dueIn = () => {
  const present = now();
  const asleep = present - (fetchedAt.server ?? present);
  const since = Math.max(elapsed() - fetchedAt.elapsed, asleep);
  const earliest = present - since + interval() - TOLERANCE;
  return Math.ceil((earliest - moment) / SHORTEST) * SHORTEST + moment - present;
};

const fetchPage = async () => {
  if (isFetching) return;
  isFetching = true;
  fetchedAt = { elapsed: elapsed(), server: clock.now(elapsed()) };
  try {
    const response = await fetch(location.href, {
      cache: "no-store",
      signal: AbortSignal.timeout(FETCH_TIMEOUT),
    });
    // The link has expired: the page says so.
    if (response.status === 401) return location.reload();
    const next = new DOMParser()
      .parseFromString(await response.text(), "text/html")
      .querySelector<HTMLElement>(".stats");
    // Where the database is away, what is shown stays.
    if (next && (response.ok || !asOf())) takeOver(next);
  } catch {
    // The next interval tries again.
  } finally {
    isFetching = false;
    schedule();
  }
};

/** Fetches if that is due and someone looks; says so if what is shown is old. */
const schedule = () => {
  clearTimeout(timer);
  const wait = dueIn();
  if (wait <= 0 && !document.hidden) return void fetchPage();
  timer = setTimeout(schedule, document.hidden ? SHORTEST : Math.min(Math.max(wait, 100), SHORTEST));
  const note = find("[data-outdated-note]")!;
  const step = find('[data-part="viewers"]')?.dataset.step;
  const isOld = !!step && !!asOf() && now() - asOf() > interval() + SHORTEST + FETCH_TIMEOUT;
  note.hidden = !isOld;
  say(note, isOld ? fill(data.outdated!, { when: writer.instant(asOf(), now()) }) : "");
  showFigures();
};

for (const part of parts(page)) {
  sent.set(part.dataset.part!, part.outerHTML);
  if (part.dataset.starts) attachCursor(part);
}

const query = new URLSearchParams({ stats: "1", ...(data.token && { token: data.token }) });
watchAlone(
  new URL("api/viewer/", import.meta.url).href,
  {
    channel: data.channel!,
    count: data.count ? +data.count : null,
    stale: badge.dataset.state !== "live",
    live: null,
  },
  showCount,
  {
    query: "?" + query,
    asOf: (instant) => clock.told(instant, elapsed()),
    figures(data) {
      const told = readFigures(data);
      if (told === undefined) return false;
      figures = told;
      if (told) clock.told(Math.max(told.startedAt, told.peakAt ?? 0, told.endedAt ?? 0), elapsed());
      showFigures();
      return true;
    },
  },
);

const url = new URL(location.href);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (!url.searchParams.has("tz") && zone && zone !== data.zone) {
  url.searchParams.set("tz", zone);
  history.replaceState(history.state, "", url);
  void fetchPage();
} else {
  schedule();
}
onPageEvent(schedule);
