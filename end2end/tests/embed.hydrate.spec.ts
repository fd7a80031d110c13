/**
 * The player in frames of other pages: it counts who watches it there, and shows the badge only when asked to.
 */

import { Calls } from "../fixtures/calls.ts";
import { hurryBeats } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { EmbedPage, embedPath } from "../pages/embed-page.ts";

test("who watches the player alone is a viewer, and sees no badge", async ({ page, channelId, audience }) => {
  const embed = new EmbedPage(page);
  await embed.goto(channelId);
  await expect(embed.player).toBeVisible();
  await audience.expectCount(channelId, 1);
  await expect(embed.badge.root).toHaveCount(0);
  await page.close();
  await audience.expectCount(channelId, 0);
});

test("with ?counter=1 the player has the badge, and it is live", async ({ page, channelId, audience }) => {
  const embed = new EmbedPage(page);
  await embed.join(channelId, true);
  await embed.badge.expectCount(1);
  await audience.join(channelId);
  await embed.badge.expectCount(2);
});

test("the player with the badge joins once and opens one stream", async ({ page, channelId, audience }) => {
  const calls = new Calls(page);
  const embed = new EmbedPage(page);
  await embed.join(channelId, true);
  await embed.badge.expectCount(1);
  await audience.join(channelId);
  await embed.badge.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toHaveLength(1);
});

test("the player without the badge opens no stream", async ({ page, channelId, audience }) => {
  await hurryBeats(page, 300);
  const calls = new Calls(page);
  await new EmbedPage(page).goto(channelId);
  await audience.expectCount(channelId, 1);
  // Whatever the page does at its start is done before its first beat.
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(0);
  expect(calls.joins).toHaveLength(1);
  expect(calls.streams).toEqual([]);
});

for (const place of ["sameSite", "otherSite"] as const) {
  test(`in a frame of another origin (${place}) the player works and counts`, async ({
    page,
    channelId,
    audience,
    newHost,
    baseURL,
    browserName,
  }) => {
    test.skip(
      place === "otherSite" && browserName !== "chromium",
      "the second name is a setting of Chromium",
    );
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

test("a channel's page and its player in the same browser are one viewer", async ({
  context,
  channelId,
  openStream,
}) => {
  const stream = await openStream(channelId);
  const watching = new ChannelPage(await context.newPage());
  await watching.join(channelId);
  const embed = new EmbedPage(await context.newPage());
  await embed.join(channelId, true);
  await embed.badge.expectCount(1);
  await stream.expectToStay(1);
  await watching.page.close();
  await stream.expectToStay(1);
  expect(stream.counts).toEqual([0, 1]);
});

test("a player below the fold of its host is no viewer until half of it has been scrolled into view", async ({
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
  const show = (pixels: number) =>
    page.evaluate((pixels) => {
      const top = document.querySelector("iframe")?.getBoundingClientRect().top ?? 0;
      scrollBy(0, top - innerHeight + pixels);
    }, pixels);
  await show(100);
  await page.waitForTimeout(2_000); // Nothing may happen in this time.
  expect(calls.joins).toEqual([]);
  expect(await audience.count(channelId)).toBe(0);
  await show(200);
  await audience.expectCount(channelId, 1);
  await show(0);
  await audience.expectCount(channelId, 1);
  expect(calls.joins).toHaveLength(1);
});

test("where the browser can't tell what is on screen, the player counts at once", async ({
  page,
  channelId,
  audience,
}) => {
  await page.addInitScript(() => {
    Reflect.deleteProperty(window, "IntersectionObserver");
  });
  await new EmbedPage(page).goto(channelId);
  await audience.expectCount(channelId, 1);
});
