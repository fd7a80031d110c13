/**
 * When a count is live, stale or unknown. It is live only while the stream, or responses that replace it, show that it
 * is current. Otherwise it is stale, and unknown after a minute without a count. The same rules hold for every page and
 * element.
 */

import type { Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import {
  advanceClock,
  fakeVisibility,
  freeze,
  holdStreams,
  refuseStreams,
  sendPageHide,
  sendPageShow,
  setHeartbeatInterval,
  setHidden,
} from "../fixtures/conditions.ts";
import { UNREACHABLE } from "../fixtures/faults.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeTexts, recordBadge } from "../fixtures/probes.ts";
import { viewerCounter } from "../fixtures/widget.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { HomePage } from "../pages/home-page.ts";

/** The badge was live, became stale while the page was away, and did not show the old count as live again. */
async function expectStaleUntilNewCount(page: Page): Promise<void> {
  const [before, away, ...since] = await badgeTexts(page);
  expect([before, away]).toEqual(["live 1", "stale 1"]);
  expect(since).not.toContain("live 1");
}

for (const where of ["the home page", "an element with a count", "a channel page"] as const) {
  test(`without any response ${where} becomes stale, and unknown after a minute`, async ({
    page,
    channelId,
    audience,
    openWidget,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    await audience.join(channelId, 30);
    await page.clock.install();
    await page.route("**/api/viewer/**", (route) => route.fulfill({ status: 502, body: "" }));
    const home = new HomePage(page);
    if (where === "the home page") await home.goto();
    else if (where === "a channel page") await page.goto(`/${channelId}`);
    else await openWidget(viewerCounter(channelId, `count="30"`), "own");
    const badge = where === "the home page" ? home.badge(channelId) : new Badge(page).root;
    await expect(badge).toContainText("30");
    await page.clock.runFor(10_000);
    await expect(badge).toHaveAttribute("data-state", "stale");
    await expect(badge).toContainText("30");
    await advanceClock(page, 60_000, 5_000);
    await expect(badge).toHaveAttribute("data-state", "unknown");
    await expect(badge).toContainText("—");
    await page.unroute("**/api/viewer/**");
    await page.clock.runFor(10_000);
    await expect(badge).toHaveAttribute("data-state", "live");
  });
}

test("without a stream, responses to heartbeats update the count", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  await refuseStreams(page);
  await page.route("**/api/viewer/counts?**", (route) => route.fulfill({ status: 503, json: {} }));
  await setHeartbeatInterval(page, 500);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await audience.join(channelId, 3);
  await channelPage.expectCount(4);
  await audience.leave();
  await channelPage.expectCount(3);
});

for (const failure of ["refused", "held back"] as const) {
  test(`if streams are ${failure}, the page polls the count and stays live`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    await page.clock.install();
    if (failure === "refused") await refuseStreams(page);
    else await holdStreams(page);
    let requests = 0;
    page.on("request", (request) => (requests += Number(request.url().includes("/api/viewer/counts"))));
    const channelPage = new ChannelPage(page);
    await channelPage.join(channelId);
    await audience.join(channelId, 3);
    // If streams are held back, the page notices it after half a minute.
    await expect
      .poll(
        async () => {
          await page.clock.runFor(2_000);
          return channelPage.badge.count();
        },
        { intervals: [250], timeout: 60_000 },
      )
      .toBe(4);
    expect(await channelPage.badge.state()).toBe("live");
    const before = requests;
    await advanceClock(page, 60_000, 2_000);
    expect(requests - before).toBeGreaterThan(2);
    expect(requests - before).toBeLessThan(10);
    await expect(channelPage.badge.root).toHaveAttribute("data-state", "live");
  });
}

