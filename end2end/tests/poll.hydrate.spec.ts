/**
 * `<viewer-counter poll>`: the count by plain requests that caches can answer, instead of a stream.
 */

import type { Page, Request } from "@playwright/test";

import { openCache } from "../fixtures/cache.ts";
import { Calls } from "../fixtures/calls.ts";
import { advanceClock, fakeVisibility, setHidden } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { viewerCounter } from "../fixtures/widget.ts";

/** Records the requests for counts. */
function recordReads(page: Page): Request[] {
  const reads: Request[] = [];
  page.on("request", (request) => {
    if (/\/api\/viewer\/count/.test(request.url())) reads.push(request);
  });
  return reads;
}

test("the number follows the count by requests, without a stream and without counting the page", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  await audience.join(channelId, 2);
  const calls = new Calls(page);
  const loaded: string[] = [];
  page.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  const reads = recordReads(page);
  await openWidget(viewerCounter(channelId, `poll="1"`));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("2");
  await expect(badge).toHaveAttribute("data-state", "live");
  await audience.join(channelId);
  await expect(badge).toHaveText("3");
  expect(new Set(reads.map((read) => new URL(read.url()).pathname))).toEqual(
    new Set([`/api/viewer/count/${channelId}`]),
  );
  // Nothing that would keep a cache from answering.
  const { "cache-control": caching, pragma } = await reads[0]!.allHeaders();
  expect([caching, pragma]).toEqual([undefined, undefined]);
  expect(calls.streams).toEqual([]);
  expect(calls.joins).toEqual([]);
  expect(loaded).not.toContain("/stream.js");
  expect(loaded).toContain("/poll.js");
});

test("elements of one channel share a request per interval", async ({ page, channelId, openWidget }) => {
  await page.clock.install();
  const reads = recordReads(page);
  await openWidget([1, 2, 3].map(() => viewerCounter(channelId, "poll=20")).join(""));
  await expect(page.locator(".viewer-counter")).toHaveText(["0", "0", "0"]);
  expect(reads).toHaveLength(1);
  // The next request is due 18 to 22 s after the first one.
  await page.clock.runFor(12_000);
  expect(reads).toHaveLength(1);
  await page.clock.runFor(10_000);
  await expect.poll(() => reads.length).toBe(2);
});

test("failed requests make the count stale, then unknown, and the next answer live again", async ({
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/502/);
  await audience.join(channelId, 4);
  await page.clock.install();
  await openWidget(viewerCounter(channelId, "poll=5"));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("4");
  const reads = "**/api/viewer/count/**";
  await page.route(reads, (route) => route.fulfill({ status: 502, body: "<h1>Bad Gateway</h1>" }));
  const failed = page.waitForResponse(reads);
  await page.clock.runFor(6_000);
  await failed;
  await expect(badge).toHaveAttribute("data-state", "stale");
  await expect(badge).toHaveText("4");
  await expect(badge).toHaveAccessibleName("4 viewers (from a moment ago)");
  await advanceClock(page, 60_000, 5_000);
  await expect(badge).toHaveAttribute("data-state", "unknown");
  await expect(badge).toHaveText("—");
  await page.unroute(reads);
  await expect(async () => {
    await advanceClock(page, 10_000, 1_000);
    await expect(badge).toHaveText("4", { timeout: 200 });
  }).toPass();
  await expect(badge).toHaveAttribute("data-state", "live");
});

test("a cache that keeps one answer for too long keeps no count live", async ({
  page,
  channelId,
  openWidget,
}) => {
  await page.clock.install();
  const copy = { channelId, count: 9, stale: false, asOf: 1_790_000_000_000 };
  await page.route("**/api/viewer/count/**", (route) =>
    route.fulfill({ json: copy, headers: { "access-control-allow-origin": "*" } }),
  );
  await openWidget(viewerCounter(channelId, "poll=5"));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("9");
  await advanceClock(page, 20_000, 5_000);
  await expect(badge).toHaveAttribute("data-state", "live");
  await advanceClock(page, 15_000, 5_000);
  await expect(badge).toHaveAttribute("data-state", "stale");
  await advanceClock(page, 30_000, 5_000);
  await expect(badge).toHaveAttribute("data-state", "unknown");
});

test("a count that the server does not know is unknown at once", async ({
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channelId, 2);
  await openWidget(viewerCounter(channelId, "poll=1"));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("2");
  const reads = "**/api/viewer/count/**";
  const headers = { "access-control-allow-origin": "*" };
  await page.route(reads, (route) =>
    route.fulfill({ status: 503, headers, json: { status: 503, code: "unavailable" } }),
  );
  await expect(badge).toHaveAttribute("data-state", "unknown");
  await expect(badge).toHaveText("—");
  await page.unroute(reads);
  await expect(badge).toHaveText("2");
});

