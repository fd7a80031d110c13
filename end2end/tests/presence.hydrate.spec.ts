/**
 * Being counted under difficult conditions: pages that are hidden, prerendered or refused storage, plain HTTP, and a
 * server that has no time just now.
 */

import {
  activate,
  badgeHistory,
  blockStorage,
  pretend,
  recordBadge,
  sayGoodbye,
  setHidden,
} from "../fixtures/probes.ts";
import { Calls } from "../fixtures/calls.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("a page beats as often as the server asks, always as the session that joined", async ({
  page,
  channel,
}) => {
  await page.route("**/api/viewer/join", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), heartbeatIntervalMs: 300 } });
  });
  const calls = new Calls(page);
  await new ChannelPage(page).goto(channel);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThanOrEqual(3);
  expect(calls.joins).toHaveLength(1);
  for (const heartbeat of calls.heartbeats) {
    expect(heartbeat).toEqual(calls.joins[0]);
  }
});

test("a page that is hidden says so and stays counted, also when it is shown again", async ({
  page,
  channel,
  openStream,
}) => {
  await pretend(page, { hidden: false, prerendering: false });
  const stream = await openStream(channel);
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  await watching.goto(channel);
  await watching.expectCount(1);
  await stream.expectCount(1);
  await setHidden(page, true);
  await expect.poll(() => calls.heartbeats.map((beat) => beat.hidden)).toEqual([true]);
  await stream.expectToStay(1);
  await setHidden(page, false);
  await expect.poll(() => calls.heartbeats.map((beat) => beat.hidden)).toEqual([true, false]);
  await stream.expectToStay(1);
  await watching.expectCount(1);
  expect(calls.joins).toHaveLength(1);
});

test("a page that opens hidden joins as hidden and is counted", async ({ page, channel, audience }) => {
  await pretend(page, { hidden: true, prerendering: false });
  const calls = new Calls(page);
  await new ChannelPage(page).goto(channel);
  await audience.expectCount(channel, 1);
  expect(calls.joins.map((join) => join.hidden)).toEqual([true]);
});

test("a page that is being prerendered is no viewer until it is shown", async ({
  page,
  channel,
  audience,
}) => {
  await pretend(page, { hidden: false, prerendering: true });
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  const hydration = page.waitForResponse(/\.wasm$/);
  await watching.goto(channel);
  await (await hydration).finished();
  await page.waitForTimeout(3_000); // Nothing may happen in this time.
  expect(calls.joins).toEqual([]);
  expect(calls.streams).toEqual([]);
  expect(await audience.count(channel)).toBe(0);
  await activate(page);
  await watching.expectCount(1);
  // News that came by the stream: whatever the page does when it is shown is done by then.
  await audience.join(channel);
  await watching.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toHaveLength(1);
});

test("a page over plain HTTP, which is no secure context, is counted and live", async ({
  page,
  channel,
  audience,
  baseURL,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "the second name of this machine is a setting of Chromium");
  const address = new URL(`/${channel}`, baseURL);
  test.skip(address.hostname !== "127.0.0.1", "the second name leads to this machine only");
  address.hostname = "viewer.test";
  const watching = new ChannelPage(page);
  await page.goto(address.href);
  expect(await page.evaluate(() => isSecureContext)).toBe(false);
  await watching.expectCount(1);
  await audience.join(channel);
  await watching.expectCount(2);
});

test("who blocks storage is counted, as one viewer while the page is open", async ({
  context,
  page,
  channel,
  audience,
}) => {
  await blockStorage(context);
  const watching = new ChannelPage(page);
  await watching.goto(channel);
  await watching.expectCount(1);
  await audience.join(channel);
  await watching.expectCount(2);
  await page.close();
  await audience.expectCount(channel, 1);
});

test("a join that is refused for a while is tried again, and the badge doesn't suffer", async ({
  page,
  channel,
  audience,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channel, 2);
  let refused = 0;
  await page.route("**/api/viewer/join", async (route) => {
    refused += 1;
    await (refused <= 2 ? route.fulfill({ status: 503, json: { code: "unavailable" } }) : route.continue());
  });
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.goto(channel);
  await watching.expectCount(3);
  expect(refused).toBe(3);
  expect(await badgeHistory(page)).toEqual([
    { state: "live", number: "2" },
    { state: "live", number: "3" },
  ]);
});

test("a stream that is refused is opened again, and the badge keeps its number", async ({
  page,
  channel,
  audience,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channel, 2);
  await page.route("**/api/viewer/sse/**", (route) => route.fulfill({ status: 503 }), { times: 1 });
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.goto(channel);
  await watching.expectCount(3);
  await audience.join(channel);
  await watching.expectCount(4);
  const shown = await badgeHistory(page);
  expect(shown.map(({ state }) => state)).not.toContain("unknown");
  expect(shown.map(({ number }) => number)).not.toContain("0");
});

test("who goes away before the join has arrived is not counted", async ({
  page,
  channel,
  request,
  openStream,
}) => {
  const stream = await openStream(channel);
  // They travel on two connections, so the leave may overtake the join. Here it does.
  await page.route("**/api/viewer/join", () => {});
  const join = page.waitForRequest("**/api/viewer/join");
  await new ChannelPage(page).goto(channel);
  const data: unknown = (await join).postDataJSON();
  const left = page.waitForResponse("**/api/viewer/leave");
  await sayGoodbye(page);
  await left;
  expect((await request.post("/api/viewer/join", { data })).status()).toBe(200);
  await stream.expectToStay(0);
});

test("a page that comes back from the back/forward cache is counted again, in a new session", async ({
  playwright,
  browserName,
  channel,
  openStream,
  faults,
}) => {
  test.skip(browserName !== "chromium", "only Chromium can be told to keep its cache when it is automated");
  const browser = await playwright.chromium.launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  faults.watch(browser);
  const stream = await openStream(channel);
  const page = await browser.newPage();
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  await watching.goto(channel);
  await watching.expectCount(1);
  await stream.expectCount(1);
  await page.goto("/");
  await stream.expectCount(0);
  await page.evaluate(() => history.back());
  await stream.expectCount(1);
  await watching.expectCount(1);
  expect(new Set(calls.joins.map((join) => join.viewerId)).size).toBe(1);
  expect(new Set(calls.joins.map((join) => join.sessionId)).size).toBe(2);
  expect(calls.streams).toHaveLength(2);
  await browser.close();
});
