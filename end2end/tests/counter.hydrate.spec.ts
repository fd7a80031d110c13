/**
 * The live count on the channel page: how viewers, tabs, reloads and navigations change it.
 */

import { Calls } from "../fixtures/calls.ts";
import { twoUpdates } from "../fixtures/count-stream.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, layoutShift, measureLayoutShift, recordBadge } from "../fixtures/probes.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("two browsers are two viewers, and closing one page leaves one viewer", async ({
  newVisitor,
  channelId,
}) => {
  const [ana, eva] = [new ChannelPage(await newVisitor()), new ChannelPage(await newVisitor())];
  await recordBadge(ana.page);
  await ana.join(channelId);
  await ana.expectCount(1);
  await eva.join(channelId);
  await ana.expectCount(2);
  await eva.expectCount(2);
  await eva.page.close({ runBeforeUnload: false });
  await ana.expectCount(1);
  expect((await badgeHistory(ana.page)).map(({ number }) => number)).toEqual(["1", "2", "1"]);
});

test("a viewer never sees a count of 0", async ({ page, channelId, audience }) => {
  await recordBadge(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await channelPage.expectCount(1);
  await audience.join(channelId);
  await channelPage.expectCount(2);
  await audience.leave();
  await channelPage.expectCount(1);
  expect((await badgeHistory(page)).map(({ number }) => number)).toEqual(["1", "2", "1"]);
});

test("two tabs of one browser are one viewer until the last tab closes", async ({
  context,
  channelId,
  openStream,
}) => {
  const stream = await openStream(channelId);
  const [first, second] = [
    new ChannelPage(await context.newPage()),
    new ChannelPage(await context.newPage()),
  ];
  await first.join(channelId);
  await second.join(channelId);
  await first.expectCount(1);
  await second.expectCount(1);
  await second.page.close();
  await stream.expectToStay(1);
  await first.expectCount(1);
  await first.page.close();
  await stream.expectCount(0);
  expect(stream.counts).toEqual([0, 1, 0]);
});

test("a viewer who reloads repeatedly is counted once", async ({ page, channelId, openStream, audience }) => {
  const stream = await openStream(channelId);
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  for (let i = 0; i < 15; i += 1) {
    await page.waitForTimeout(200);
    await page.reload({ waitUntil: "commit" });
  }
  await twoUpdates();
  await channelPage.expectCount(1);
  await audience.expectCount(channelId, 1);
  await stream.expectCount(1);
  expect(Math.max(...stream.counts)).toBe(1);
});

test("navigating to another channel leaves the first channel", async ({ page, channelId, openStream }) => {
  const [here, there] = [await openStream(`${channelId}-a`), await openStream(`${channelId}-b`)];
  const channelPage = new ChannelPage(page);
  await channelPage.join(`${channelId}-a`);
  await here.expectCount(1);
  await channelPage.join(`${channelId}-b`);
  await there.expectCount(1);
  await here.expectCount(0);
  expect(here.counts).toEqual([0, 1, 0]);
  expect(there.counts).toEqual([0, 1]);
});

test("a channel page joins once and opens one stream", async ({ page, channelId, audience }) => {
  const calls = new Calls(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  // When a count has arrived by the stream, the page has sent all its initial requests.
  await audience.join(channelId);
  await channelPage.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.joins[0]).toMatchObject({ channelId, hidden: false });
  expect(calls.heartbeats).toEqual([]);
  expect(calls.streams).toEqual([`/api/viewer/sse/${channelId}`]);
});

for (const locale of ["es-ES", "en-US", "pt-BR"]) {
  test(`hydration of the page for ${locale} changes only numbers`, async ({
    newVisitor,
    channelId,
    audience,
  }) => {
    // 2 before and 3 after hydration, so that the label is plural in both.
    await audience.join(channelId, 2);
    const channelPage = new ChannelPage(await newVisitor({ locale }));
    const html = await channelPage.goto(channelId);
    await channelPage.expectCount(3);
    const [served, live] = await channelPage.page.evaluate((html) => {
      // Remove what the browser changes on purpose, and the framework's comments.
      const normalize = (page: Document) =>
        page
          .querySelector("main")
          ?.outerHTML.replace(/<!--.*?-->/g, "")
          // Only the browser knows whether it follows the channel.
          .replace(/ aria-pressed="\w+"/g, "")
          // Copy buttons are shown by a script.
          .replace(/( data-copy="[\w-]+") hidden=""/g, "$1")
          .replace(/\d+/g, "#");
      return [normalize(new DOMParser().parseFromString(html, "text/html")), normalize(document)];
    }, html);
    expect(served).toContain("viewer-counter");
    expect(live).toBe(served);
  });
}

test("hydration and new counts cause no layout shift", async ({ page, channelId, audience, browserName }) => {
  test.skip(browserName !== "chromium", "only Chromium reports layout shifts");
  await measureLayoutShift(page);
  // In one piece: on a busy machine, the browser would draw a part of the page, and shift it when the rest arrives.
  const isPage = (url: URL) => url.pathname === `/${channelId}`;
  await page.route(isPage, async (route) => route.fulfill({ response: await route.fetch() }));
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await audience.join(channelId);
  await channelPage.expectCount(2);
  expect(await layoutShift(page)).toBe(0);
});
