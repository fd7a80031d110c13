/**
 * When a page is counted as a viewer: its joins, heartbeats and leaves while it is hidden, throttled, frozen,
 * prerendered, closed or restored, and the ids that it sends.
 */

import { Calls } from "../fixtures/calls.ts";
import {
  activatePrerendered,
  blockStorage,
  fakeVisibility,
  freeze,
  prepareThrottling,
  setHeartbeatInterval,
  setHidden,
  throttleTimers,
} from "../fixtures/conditions.ts";
import { newGate } from "../fixtures/gate.ts";
import { expect, test } from "../fixtures/index.ts";
import { SHORT_LEASES } from "../fixtures/server.ts";
import { viewerCounter } from "../fixtures/widget.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";

declare global {
  interface Window {
    /** The names of the methods that the page called while closing, in order. */
    closingCalls: string[];
  }
}

test("a page sends heartbeats at the server's interval, with the session of its join", async ({
  page,
  channelId,
}) => {
  await setHeartbeatInterval(page, 300);
  const calls = new Calls(page);
  await new ChannelPage(page).goto(channelId);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThanOrEqual(3);
  expect(calls.joins).toHaveLength(1);
  for (const heartbeat of calls.heartbeats) {
    expect(heartbeat).toEqual(calls.joins[0]);
  }
});

test("each load of a page is a new session of the same viewer", async ({ page, channelId }) => {
  const calls = new Calls(page);
  const channelPage = new ChannelPage(page);
  for (const loads of [1, 2, 3]) {
    await channelPage.join(channelId);
    expect(calls.joins).toHaveLength(loads);
  }
  expect(new Set(calls.joins.map((join) => join.viewerId)).size).toBe(1);
  expect(new Set(calls.joins.map((join) => join.sessionId)).size).toBe(3);
});

