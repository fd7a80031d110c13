/**
 * What browsers do to pages, and servers to browsers: copies of a tab, throttled timers, frozen pages, networks that come
 * and go, servers that stop, stall and start again.
 */

import { Calls } from "../fixtures/calls.ts";
import {
  canHoldTimersBack,
  freeze,
  holdTimersBack,
  hurryBeats,
  pretend,
  setHidden,
} from "../fixtures/conditions.ts";
import { CountStream } from "../fixtures/count-stream.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { EmbedPage, embedPath } from "../pages/embed-page.ts";

/** What a browser says of a server that is not there. */
const UNREACHABLE = /ERR_|Failed to load resource|status 50|incomplete|MIME type/;

test("a tab opened from another by window.open is the same viewer, in a session of its own", async ({
  page,
  channelId,
  openStream,
}) => {
  const stream = await openStream(channelId);
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  const opened = page.waitForEvent("popup");
  await page.evaluate(() => void window.open(location.href));
  const copy = await opened;
  const copied = new Calls(copy);
  await new ChannelPage(copy).expectCount(1);
  await copy.reload();
  await expect.poll(() => copied.joins.length).toBeGreaterThan(0);
  expect(copied.joins.at(-1)?.viewerId).toBe(calls.joins[0]?.viewerId);
  expect(copied.joins.at(-1)?.sessionId).not.toBe(calls.joins[0]?.sessionId);
  await page.close();
  await stream.expectToStay(1);
  await copy.close();
  await stream.expectCount(0);
  expect(Math.max(...stream.counts)).toBe(1);
});

test("a page with the player of a channel on it twice is one viewer, until the last is gone", async ({
  page,
  channelId,
  openStream,
  newHost,
  baseURL,
}) => {
  const stream = await openStream(channelId);
  const address = new URL(embedPath(channelId), baseURL).href;
  const frame = `<iframe src="${address}" width="320" height="180"></iframe>`;
  const host = await newHost(frame + frame);
  const calls = new Calls(page);
  await page.goto(host.sameSite);
  await expect.poll(() => calls.joins.length).toBe(2);
  await stream.expectToStay(1);
  const first = page.locator("iframe").first();
  await first.evaluate((frame) => frame.remove());
  await stream.expectToStay(1);
  await first.evaluate((frame) => frame.remove());
  await stream.expectCount(0);
  expect(stream.counts).toEqual([0, 1, 0]);
});

