/**
 * The statistics page with JavaScript: numbers and figures move with the stream, the chart is fetched once a minute, and
 * its values can be read with a pointer, a finger and the keyboard.
 */

import type { Page } from "@playwright/test";

import { violations } from "../fixtures/accessibility.ts";
import { Audience } from "../fixtures/audience.ts";
import { advanceClock, fakeVisibility, setHidden } from "../fixtures/conditions.ts";
import { UNREACHABLE } from "../fixtures/faults.ts";
import { expect, test as base } from "../fixtures/index.ts";
import type { Server } from "../fixtures/server.ts";
import { ticketOf, ticketSettings } from "../fixtures/tickets.ts";
import { linkToken, SECRET, StatsPage } from "../pages/stats-page.ts";

const MINUTE = 60_000;

/** A server with statistics for signed links, viewers in its channels, and the page with a link to the test's channel. */
const test = base.extend<{ server: Server; crowd: Audience; link: string }>({
  server: async ({ newServer }, use) => {
    await use(await newServer({ API_SECRET: SECRET }));
  },
  crowd: async ({ server, playwright }, use) => {
    const request = await playwright.request.newContext({ baseURL: server.url });
    await use(new Audience(request));
    await request.dispose();
  },
  link: async ({ server, channelId }, use) => {
    await use(`${server.url}/${channelId}/stats?token=${linkToken(channelId)}`);
  },
});

test.use({ timezoneId: "America/Lima" });

/** The paths of all requests to the API, without their queries. */
function calls(page: Page): string[] {
  const paths: string[] = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/api/")) paths.push(pathname);
  });
  return paths;
}

test("the count and the figures move with one stream, and nothing is polled", async ({
  page,
  link,
  crowd,
  channelId,
}) => {
  const requests = calls(page);
  const stats = new StatsPage(page);
  await page.goto(link);
  await expect(page.getByText("Este canal todavía no tiene transmisiones")).toBeVisible();
  await crowd.join(channelId, 2);
  await stats.badge.expectCount(2);
  await expect(stats.figure("peak")).toHaveText("2");
  await expect(stats.figure("uniques")).toHaveText("2");
  // The date comes before a time of yesterday.
  await expect(page.locator("[data-since]")).toHaveText(/^En vivo desde (.+, )?\d\d:\d\d · /);
  await expect(page.getByText("Las cifras aparecerán aquí")).toHaveCount(0);
  await crowd.join(channelId, 3);
  await stats.badge.expectCount(5);
  await expect(stats.figure("peak")).toHaveText("5");
  await expect(stats.badge.root).toHaveAccessibleName("5 espectadores");
  // A ping only asks whether the server is there, after a silence of 13 s.
  expect(requests.filter((path) => path !== "/api/viewer/ping")).toEqual([`/api/viewer/sse/${channelId}`]);
  expect(await crowd.count(channelId), "the page is no viewer").toBe(5);
});

test("the figures on the page are those of the script of its viewers", async ({
  page,
  newServer,
  playwright,
  channelId,
}) => {
  const { url } = await newServer({ STATS: "public" });
  const crowd = new Audience(await playwright.request.newContext({ baseURL: url }));
  const stats = new StatsPage(page);
  await page.goto(`${url}/${channelId}/stats?tz=UTC`);
  await stats.badge.expectCount(0);
  // Each change took effect at some instant between its request and its answer.
  let count = 0;
  let [least, most] = [0, 0];
  let first: [number, number] | undefined;
  let last: [number, number] = [0, 0];
  const change = async (by: 1 | -1) => {
    const sent = performance.now();
    await (by > 0 ? crowd.join(channelId) : crowd.leave());
    const answered = performance.now();
    // The count before it held from the answer before it to this request at least.
    if (first) {
      least += count * (sent - last[1]);
      most += count * (answered - last[0]);
    }
    first ??= [sent, answered];
    last = [sent, answered];
    count += by;
  };
  const script: [changes: number, pause: number][] = [
    [2, 1_500],
    [3, 1_000],
    [-1, 2_000],
    [-3, 1_000],
    [2, 1_500],
    [-3, 0],
  ];
  for (const [changes, pause] of script) {
    for (let nth = 0; nth < Math.abs(changes); nth += 1) await change(changes > 0 ? 1 : -1);
    await page.waitForTimeout(pause);
  }
  expect(count).toBe(0);
  const [shortest, longest] = [last[0] - first![1], last[1] - first![0]];
  const number = async (name: string) => {
    const text = await stats.figure(name).innerText();
    return Number(/^[\d,]+/.exec(text)?.[0].replace(",", "."));
  };
  await expect(async () => {
    await stats.badge.expectCount(0);
    await expect(stats.figure("peak")).toHaveText("5");
    await expect(stats.figure("uniques")).toHaveText("7");
    await expect(stats.figure("observed")).toHaveText("100\xa0%");
    await expect(stats.figure("watchSeconds")).toHaveText(/^\d+\ss$/);
    // Whole seconds, rounded down.
    const watched = await number("watchSeconds");
    expect(watched).toBeGreaterThanOrEqual(Math.floor(least / 1_000));
    expect(watched).toBeLessThanOrEqual(Math.floor(most / 1_000));
    // Tenths.
    const average = await number("average");
    expect(average).toBeGreaterThanOrEqual(Math.round((least / longest) * 10) / 10);
    expect(average).toBeLessThanOrEqual(Math.round((most / shortest) * 10) / 10);
  }).toPass({ timeout: 45_000 });
});

