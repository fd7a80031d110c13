/**
 * A number is live only while something tells that it is of this moment: the stream, or the answers that take its place.
 * Otherwise it is stale, and after a minute without news unknown: on every page and in every element by the same rule.
 */

import {
  freeze,
  holdStreams,
  hurryBeats,
  pretend,
  refuseStreams,
  sayBack,
  sayGoodbye,
} from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, recordBadge } from "../fixtures/probes.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { HomePage } from "../pages/home-page.ts";

/** What a browser says of an answer that it was refused. */
const REFUSED = /502|503|ERR_/;

for (const where of ["the home page", "an element with a count", "a channel page"] as const) {
  test(`where nothing answers, ${where} is stale, and after a minute unknown`, async ({
    page,
    channelId,
    audience,
    baseURL,
    faults,
  }) => {
    faults.expect(REFUSED);
    await audience.join(channelId, 30);
    await page.clock.install();
    await page.route("**/api/viewer/**", (route) => route.fulfill({ status: 502, body: "" }));
    await page.route("**/host", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: `<!doctype html><html lang="es"><title>Host</title><viewer-counter channel="${channelId}" count="30"></viewer-counter><script type="module" src="${baseURL}/widget.js"></script></html>`,
      }),
    );
    const home = new HomePage(page);
    await page.goto(
      { "the home page": "/", "an element with a count": "/host", "a channel page": `/${channelId}` }[where],
    );
    const badge = where === "the home page" ? home.badge(channelId) : new Badge(page).root;
    await expect(badge).toContainText("30");
    await page.clock.runFor(10_000);
    await expect(badge).toHaveAttribute("data-state", "stale");
    await expect(badge).toContainText("30");
    // The answers come in real time, and the timers in that of the page.
    for (let second = 0; second < 60; second += 5) await page.clock.runFor(5_000);
    await expect(badge).toHaveAttribute("data-state", "unknown");
    await expect(badge).toContainText("—");
    await page.unroute("**/api/viewer/**");
    await page.clock.runFor(10_000);
    await expect(badge).toHaveAttribute("data-state", "live");
  });
}

test("without a stream the number follows the answers of beats", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(REFUSED);
  await refuseStreams(page);
  await page.route("**/api/viewer/counts?**", (route) => route.fulfill({ status: 503, json: {} }));
  await hurryBeats(page, 500);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await audience.join(channelId, 3);
  await watching.expectCount(4);
  await audience.leave();
  await watching.expectCount(3);
});

for (const how of ["refused", "held back"] as const) {
  test(`where streams are ${how}, the page asks for the count now and then, and it is live`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(REFUSED);
    await page.clock.install();
    if (how === "refused") await refuseStreams(page);
    else await holdStreams(page);
    let asked = 0;
    page.on("request", (request) => (asked += Number(request.url().includes("/api/viewer/counts"))));
    const watching = new ChannelPage(page);
    await watching.join(channelId);
    await audience.join(channelId, 3);
    await expect
      .poll(async () => {
        await page.clock.runFor(2_000);
        return watching.badge.count();
      })
      .toBe(4);
    expect(await watching.badge.state()).toBe("live");
    const before = asked;
    for (let second = 0; second < 60; second += 2) await page.clock.runFor(2_000);
    expect(asked - before).toBeGreaterThan(2);
    expect(asked - before).toBeLessThan(10);
    await expect(watching.badge.root).toHaveAttribute("data-state", "live");
  });
}

for (const [how, answer] of [
  ["404", { status: 404, body: "" }],
  ["403 without a word of other origins", { status: 403, body: "", headers: {} }],
] as const) {
  test(`a server that answers the question whether it is there with ${how} is there`, async ({
    page,
    channelId,
    faults,
  }) => {
    faults.expect(/40[34]/);
    await page.clock.install();
    await page.route("**/api/viewer/ping", (route) => route.fulfill(answer));
    const watching = new ChannelPage(page);
    await watching.join(channelId);
    await watching.expectCount(1);
    const asked = page.waitForResponse("**/api/viewer/ping");
    await page.clock.runFor(14_000);
    await asked;
    for (let second = 0; second < 10; second += 1) {
      await page.clock.runFor(1_000);
      expect(await watching.badge.state()).toBe("live");
    }
  });
}

