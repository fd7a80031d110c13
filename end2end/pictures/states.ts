/**
 * The states of the pages, and how to come to them.
 */

import { expect, type Page } from "@playwright/test";

import { advanceClock, disableNativeHls, removeMediaSource } from "../fixtures/conditions.ts";
import { serveStream } from "../fixtures/hls.ts";
import { viewerCounter, widgetBody } from "../fixtures/widget.ts";
import { embedPath } from "../pages/embed-page.ts";
import { OverlayPage } from "../pages/overlay-page.ts";
import { Player } from "../pages/player.ts";
import { StatsPage } from "../pages/stats-page.ts";
import { LONG_NAME, type ServerName } from "./stage.ts";
import type { VariantName } from "./variants.ts";

interface Size {
  width: number;
  height: number;
}

export interface State {
  /** `page/state`: the folder and the name of its pictures. */
  name: string;
  server: ServerName;
  path: string;
  /** The size of a frame. Without it, the whole page is in the picture. */
  size?: Size;
  variants: readonly VariantName[];
  /** Before the page is opened. */
  prepare?: (page: Page, url: string) => Promise<unknown>;
  /** After it. Also waits until the page is in its state. Not without JavaScript. */
  reach?: (page: Page) => Promise<unknown>;
  /** A way to open it other than by its path. */
  open?: (page: Page, url: string) => Promise<unknown>;
}

const ALL = ["light", "dark", "phone", "forced", "no-script"] as const;
const THEMES = ["light", "dark", "phone", "forced"] as const;
const WORDS = [...THEMES, "english", "portuguese"] as const;
const FRAME = ["light", "forced", "no-script"] as const;

const COUNTS = "**/api/viewer/**";

/** Lets the page lose its server, and this time pass. */
const loseServer = (millis: number) => ({
  prepare: async (page: Page) => {
    await page.clock.install();
    await page.route(COUNTS, (route) => route.fulfill({ status: 502, body: "" }));
  },
  reach: async (page: Page) => {
    await advanceClock(page, millis, 5_000);
    const state = millis > 60_000 ? "unknown" : "stale";
    await expect(page.locator(".viewer-counter:visible").first()).toHaveAttribute("data-state", state);
  },
});
const stale = loseServer(15_000);
const unknown = loseServer(80_000);

const live = {
  reach: (page: Page) =>
    expect(page.locator(".viewer-counter:visible").first()).toHaveAttribute("data-state", "live"),
};

const player = (state: string) => ({
  reach: (page: Page) => new Player(page).expectState(state),
});
const playlists = (answer: (page: Page, url: string) => Promise<unknown>, state: string) => ({
  prepare: async (page: Page, url: string) => {
    await disableNativeHls(page);
    await answer(page, `${url}/hls/iblups`);
  },
  ...player(state),
});
const playing = {
  ...playlists(serveStream, "playing"),
  reach: (page: Page) => new Player(page).expectPicture(160),
};
const broken = playlists(
  (page, prefix) => page.route(`${prefix}/**`, (route) => route.fulfill({ status: 503 })),
  "broken",
);
const loading = playlists((page, prefix) => page.route(`${prefix}/**`, () => undefined), "loading");
const unplayable = playlists((page) => removeMediaSource(page), "unplayable");

const chart = { reach: (page: Page) => expect(new StatsPage(page).plot).toBeVisible() };
const openTable = async (page: Page) => {
  for (const summary of await page.locator("summary").all()) await summary.click();
};