test("a stale answer is shown as stale, and nonsense as a failure", async ({
  page,
  channelId,
  openWidget,
}) => {
  const headers = { "access-control-allow-origin": "*" };
  let answer: object = { channelId, count: 12_345, stale: true, asOf: 1 };
  await page.route("**/api/viewer/count/**", (route) => route.fulfill({ headers, json: answer }));
  await openWidget(viewerCounter(channelId, "poll=1"));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("12,345");
  await expect(badge).toHaveAttribute("data-state", "stale");
  answer = { channelId, count: 12_346, stale: false, asOf: 2 };
  await expect(badge).toHaveAttribute("data-state", "live");
  answer = { channelId, count: "<b>", stale: false, asOf: 3 };
  await expect(badge).toHaveAttribute("data-state", "stale");
  await expect(badge).toHaveText("12,346");
});

test("a hidden page requests nothing, and requests at once when it is shown", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  await page.clock.install();
  await fakeVisibility(page);
  const reads = recordReads(page);
  await openWidget(viewerCounter(channelId, "poll=5"));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  await setHidden(page, true);
  const { length } = reads;
  await advanceClock(page, 120_000, 10_000);
  expect(reads).toHaveLength(length);
  await audience.join(channelId);
  await setHidden(page, false);
  await expect(badge).toHaveText("1");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test("with track the page is one viewer, and its number is right", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  const calls = new Calls(page);
  await openWidget(viewerCounter(channelId, `poll="1" track`), "own");
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("1");
  await audience.expectCount(channelId, 1);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toEqual([]);
  await audience.join(channelId);
  await expect(badge).toHaveText("2");
  await page.locator("viewer-counter").evaluate((element) => element.remove());
  await audience.expectCount(channelId, 1);
});

test("adding and removing the attribute switches between requests and a stream", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  const calls = new Calls(page);
  const reads = recordReads(page);
  await openWidget(viewerCounter(channelId, `poll="1"`));
  const badge = page.locator(".viewer-counter");
  const element = page.locator("viewer-counter");
  await expect(badge).toHaveText("0");
  await element.evaluate((element) => element.removeAttribute("poll"));
  await expect.poll(() => calls.openStreams).toBe(1);
  await audience.join(channelId);
  await expect(badge).toHaveText("1");
  const before = reads.length;
  await page.waitForTimeout(2_500);
  expect(reads).toHaveLength(before);
  await element.evaluate((element) => element.setAttribute("poll", "1"));
  await expect.poll(() => reads.length).toBeGreaterThan(before + 1);
  await expect.poll(() => calls.openStreams).toBe(0);
  await expect(badge).toHaveText("1");
});

test("with COUNT_MAX_AGE the number still follows the count, although the browser caches it", async ({
  page,
  channelId,
  newServer,
  newHost,
}) => {
  const server = await newServer({ COUNT_MAX_AGE: "3", VIEWER_COUNT_UPDATE_INTERVAL: "100" });
  const host = await newHost(
    `<main>${viewerCounter(channelId, "poll=1")}</main><script type="module" src="${server.url}/widget.js"></script>`,
  );
  await page.goto(host.sameSite);
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  const join = { channelId, viewerId: crypto.randomUUID() };
  await page.request.post(`${server.url}/api/viewer/join`, { data: join });
  await expect(badge).toHaveText("1");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test("through a real cache pages show the number, and the server answers one request per interval", async ({
  channelId,
  newServer,
  newHost,
  newVisitor,
}) => {
  const MAX_AGE = 2;
  const server = await newServer({
    COUNT_MAX_AGE: String(MAX_AGE),
    VIEWER_COUNT_UPDATE_INTERVAL: "100",
  });
  const join = async () => {
    const body = JSON.stringify({ channelId, viewerId: crypto.randomUUID() });
    const headers = { "content-type": "application/json" };
    const { ok } = await fetch(`${server.url}/api/viewer/join`, { method: "POST", headers, body });
    expect(ok).toBe(true);
  };
  const cache = await openCache(server.url);
  try {
    await join();
    const path = `/api/viewer/count/${channelId}`;
    const host = await newHost(
      `<main>${viewerCounter(channelId, "poll=1")}</main><script type="module" src="${cache.url}/widget.js"></script>`,
    );
    // Each has a cache of its own.
    const pages = await Promise.all(Array.from({ length: 4 }, () => newVisitor()));
    const began = performance.now();
    await Promise.all(pages.map((page) => page.goto(host.sameSite)));
    const badges = pages.map((page) => page.locator(".viewer-counter"));
    for (const badge of badges) await expect(badge).toHaveText("1");
    await join();
    for (const badge of badges) {
      await expect(badge).toHaveText("2");
      await expect(badge).toHaveAttribute("data-state", "live");
    }
    await expect.poll(() => cache.asked(path), { timeout: 60_000 }).toBeGreaterThan(20);
    await expect.poll(() => cache.passedOn(path), { timeout: 60_000 }).toBeGreaterThan(3);
    const reached = cache.passedOn(path);
    // A slow machine makes this longer, and so allows more requests.
    const intervals = Math.ceil((performance.now() - began) / (MAX_AGE * 1_000));
    expect(reached).toBeLessThanOrEqual(intervals + 1);
    // They would notice the end of the cache.
    await Promise.all(pages.map((page) => page.close()));
  } finally {
    await cache.close();
  }
});
