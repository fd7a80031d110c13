/**
 * The embedded player in frames of other pages: it counts its viewers, and shows the badge only with `?counter=1`.
 */

import type { Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { setHeartbeatInterval } from "../fixtures/conditions.ts";
import { expect, test as base } from "../fixtures/index.ts";
import type { Server } from "../fixtures/server.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { EmbedPage, embedPath } from "../pages/embed-page.ts";

interface SandboxedPlayer {
  server: Server;
  badge: Badge;
}

const test = base.extend<{
  /** Opens a player with the badge in a sandboxed frame, without an origin or storage, of an allowed host. */
  openSandboxed: (page: Page, channel: string) => Promise<SandboxedPlayer>;
}>({
  openSandboxed: async ({ newServer, newHost }, use) => {
    await use(async (page, channel) => {
      const server = await newServer({ VIEWER_ALLOWED_ORIGINS: "null" });
      const address = server.url + embedPath(channel, true);
      const host = await newHost(
        `<iframe sandbox="allow-scripts" src="${address}" title="Player" width="640" height="360"></iframe>`,
      );
      await page.goto(host.otherSite);
      const badge = new Badge(page.frameLocator("iframe"));
      await badge.expectCount(1);
      return { server, badge };
    });
  },
});

test("a page of only the player is counted and has no badge", async ({ page, channelId, audience }) => {
  const embed = new EmbedPage(page);
  await embed.goto(channelId);
  await expect(embed.player).toBeVisible();
  await audience.expectCount(channelId, 1);
  await expect(embed.badge.root).toHaveCount(0);
  await page.close();
  await audience.expectCount(channelId, 0);
});

test("with ?counter=1 the player has a live badge, joins once and opens one stream", async ({
  page,
  channelId,
  audience,
}) => {
  const calls = new Calls(page);
  const embed = new EmbedPage(page);
  await embed.join(channelId, true);
  await embed.badge.expectCount(1);
  await audience.join(channelId);
  await embed.badge.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toHaveLength(1);
});

test("a player without the badge joins once and opens no stream", async ({ page, channelId, audience }) => {
  await setHeartbeatInterval(page, 300);
  const calls = new Calls(page);
  await new EmbedPage(page).goto(channelId);
  await audience.expectCount(channelId, 1);
  // By its first heartbeat, the page has sent all its initial requests.
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(0);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toEqual([]);
});

for (const place of ["sameSite", "otherSite"] as const) {
  test(`a player in a frame of another origin (${place}) is counted and live`, async ({
    page,
    channelId,
    audience,
    newHost,
    baseURL,
    browserName,
  }) => {
    test.skip(place === "otherSite" && browserName !== "chromium", "only Chromium resolves the second name");
    const address = new URL(embedPath(channelId, true), baseURL).href;
    const host = await newHost(`<iframe src="${address}" title="Player" width="640" height="360"></iframe>`);
    await page.goto(host[place]);
    const badge = new Badge(page.frameLocator("iframe"));
    await badge.expectCount(1);
    await audience.join(channelId);
    await badge.expectCount(2);
    await page.locator("iframe").evaluate((frame) => frame.remove());
    await audience.expectCount(channelId, 1);
  });
}

test("a player in a sandboxed frame is counted if the server allows the origin null", async ({
  page,
  channelId,
  openSandboxed,
  openStream,
}) => {
  const { server } = await openSandboxed(page, channelId);
  const stream = await openStream(channelId, server);
  await stream.expectCount(1);
  await page.close();
  await stream.expectCount(0);
});

test("a player in a sandboxed frame can ping the server and stays live", async ({
  page,
  channelId,
  openSandboxed,
}) => {
  await page.clock.install();
  const { badge } = await openSandboxed(page, channelId);
  const ping = page.waitForResponse("**/api/viewer/ping");
  await page.clock.runFor(14_000);
  await ping;
  // Past the time limit of the ping, and not until the silence itself makes the count stale.
  for (let second = 0; second < 6; second += 1) {
    await page.clock.runFor(1_000);
    expect(await badge.state()).toBe("live");
  }
  // Close the page before its server stops.
  await page.close();
});

test("a page with two frames of a player is one viewer until both frames are removed", async ({
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
  await stream.expectCount(1);
  await stream.expectToStay(1);
  const first = page.locator("iframe").first();
  await first.evaluate((frame) => frame.remove());
  await stream.expectToStay(1);
  await first.evaluate((frame) => frame.remove());
  await stream.expectCount(0);
  expect(stream.counts).toEqual([0, 1, 0]);
});

test("a channel page and a player of the channel in one browser are one viewer", async ({
  context,
  channelId,
  openStream,
}) => {
  const stream = await openStream(channelId);
  const channelPage = new ChannelPage(await context.newPage());
  await channelPage.join(channelId);
  const embed = new EmbedPage(await context.newPage());
  await embed.join(channelId, true);
  await embed.badge.expectCount(1);
  await stream.expectToStay(1);
  await channelPage.page.close();
  await stream.expectToStay(1);
  expect(stream.counts).toEqual([0, 1]);
});

test("a player below the fold is not counted until half of it is scrolled into view", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  const address = new URL(embedPath(channelId), baseURL).href;
  const host = await newHost(
    `<div style="height: 5000px"></div><iframe src="${address}" width="640" height="360"></iframe>`,
  );
  const calls = new Calls(page);
  const hydration = page.waitForResponse(/\.wasm$/);
  await page.goto(host.otherSite);
  await (await hydration).finished();
  /** Scrolls until this many pixels of the frame are visible. */
  const reveal = (pixels: number) =>
    page.evaluate((pixels) => {
      const top = document.querySelector("iframe")?.getBoundingClientRect().top ?? 0;
      scrollBy(0, top - innerHeight + pixels);
    }, pixels);
  await reveal(100);
  await page.waitForTimeout(2_000); // No join may be sent in this time.
  expect(calls.joins).toEqual([]);
  expect(await audience.count(channelId)).toBe(0);
  await reveal(200);
  await audience.expectCount(channelId, 1);
  await reveal(0);
  await audience.expectCount(channelId, 1);
  // The server may know of the join before the test does.
  await expect.poll(() => calls.joins.length).toBe(1);
});

test("a player larger than the window is counted once it covers half of the window", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  const address = new URL(embedPath(channelId), baseURL).href;
  const { width, height } = page.viewportSize()!;
  const host = await newHost(
    `<div style="height: 5000px"></div>
     <iframe src="${address}" width="${2 * width}" height="${2 * height}" style="border: 0"></iframe>`,
  );
  const calls = new Calls(page);
  const hydration = page.waitForResponse(/\.wasm$/);
  await page.goto(host.otherSite);
  await (await hydration).finished();
  /** Scrolls until the frame covers this share of the window's height. */
  const cover = (share: number) =>
    page.evaluate((share) => {
      const { left = 0, top = 0 } = document.querySelector("iframe")?.getBoundingClientRect() ?? {};
      scrollBy(left, top - innerHeight * (1 - share));
    }, share);
  await cover(0.3);
  await page.waitForTimeout(2_000); // No join may be sent in this time.
  expect(calls.joins).toEqual([]);
  await cover(0.8);
  await audience.expectCount(channelId, 1);
  // The server may know of the join before the test does.
  await expect.poll(() => calls.joins.length).toBe(1);
});

test("without IntersectionObserver a player is counted at once", async ({ page, channelId, audience }) => {
  await page.addInitScript(() => {
    Reflect.deleteProperty(window, "IntersectionObserver");
  });
  await new EmbedPage(page).goto(channelId);
  await audience.expectCount(channelId, 1);
});