for (const [name, response] of [
  ["404", { status: 404, body: "" }],
  ["403 without CORS headers", { status: 403, body: "", headers: {} }],
] as const) {
  test(`a ping answered with ${name} proves that the server is reachable`, async ({
    page,
    channelId,
    faults,
  }) => {
    faults.expect(/40[34]/);
    await page.clock.install();
    await page.route("**/api/viewer/ping", (route) => route.fulfill(response));
    const channelPage = new ChannelPage(page);
    await channelPage.join(channelId);
    await channelPage.expectCount(1);
    const ping = page.waitForResponse("**/api/viewer/ping");
    await page.clock.runFor(14_000);
    await ping;
    // Past the time limit of the ping, and not until the silence itself makes the count stale.
    for (let second = 0; second < 6; second += 1) {
      await page.clock.runFor(1_000);
      expect(await channelPage.badge.state()).toBe("live");
    }
  });
}

test("while the server is suspended the badge is stale, and then live over the same stream", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const server = await newServer();
  const channelPage = new ChannelPage(page);
  const calls = new Calls(page);
  const stream = page.waitForResponse("**/api/viewer/sse/**");
  await page.goto(`${server.url}/${channelId}`);
  await stream;
  await channelPage.expectCount(1);
  server.suspend();
  // The page guarantees 20 s; the rest is for busy machines. Without pings it would be stale only after 30 s.
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "stale", { timeout: 27_000 });
  server.resume();
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "live");
  expect(calls.streams).toHaveLength(1);
});

test("while the browser is offline the badge is stale, and then live again", async ({
  context,
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await channelPage.expectCount(1);
  await context.setOffline(true);
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "stale");
  await context.setOffline(false);
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "live");
  await audience.join(channelId);
  await channelPage.expectCount(2);
});

test("a page restored from the back/forward cache is stale until a new count arrives", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  await recordBadge(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await channelPage.expectCount(1);
  const releaseStreams = await holdStreams(page);
  const responses = /\/api\/viewer\/(join|heartbeat|counts)/;
  await page.route(responses, (route) => route.abort());
  await sendPageHide(page);
  await audience.join(channelId, 2);
  await sendPageShow(page);
  expect(await channelPage.badge.state()).toBe("stale");
  await page.waitForTimeout(3_000); // The badge must stay stale in this time.
  expect(await channelPage.badge.state()).toBe("stale");
  await page.unroute(responses);
  releaseStreams();
  await channelPage.expectCount(3);
  await expectStaleUntilNewCount(page);
});

test("a page that resumes after a freeze is stale until a new count arrives", async ({
  page,
  channelId,
  audience,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "freezing a page works only in Chromium");
  await recordBadge(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await channelPage.expectCount(1);
  const releaseStreams = await holdStreams(page);
  const resume = await freeze(page);
  await audience.join(channelId, 2);
  await resume();
  releaseStreams();
  await channelPage.expectCount(3);
  await expectStaleUntilNewCount(page);
});

test("invalid events on the stream are ignored: the badge becomes stale, without an exception", async ({
  page,
  channelId,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const invalid = [
    "<h1>Bad gateway</h1>",
    "null",
    "5",
    "[]",
    "{}",
    `{"channelId":"${channelId}"}`,
    '{"channelId":7}',
  ];
  const withCount = (count: unknown) => JSON.stringify({ channelId, count, stale: false, asOf: 1 });
  const events = [...invalid, withCount("many"), withCount(-1), withCount(1.5), withCount({})].map(
    (data) => `data: ${data}\n\n`,
  );
  const responses = /\/api\/viewer\/(join|heartbeat|counts)/;
  await page.route(responses, (route) => route.fulfill({ status: 503, json: {} }));
  const streams = /\/api\/viewer\/sse/;
  await page.route(streams, (route) =>
    route.fulfill({ contentType: "text/event-stream", body: events.join("") }),
  );
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "stale");
  expect(await channelPage.badge.count()).toBe(1);
  await page.unroute(streams);
  await page.unroute(responses);
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "live");
});

test("a home page that was hidden is stale until a new count arrives", async ({
  page,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 30);
  await fakeVisibility(page);
  const home = new HomePage(page);
  await home.goto();
  await audience.join(channelId);
  await expect(home.badge(channelId)).toHaveAccessibleName("31 espectadores");
  await setHidden(page, true);
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "stale");
  await audience.join(channelId);
  await setHidden(page, false);
  await expect(home.badge(channelId)).toHaveAccessibleName("32 espectadores");
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "live");
});