test("a hidden page whose timers hardly ever fire beats on what comes in, and is never dropped", async ({
  page,
  channelId,
  newServer,
}) => {
  // Time runs twenty times as fast: a lease of 3 s for 60 s, of 7 s for a hidden page, a timer a minute is one in 3 s.
  const server = await newServer({
    VIEWER_HEARTBEAT_INTERVAL: "1500",
    VIEWER_TIMEOUT: "3",
    VIEWER_HIDDEN_TIMEOUT: "7",
    VIEWER_COUNT_UPDATE_INTERVAL: "100",
  });
  await pretend(page, { hidden: false, prerendering: false });
  await canHoldTimersBack(page, 60_000);
  const calls = new Calls(page);
  const stream = await CountStream.open(server.url, channelId);
  await page.goto(`${server.url}/${channelId}`);
  await stream.expectCount(1);
  await holdTimersBack(page);
  await setHidden(page, true);
  // Six simulated minutes in which no timer fires, and others come and go.
  const others = { channelId, viewerId: crypto.randomUUID() };
  const post = (call: string) =>
    fetch(`${server.url}/api/viewer/${call}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(others),
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
  await stream.close();
});

test("a frozen page is forgotten with its lease, and counted and live again when it thaws", async ({
  page,
  channelId,
  newServer,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "only Chromium can be told to freeze a page");
  const server = await newServer({
    VIEWER_HEARTBEAT_INTERVAL: "1000",
    VIEWER_TIMEOUT: "3",
    VIEWER_HIDDEN_TIMEOUT: "3",
    VIEWER_COUNT_UPDATE_INTERVAL: "100",
  });
  const stream = await CountStream.open(server.url, channelId);
  const calls = new Calls(page);
  await page.goto(`${server.url}/${channelId}`);
  await stream.expectCount(1);
  const thaw = await freeze(page);
  await stream.expectCount(0);
  await thaw();
  await stream.expectCount(1);
  await new ChannelPage(page).expectCount(1);
  // The number may come with the answer to the join, before there is a stream again.
  await expect.poll(() => calls.streams).toHaveLength(2);
  await stream.close();
});

test("a server that is restarted finds its viewers again, and their badges are live", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const server = await newServer({ VIEWER_HEARTBEAT_INTERVAL: "1000" });
  const watching = new ChannelPage(page);
  await hurryBeats(page, 1_000);
  await page.goto(`${server.url}/${channelId}`);
  await watching.expectCount(1);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await server.stop(signal);
    await expect(watching.badge.root).toHaveAttribute("data-state", "stale");
    await server.start();
    await expect(watching.badge.root).toHaveAttribute("data-state", "live");
    const stream = await CountStream.open(server.url, channelId);
    await stream.expectCount(1);
    await stream.close();
  }
});

test("when the server stalls the badge is stale, and live again when it goes on", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const server = await newServer();
  const watching = new ChannelPage(page);
  const calls = new Calls(page);
  await page.goto(`${server.url}/${channelId}`);
  await watching.expectCount(1);
  server.holdUp();
  // It is promised within 20 s; the rest is for busy machines. A tick alone would tell after 30 s.
  await expect(watching.badge.root).toHaveAttribute("data-state", "stale", { timeout: 27_000 });
  server.goOn();
  await expect(watching.badge.root).toHaveAttribute("data-state", "live");
  expect(calls.streams).toHaveLength(1);
});

test("without a network the badge is stale, and live again when it is back", async ({
  context,
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await watching.expectCount(1);
  await context.setOffline(true);
  await expect(watching.badge.root).toHaveAttribute("data-state", "stale");
  await context.setOffline(false);
  await expect(watching.badge.root).toHaveAttribute("data-state", "live");
  await audience.join(channelId);
  await watching.expectCount(2);
});

for (const [name, answer] of [
  ["status 500", { status: 500, body: "" }],
  ["a page of HTML", { status: 200, contentType: "text/html", body: "<h1>Log in</h1>" }],
] as const) {
  test(`a stream that is answered with ${name} is opened again until it is one`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    await page.route("**/api/viewer/sse/**", (route) => route.fulfill(answer), { times: 2 });
    const watching = new ChannelPage(page);
    const calls = new Calls(page);
    await watching.join(channelId);
    await expect.poll(() => calls.streams.length, { timeout: 30_000 }).toBe(3);
    expect(calls.openStreams).toBe(1);
    await audience.join(channelId);
    await watching.expectCount(2);
  });
}

test("beats that fail for a while are tried again, and the page joins no second time", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  await hurryBeats(page, 500);
  const calls = new Calls(page);
  let failures = 0;
  await page.route("**/api/viewer/heartbeat", (route) => {
    failures += 1;
    return failures <= 3 ? route.abort() : route.continue();
  });
  await new ChannelPage(page).join(channelId);
  await expect.poll(() => calls.heartbeats.length, { timeout: 30_000 }).toBeGreaterThan(4);
  expect(await audience.count(channelId)).toBe(1);
  expect(calls.joins).toHaveLength(1);
});

test("a badge that breaks does not keep the page from being counted", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(/exception|unreachable|panic|hydrat/i);
  // The badge is not what its component expects: it panics.
  await page.route(`**${embedPath(channelId)}**`, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/<svg class="viewer-counter__eye".*?<\/svg>/s, "");
    return route.fulfill({ response, body });
  });
  await hurryBeats(page, 500);
  const calls = new Calls(page);
  await new EmbedPage(page).goto(channelId, true);
  await audience.expectCount(channelId, 1);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(2);
  await page.close();
  await audience.expectCount(channelId, 0);
});

test("a page that is closed before its join is answered leaves nobody behind", async ({
  context,
  channelId,
  audience,
}) => {
  for (let visit = 0; visit < 5; visit += 1) {
    const page = await context.newPage();
    let joining = () => undefined as void;
    const joined = new Promise<void>((done) => (joining = done));
    // The join is held back on its way; the page goes meanwhile.
    await page.route("**/api/viewer/join", (route) => {
      joining();
      setTimeout(() => void route.continue().catch(() => undefined), 300);
    });
    await page.goto(`/${channelId}`);
    await joined;
    await page.goto("about:blank");
    await page.waitForTimeout(500);
    await page.close();
  }
  expect(await audience.count(channelId)).toBe(0);
});