test("joins with and without a ticket are figures where tickets are in use, and move with the stream", async ({
  page,
  newServer,
  request,
  channelId,
}) => {
  const { url } = await newServer({ STATS: "public", ...ticketSettings("accept") });
  const join = async (ticket?: string) => {
    const response = await request.post(`${url}/api/viewer/join`, { data: { channelId, ticket } });
    expect(response.status()).toBe(200);
  };
  await join();
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${url}/${channelId}/stats`);
  await expect(stats.figure("joins")).toHaveText("0 / 1");
  await expect(page.getByText("Llegadas con / sin ticket").first()).toBeVisible();
  await join(ticketOf("user-7"));
  await join(ticketOf("user-7"));
  await expect(stats.figure("joins")).toHaveText("2 / 1");
  expect(await violations(page)).toEqual([]);
});

test("the page takes the time zone of the browser, once", async ({ page, link, crowd, channelId }) => {
  await crowd.join(channelId);
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${link}&tz=UTC`);
  stats.fetches.length = 0;
  await page.goto(link);
  await expect(page.getByText("Las horas son de Lima (UTC−5).")).toBeVisible();
  await expect(page).toHaveURL(`${link}&tz=America%2FLima`);
  const [, hour] = /(\d\d):\d\d$/.exec(await stats.figure("peakAt").innerText())!;
  const lima = new Intl.DateTimeFormat("en", { hour: "2-digit", hourCycle: "h23", timeZone: "America/Lima" });
  const now = Number(lima.format(Date.now()));
  expect([now, (now + 23) % 24]).toContain(Number(hour));
  // Links go on in this zone.
  await stats.tab("24h").click();
  await expect(page).toHaveURL(/range=24h&tz=America%2FLima&token=/);
  await expect(stats.tab("24h")).toHaveAttribute("aria-current", "page");
  await page.waitForTimeout(1_000);
  expect(stats.fetches, "one fetch, and none after the tab").toHaveLength(1);
});

