/**
 * The life of a page as a viewer: it beats, is hidden and shown, may be prerendered before anybody asks for it, and may
 * come back after it has gone.
 */

import { Calls } from "../fixtures/calls.ts";
import { activate, hurryBeats, pretend, setHidden } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("a page beats as often as the server asks, always as the session that joined", async ({
  page,
  channelId,
}) => {
  await hurryBeats(page, 300);
  const calls = new Calls(page);
  await new ChannelPage(page).goto(channelId);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThanOrEqual(3);
  expect(calls.joins).toHaveLength(1);
  for (const heartbeat of calls.heartbeats) {
    expect(heartbeat).toEqual(calls.joins[0]);
  }
});

test("a page that is hidden says so and stays counted, also when it is shown again", async ({
  page,
  channelId,
  openStream,
}) => {
  await pretend(page, { hidden: false, prerendering: false });
  const stream = await openStream(channelId);
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
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

test("a page that opens hidden joins as hidden and is counted", async ({ page, channelId, audience }) => {
  await pretend(page, { hidden: true, prerendering: false });
  const calls = new Calls(page);
  await new ChannelPage(page).goto(channelId);
  await audience.expectCount(channelId, 1);
  expect(calls.joins.map((join) => join.hidden)).toEqual([true]);
});

test("a page that is being prerendered is no viewer until it is shown", async ({
  page,
  channelId,
  audience,
}) => {
  await pretend(page, { hidden: false, prerendering: true });
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  const hydration = page.waitForResponse(/\.wasm$/);
  await watching.goto(channelId);
  await (await hydration).finished();
  await page.waitForTimeout(3_000); // Nothing may happen in this time.
  expect(calls.joins).toEqual([]);
  expect(calls.streams).toEqual([]);
  expect(await audience.count(channelId)).toBe(0);
  await activate(page);
  // News that came by the stream: whatever the page does when it is shown is done by then.
  await audience.join(channelId);
  await watching.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toHaveLength(1);
});

test("a page that comes back from the back/forward cache is counted again, in a new session", async ({
  playwright,
  browserName,
  channelId,
  openStream,
  faults,
}) => {
  test.skip(browserName !== "chromium", "only Chromium can be told to keep its cache when it is automated");
  const browser = await playwright.chromium.launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  faults.watch(browser);
  const stream = await openStream(channelId);
  const page = await browser.newPage();
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await stream.expectCount(1);
  await page.goto("/");
  await stream.expectCount(0);
  await page.evaluate(() => history.back());
  await stream.expectCount(1);
  await watching.expectCount(1);
  expect(new Set(calls.joins.map((join) => join.viewerId)).size).toBe(1);
  expect(new Set(calls.joins.map((join) => join.sessionId)).size).toBe(2);
  // The home page that was in between has a stream of its own.
  expect(calls.streams.filter((path) => path.endsWith(channelId))).toHaveLength(2);
  await browser.close();
});