test("a tab opened with window.open has the same viewer id and its own session", async ({
  page,
  channelId,
  openStream,
}) => {
  const stream = await openStream(channelId);
  const calls = new Calls(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  const popup = page.waitForEvent("popup");
  await page.evaluate(() => void window.open(location.href));
  const copy = await popup;
  const copyCalls = new Calls(copy);
  await new ChannelPage(copy).expectCount(1);
  await copy.reload();
  await expect.poll(() => copyCalls.joins.length).toBeGreaterThan(0);
  expect(copyCalls.joins.at(-1)?.viewerId).toBe(calls.joins[0]?.viewerId);
  expect(copyCalls.joins.at(-1)?.sessionId).not.toBe(calls.joins[0]?.sessionId);
  await page.close();
  await stream.expectToStay(1);
  await copy.close();
  await stream.expectCount(0);
  expect(Math.max(...stream.counts)).toBe(1);
});

test("a browser that blocks storage is counted as one viewer until the page closes", async ({
  context,
  page,
  channelId,
  audience,
}) => {
  await blockStorage(context);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await audience.join(channelId);
  await channelPage.expectCount(2);
  await page.close();
  await audience.expectCount(channelId, 1);
});

for (const [kind, id] of [
  ["non-UUID", "someone"],
  ["all-zero", "00000000-0000-0000-0000-000000000000"],
] as const) {
  test(`a stored ${kind} id, which the server would reject, is replaced`, async ({
    context,
    page,
    channelId,
  }) => {
    await context.addInitScript((id) => localStorage.setItem("aforo.viewer", id), id);
    const channelPage = new ChannelPage(page);
    await channelPage.join(channelId);
    await channelPage.expectCount(1);
    expect(await page.evaluate(() => localStorage.getItem("aforo.viewer"))).not.toBe(id);
  });
}

test("a page reports when it is hidden or shown, and stays counted", async ({
  page,
  channelId,
  openStream,
}) => {
  await fakeVisibility(page);
  const stream = await openStream(channelId);
  const calls = new Calls(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await stream.expectCount(1);
  await setHidden(page, true);
  await expect.poll(() => calls.heartbeats.map((beat) => beat.hidden)).toEqual([true]);
  await stream.expectToStay(1);
  await setHidden(page, false);
  await expect.poll(() => calls.heartbeats.map((beat) => beat.hidden)).toEqual([true, false]);
  await stream.expectToStay(1);
  await channelPage.expectCount(1);
  expect(calls.joins).toHaveLength(1);
});

test("a page that opens hidden joins as hidden and is counted", async ({ page, channelId, audience }) => {
  await fakeVisibility(page, { hidden: true });
  const calls = new Calls(page);
  await new ChannelPage(page).goto(channelId);
  await audience.expectCount(channelId, 1);
  await expect.poll(() => calls.joins.map((join) => join.hidden)).toEqual([true]);
});

test("a hidden page with throttled timers sends heartbeats when stream events arrive, and stays counted", async ({
  page,
  channelId,
  newServer,
  openStream,
}) => {
  const server = await newServer({ ...SHORT_LEASES, VIEWER_TIMEOUT: SHORT_LEASES.VIEWER_HIDDEN_TIMEOUT });
  await fakeVisibility(page);
  await prepareThrottling(page, 60_000);
  const calls = new Calls(page);
  const stream = await openStream(channelId, server);
  await page.goto(`${server.url}/${channelId}`);
  await stream.expectCount(1);
  await throttleTimers(page);
  await setHidden(page, true);
  // For 18 s, several leases, no timer fires. Another viewer joins and leaves, which causes events.
  const other = { channelId, viewerId: crypto.randomUUID() };
  const post = (call: string) =>
    fetch(`${server.url}/api/viewer/${call}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(other),
    });
  const before = stream.counts.length;
  for (let round = 0; round < 9; round += 1) {
    await post("join");
    await page.waitForTimeout(1_000);
    await post("leave");
    await page.waitForTimeout(1_000);
  }
  expect(stream.counts.slice(before)).not.toContain(0);
  expect(calls.heartbeats.filter((beat) => beat.hidden).length).toBeGreaterThan(3);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toHaveLength(1);
});

test("a frozen page expires with its lease; when it resumes, it is counted and live again", async ({
  page,
  channelId,
  newServer,
  openStream,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "freezing a page works only in Chromium");
  const server = await newServer({
    VIEWER_HEARTBEAT_INTERVAL: "1000",
    VIEWER_TIMEOUT: "3",
    VIEWER_HIDDEN_TIMEOUT: "3",
    VIEWER_COUNT_UPDATE_INTERVAL: "100",
  });
  const stream = await openStream(channelId, server);
  const calls = new Calls(page);
  await page.goto(`${server.url}/${channelId}`);
  await stream.expectCount(1);
  await expect.poll(() => calls.streams).toHaveLength(1);
  const resume = await freeze(page);
  await stream.expectCount(0);
  await resume();
  await stream.expectCount(1);
  await new ChannelPage(page).expectCount(1);
  // The response to the join may bring the count before the stream is open again.
  await expect.poll(() => calls.streams).toHaveLength(2);
});

test("a prerendered page is not a viewer until it is shown", async ({ page, channelId, audience }) => {
  await fakeVisibility(page, { prerendering: true });
  const calls = new Calls(page);
  const channelPage = new ChannelPage(page);
  const hydration = page.waitForResponse(/\.wasm$/);
  await channelPage.goto(channelId);
  await (await hydration).finished();
  await page.waitForTimeout(3_000); // No request may be sent in this time.
  expect(calls.joins).toEqual([]);
  expect(calls.streams).toEqual([]);
  expect(await audience.count(channelId)).toBe(0);
  await activatePrerendered(page);
  // When a count has arrived by the stream, the page has sent all its initial requests.
  await audience.join(channelId);
  await channelPage.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toHaveLength(1);
});

test("a page restored from the back/forward cache is counted again, in a new session", async ({
  playwright,
  browserName,
  channelId,
  openStream,
  faults,
  audience,
}) => {
  test.skip(browserName !== "chromium", "only automated Chromium can keep its back/forward cache");
  const browser = await playwright.chromium.launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  faults.watch(browser);
  const stream = await openStream(channelId);
  const page = await browser.newPage();
  const calls = new Calls(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await stream.expectCount(1);
  await page.goto("/");
  await stream.expectCount(0);
  await page.evaluate(() => history.back());
  await stream.expectCount(1);
  await channelPage.expectCount(1);
  expect(new Set(calls.joins.map((join) => join.viewerId)).size).toBe(1);
  expect(new Set(calls.joins.map((join) => join.sessionId)).size).toBe(2);
  // The response to the join can show the count before the stream opens.
  await audience.join(channelId);
  await channelPage.expectCount(2);
  await browser.close();
});

test("a page closed before the response to its join leaves no viewer behind", async ({
  context,
  channelId,
  audience,
}) => {
  for (let visit = 0; visit < 5; visit += 1) {
    const page = await context.newPage();
    const joining = newGate();
    // The join is delayed, and the page closes in the meantime.
    await page.route("**/api/viewer/join", (route) => {
      joining.open();
      setTimeout(() => void route.continue().catch(() => undefined), 300);
    });
    await page.goto(`/${channelId}`);
    await joining.opened;
    await page.goto("about:blank");
    await page.waitForTimeout(500);
    await page.close();
  }
  await audience.expectCount(channelId, 0);
});

for (const where of ["a channel page", "an element with track"] as const) {
  test(`${where} sends its leave before it closes streams and aborts requests`, async ({
    page,
    channelId,
    audience,
    openWidget,
  }) => {
    await page.addInitScript(() => {
      window.closingCalls = [];
      const record = (owner: object, name: string) => {
        const methods = owner as Record<string, (...args: unknown[]) => unknown>;
        const method = methods[name]!;
        methods[name] = function (this: unknown, ...args: unknown[]) {
          window.closingCalls.push(name);
          return method.apply(this, args);
        };
      };
      record(Navigator.prototype, "sendBeacon");
      record(EventSource.prototype, "close");
      record(AbortController.prototype, "abort");
      record(BroadcastChannel.prototype, "postMessage");
    });
    const stream = page.waitForResponse(/\/api\/viewer\/sse/);
    if (where === "a channel page") await page.goto(`/${channelId}`);
    else await openWidget(viewerCounter(channelId, "track"), "own");
    await audience.expectCount(channelId, 1);
    await new Badge(page).expectCount(1);
    await stream;
    const closingCalls = await page.evaluate(() => {
      window.closingCalls = [];
      dispatchEvent(new PageTransitionEvent("pagehide"));
      return window.closingCalls;
    });
    expect(closingCalls[0]).toBe("sendBeacon");
    expect(closingCalls).toContain("close");
    await audience.expectCount(channelId, 0);
  });
}