test("the chart shows the value of an instant under the pointer, at a tap and by the keyboard", async ({
  newVisitor,
  link,
  crowd,
  channelId,
}) => {
  await crowd.join(channelId, 2);
  const page = await newVisitor({ hasTouch: true, timezoneId: "America/Lima" });
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${link}&tz=America/Lima`, 2);
  const hint = "Señala o toca el gráfico para ver un momento.";
  await expect(stats.readout).toHaveText(hint);
  const { x, y, width, height } = (await stats.plot.boundingBox())!;
  await page.mouse.move(x + (await stats.middleOf("2")) * width, y + height / 2);
  await expect(stats.readout).toHaveText(
    /^(.+, )?\d\d:\d\d:\d\d · Mínimo \d · Promedio [\d,]+ · Máximo 2 · Nuevos \d · /,
  );
  await expect(page.locator("[data-cursor]")).toHaveAttribute("visibility", "visible");
  await page.mouse.move(x, y - 200);
  await expect(stats.readout).toHaveText(hint);
  await expect(page.locator("[data-cursor]")).toHaveAttribute("visibility", "hidden");

  await stats.tab("24h").click();
  await expect(stats.tab("24h")).toHaveAttribute("aria-current", "page");
  await expect(stats.readout).toHaveText(hint);
  const day = (await stats.plot.boundingBox())!;
  await page.touchscreen.tap(day.x + 2, day.y + day.height / 2);
  await expect(stats.readout, "nothing was known before the server started").toHaveText(
    /^.*\d\d:\d\d · sin datos$/,
  );

  await stats.slider.focus();
  await expect(stats.slider).toBeFocused();
  await page.keyboard.press("Home");
  await expect(stats.readout).toHaveText(/ · sin datos$/);
  await expect(stats.slider).toHaveValue("0");
  await expect(async () => {
    // A step that has just begun is known some seconds later.
    await page.reload();
    await stats.slider.press("End");
    await expect(stats.readout).toHaveText(/Máximo 2/, { timeout: 500 });
  }).toPass();
  const last = await stats.readout.innerText();
  await expect(stats.slider).toHaveAttribute("aria-valuetext", last);
  await page.keyboard.press("ArrowLeft");
  await expect(stats.readout).not.toHaveText(last);
  expect(await stats.plot.evaluate((plot) => getComputedStyle(plot).outlineStyle)).toBe("solid");
  expect(await violations(page)).toEqual([]);
});

test("the parts are fetched once a minute, not while hidden, and what the visitor has opened stays", async ({
  page,
  link,
  crowd,
  channelId,
}) => {
  await crowd.join(channelId);
  const stats = new StatsPage(page);
  await fakeVisibility(page);
  await stats.gotoWithChart(`${link}&tz=America/Lima`);
  await page.clock.install();
  await page.reload();
  await stats.badge.expectCount(1);
  await stats.shareClock();
  await page.getByText("Ver los datos en una tabla").click();
  await stats.slider.focus();
  stats.fetches.length = 0;
  const before = await stats.viewers.getAttribute("data-as-of");
  // Up to two minutes until the first one, then one each.
  await stats.passTime(2 * MINUTE);
  await expect.poll(() => stats.fetches.length).toBeGreaterThanOrEqual(1);
  await expect(stats.viewers).not.toHaveAttribute("data-as-of", before!);
  await expect(stats.rows.first()).toBeVisible();
  await expect(stats.slider).toBeFocused();
  const pageTime = () => page.evaluate(() => Date.now());
  const [start, { length: first }] = [await pageTime(), stats.fetches];
  await stats.passTime(5 * MINUTE);
  // The clock also runs between the steps.
  const minutes = ((await pageTime()) - start) / MINUTE;
  await expect.poll(() => stats.fetches.length - first).toBeGreaterThanOrEqual(Math.floor(minutes));
  expect(stats.fetches.length - first).toBeLessThanOrEqual(Math.ceil(minutes));
  await setHidden(page, true);
  const { length } = stats.fetches;
  await advanceClock(page, 10 * MINUTE, 10_000);
  expect(stats.fetches).toHaveLength(length);
  await setHidden(page, false);
  await expect.poll(() => stats.fetches.length).toBe(length + 1);
  await stats.expectAnswers();
});

for (const [clock, offset] of [
  ["an hour fast", 60 * MINUTE],
  ["an hour slow", -60 * MINUTE],
] as const) {
  test(`a browser's clock that is ${clock} changes nothing on the page`, async ({
    page,
    link,
    crowd,
    channelId,
  }) => {
    await crowd.join(channelId);
    const stats = new StatsPage(page);
    await stats.gotoWithChart(`${link}&tz=America/Lima`);
    await page.addInitScript((offset) => {
      const { now } = Date;
      Date.now = () => now() + offset;
    }, offset);
    await page.reload();
    await stats.badge.expectCount(1);
    stats.fetches.length = 0;
    await crowd.join(channelId);
    await expect(stats.figure("peak")).toHaveText("2");
    // The broadcast has lasted for some seconds.
    await expect(page.locator("[data-since]")).toHaveText(/ · (\d+\ss|1\smin)$/);
    await page.waitForTimeout(3_000);
    await expect(page.locator("[data-since]")).toHaveText(/ · (\d+\ss|1\smin)$/);
    await expect(page.locator("[data-outdated-note]")).toBeHidden();
    expect(stats.fetches.length).toBeLessThanOrEqual(1);
  });
}

test("when the server is away, the numbers are stale and the page says how old the chart is", async ({
  page,
  server,
  link,
  crowd,
  channelId,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  await crowd.join(channelId);
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${link}&tz=America/Lima`);
  await page.clock.install();
  await page.reload();
  await stats.badge.expectCount(1);
  await server.stop();
  for (let step = 0; step < 12; step += 1) await page.clock.runFor(MINUTE / 2);
  await expect(stats.badge.root).toHaveAttribute("data-state", "unknown");
  await expect(
    page.getByText(/^Las cifras del gráfico son de (.+, )?\d\d:\d\d: no llegan datos nuevos\.$/),
  ).toBeVisible();
  await expect(stats.plot, "what was known stays").toBeVisible();
  expect(await violations(page)).toEqual([]);
});

test("a link that has expired says so", async ({ page, server, crowd, channelId, faults }) => {
  faults.expect(/401/);
  await crowd.join(channelId);
  const link = (validFor: number) =>
    `${server.url}/${channelId}/stats?tz=UTC&token=${linkToken(channelId, validFor)}`;
  const stats = new StatsPage(page);
  await stats.gotoWithChart(link(3_600));
  await page.clock.install();
  // Time enough to load the page and to open its stream.
  await page.goto(link(15));
  await stats.badge.expectCount(1);
  await expect(async () => {
    await page.clock.runFor(MINUTE);
    await expect(page.getByRole("heading", { name: "Estas estadísticas son privadas" })).toBeVisible({
      timeout: 500,
    });
  }).toPass();
});

test("the token of a link is in the requests to this server only, and not in referrers", async ({
  page,
  link,
  crowd,
  channelId,
}) => {
  await crowd.join(channelId);
  const referrers: (string | undefined)[] = [];
  page.on("request", (request) => referrers.push(request.headers().referer));
  await new StatsPage(page).gotoWithChart(link);
  await page.locator(".stats__name a").click();
  await expect(page).toHaveTitle(channelId);
  expect(referrers.filter((referrer) => referrer?.includes("token"))).toEqual([]);
});