/** Elements in a page of another site, which has no styles. Updates come as the server would send them. */
const ELEMENTS: [note: string, channel: string, attributes: string, update?: object][] = [
  ["live", "live", "", { count: 7, stale: false }],
  ["live, many", "many", "", { count: 1_234_567, stale: false }],
  ["English", "english", 'locale="en"', { count: 1_247, stale: false }],
  ["stale", "stale", "", { count: 86, stale: true }],
  ["off air", "off-air", "", { count: 12, stale: false, live: false }],
  ["unknown", "unknown", "", { count: null, stale: false }],
  ["before the first count", "first", ""],
  ["wrong name", "no name", ""],
  [
    "themed",
    "themed",
    'style="--aforo-badge:#1d4ed8;--aforo-font:Georgia,serif"',
    { count: 32, stale: false },
  ],
];
const elements = {
  open: async (page: Page, url: string) => {
    const updates = ELEMENTS.flatMap(([, channelId, , update]) =>
      update ? [`data: ${JSON.stringify({ channelId, asOf: 1_790_000_000_000, ...update })}\n\n`] : [],
    );
    await page.route(/\/api\/viewer\/sse/, (route) =>
      route.fulfill({ contentType: "text/event-stream", body: updates.join("") }),
    );
    await page.route(/\/api\/viewer\/counts/, () => undefined);
    const rows = ELEMENTS.map(
      ([note, channel, attributes]) =>
        `<p>${viewerCounter(channel, attributes)} ${note}, in a line of text</p>`,
    );
    const head = `<meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width">`;
    const body = `<!doctype html><html lang="es"><title>Host</title>${head}${widgetBody(url, rows.join(""))}</html>`;
    await page.route("**/host", (route) => route.fulfill({ contentType: "text/html", body }));
    await page.goto(`${url}/host`);
  },
  reach: (page: Page) => expect(page.locator(".viewer-counter").first()).toHaveText("7"),
};

/** The count passes a thousand. */
const milestone = {
  prepare: (page: Page) =>
    page.route(/\/api\/viewer\/sse/, (route) => {
      const update = (count: number) =>
        `data: ${JSON.stringify({ channelId: "hito", count, stale: false, asOf: 1_790_000_000_000 })}\n\n`;
      return route.fulfill({ contentType: "text/event-stream", body: update(999) + update(1_000) });
    }),
  reach: (page: Page) => new OverlayPage(page).expectCelebration(1_000),
};

/** Behind an overlay is the picture of a game, which is neither light nor dark. */
const overStream = async (page: Page) => {
  await page.addStyleTag({
    content: "html{background:linear-gradient(90deg,#0c4a6e,#a3e635,#fef9c3)!important}",
  });
};