test("a player in a sandboxed frame knows that the server is there", async ({
  page,
  channelId,
  newServer,
  newHost,
}) => {
  const server = await newServer({ VIEWER_ALLOWED_ORIGINS: "null" });
  await page.clock.install();
  const address = `${server.url}/embed/${channelId}?counter=1`;
  const host = await newHost(
    `<iframe sandbox="allow-scripts" src="${address}" title="Player" width="640" height="360"></iframe>`,
  );
  await page.goto(host.otherSite);
  const badge = new Badge(page.frameLocator("iframe"));
  await badge.expectCount(1);
  const asked = page.waitForResponse("**/api/viewer/ping");
  await page.clock.runFor(14_000);
  await asked;
  for (let second = 0; second < 8; second += 1) {
    await page.clock.runFor(1_000);
    expect(await badge.state()).toBe("live");
  }
  // Before its server goes.
  await page.close();
});

test("a page that is back from the browser's cache is stale until there are news", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(REFUSED);
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await watching.expectCount(1);
  const letGo = await holdStreams(page);
  const answers = /\/api\/viewer\/(join|heartbeat|counts)/;
  await page.route(answers, (route) => route.abort());
  await sayGoodbye(page);
  await audience.join(channelId, 2);
  await sayBack(page);
  expect(await watching.badge.state()).toBe("stale");
  await page.waitForTimeout(3_000); // In this time nothing may make it live.
  expect(await watching.badge.state()).toBe("stale");
  await page.unroute(answers);
  letGo();
  await watching.expectCount(3);
  const [before, away, ...since] = (await badgeHistory(page)).map(
    ({ state, number }) => `${state} ${number}`,
  );
  expect([before, away]).toEqual(["live 1", "stale 1"]);
  expect(since).not.toContain("live 1");
});

test("a page that thaws is stale until there are news", async ({
  page,
  channelId,
  audience,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "only Chromium can be told to freeze a page");
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await watching.expectCount(1);
  const letGo = await holdStreams(page);
  const thaw = await freeze(page);
  await audience.join(channelId, 2);
  await thaw();
  letGo();
  await watching.expectCount(3);
  const [before, away, ...since] = (await badgeHistory(page)).map(
    ({ state, number }) => `${state} ${number}`,
  );
  expect([before, away]).toEqual(["live 1", "stale 1"]);
  expect(since).not.toContain("live 1");
});

test("junk on the stream is no news, no sign of life and no exception", async ({
  page,
  channelId,
  faults,
}) => {
  faults.expect(REFUSED);
  const junk = [
    "<h1>Bad gateway</h1>",
    "null",
    "5",
    "[]",
    "{}",
    `{"channelId":"${channelId}"}`,
    '{"channelId":7}',
  ];
  const wrong = (count: unknown) => JSON.stringify({ channelId, count, stale: false, asOf: 1 });
  const events = [...junk, wrong("many"), wrong(-1), wrong(1.5), wrong({})].map(
    (data) => `data: ${data}\n\n`,
  );
  const answers = /\/api\/viewer\/(join|heartbeat|counts)/;
  await page.route(answers, (route) => route.fulfill({ status: 503, json: {} }));
  const streams = /\/api\/viewer\/sse/;
  await page.route(streams, (route) =>
    route.fulfill({ contentType: "text/event-stream", body: events.join("") }),
  );
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await expect(watching.badge.root).toHaveAttribute("data-state", "stale");
  expect(await watching.badge.count()).toBe(1);
  await page.unroute(streams);
  await page.unroute(answers);
  await expect(watching.badge.root).toHaveAttribute("data-state", "live");
});

test("a home page that was hidden is stale until there are news", async ({ page, channelId, audience }) => {
  await audience.join(channelId, 30);
  await pretend(page, { hidden: false, prerendering: false });
  const home = new HomePage(page);
  await home.goto();
  await audience.join(channelId);
  await expect(home.badge(channelId)).toHaveAccessibleName("31 espectadores");
  await page.evaluate(() => {
    window.pretended.hidden = true;
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  });
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "stale");
  await audience.join(channelId);
  await page.evaluate(() => {
    window.pretended.hidden = false;
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  });
  await expect(home.badge(channelId)).toHaveAccessibleName("32 espectadores");
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "live");
});