export const STATES: State[] = [
  { name: "home/empty", server: "empty", path: "/", variants: [...ALL, "english", "portuguese"] },
  { name: "home/channels", server: "open", path: "/", variants: [...ALL, "english", "portuguese"], ...live },
  { name: "home/50-channels", server: "crowded", path: "/", variants: ["light", "phone"], ...live },
  { name: "home/legend", server: "open", path: "/", variants: WORDS, reach: openTable },
  { name: "home/wrong-name", server: "open", path: "/?channel=a%20b", variants: WORDS },
  { name: "home/stale", server: "open", path: "/", variants: THEMES, ...stale },
  { name: "home/unknown", server: "open", path: "/", variants: THEMES, ...unknown },

  {
    name: "channel/live",
    server: "open",
    path: "/iblups",
    variants: [...ALL, "english", "portuguese", "landscape"],
    ...live,
  },
  { name: "channel/stale", server: "open", path: "/iblups", variants: WORDS, ...stale },
  { name: "channel/unknown", server: "open", path: "/iblups", variants: WORDS, ...unknown },
  {
    name: "channel/playing",
    server: "video",
    path: "/iblups",
    variants: [...THEMES, "landscape"],
    ...playing,
  },
  { name: "channel/loading", server: "video", path: "/iblups", variants: ["light"], ...loading },
  {
    name: "channel/player-error",
    server: "video",
    path: "/iblups",
    variants: [...WORDS, "landscape"],
    ...broken,
  },
  {
    name: "channel/unplayable",
    server: "video",
    path: "/iblups",
    variants: ["light", "phone"],
    ...unplayable,
  },
  {
    name: "channel/off-air",
    server: "signal",
    path: "/iblups",
    variants: [...ALL, "portuguese"],
    ...player("off-air"),
  },
  {
    name: "channel/long-name",
    server: "open",
    path: `/${LONG_NAME}`,
    variants: [...ALL, "landscape"],
    ...live,
  },
  { name: "channel/wrong-name", server: "open", path: "/a%20b", variants: [...ALL, "english", "portuguese"] },
  { name: "channel/not-found", server: "empty", path: "/no/such/page", variants: ["light", "phone"] },

  ...(
    [
      ["embed-full", { width: 640, height: 360 }],
      ["embed-320x200", { width: 320, height: 200 }],
      ["embed-160x90", { width: 160, height: 90 }],
    ] as const
  ).flatMap(([folder, size]): State[] => {
    const path = embedPath("iblups", true);
    return [
      { name: `${folder}/live`, server: "open", path, size, variants: FRAME, ...live },
      { name: `${folder}/stale`, server: "open", path, size, variants: ["light", "forced"], ...stale },
      { name: `${folder}/unknown`, server: "open", path, size, variants: ["light", "forced"], ...unknown },
      { name: `${folder}/playing`, server: "video", path, size, variants: ["light", "forced"], ...playing },
      {
        name: `${folder}/player-error`,
        server: "video",
        path,
        size,
        variants: ["light", "forced"],
        ...broken,
      },
      { name: `${folder}/off-air`, server: "signal", path, size, variants: FRAME, ...player("off-air") },
      {
        name: `${folder}/wrong-name`,
        server: "open",
        path: "/embed/a%20b",
        size,
        variants: ["light", "dark"],
      },
    ];
  }),

  {
    name: "element/states",
    server: "open",
    path: "",
    size: { width: 480, height: 560 },
    variants: THEMES,
    ...elements,
  },

  ...(
    [
      ["live", "/overlay/iblups", "open", live],
      ["milestone", "/overlay/hito?milestones=1000", "open", milestone],
      ["stale", "/overlay/iblups", "open", stale],
      ["unknown", "/overlay/iblups", "open", unknown],
      ["wrong-name", "/overlay/a%20b", "open", {}],
    ] as const
  ).map(
    ([name, path, server, { reach, ...way }]: readonly [
      string,
      string,
      ServerName,
      Pick<State, "prepare" | "reach">,
    ]): State => ({
      name: `overlay/${name}`,
      server,
      path,
      size: { width: 360, height: 100 },
      variants: ["light", "forced"],
      ...way,
      reach: async (page) => {
        await overStream(page);
        await reach?.(page);
      },
    }),
  ),

  { name: "stats/nothing", server: "past", path: "/nobody/stats", variants: [...ALL, "english"] },
  {
    name: "stats/one-viewer",
    server: "past",
    path: "/one/stats",
    variants: THEMES,
    open: (page, url) => new StatsPage(page).gotoWithChart(`${url}/one/stats`, 1),
  },
  {
    name: "stats/broadcast",
    server: "past",
    path: "/aurora/stats",
    variants: [...ALL, "english", "portuguese", "narrow", "print"],
    ...chart,
  },
  {
    name: "stats/table",
    server: "past",
    path: "/aurora/stats",
    variants: [...THEMES, "print"],
    reach: openTable,
  },
  {
    name: "stats/gaps",
    server: "past",
    path: "/gaps/stats?range=broadcast",
    variants: [...ALL, "print"],
    ...chart,
  },
  {
    name: "stats/million",
    server: "past",
    path: "/million/stats?range=broadcast",
    variants: [...THEMES, "portuguese", "narrow", "print"],
    ...chart,
  },
  {
    name: "stats/24-hours",
    server: "past",
    path: "/aurora/stats?range=24h",
    variants: ["light", "phone"],
    ...chart,
  },
  {
    name: "stats/7-days",
    server: "past",
    path: "/month/stats?range=7d",
    variants: ["light", "phone"],
    ...chart,
  },
  {
    name: "stats/30-days",
    server: "past",
    path: "/month/stats?range=30d",
    variants: [...THEMES, "print"],
    ...chart,
  },
  { name: "stats/stale", server: "past", path: "/aurora/stats", variants: WORDS, ...stale },
  {
    name: "stats/private",
    server: "private",
    path: "/iblups/stats",
    variants: ["light", "dark", "phone", "english"],
  },
];
