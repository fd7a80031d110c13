/**
 * The live count: who is counted from when to when, and what the badge shows meanwhile.
 */

import { Calls } from "../fixtures/calls.ts";
import { twoUpdates } from "../fixtures/count-stream.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, layoutShift, measureLayoutShift, recordBadge } from "../fixtures/probes.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("two people on a channel are two viewers, and one when one of them closes the page", async ({
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

test("the only viewer never sees 0", async ({ page, channelId, audience }) => {
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await watching.expectCount(1);
  await audience.join(channelId);
  await watching.expectCount(2);
  await audience.leave();
  await watching.expectCount(1);
  expect((await badgeHistory(page)).map(({ number }) => number)).toEqual(["1", "2", "1"]);
});

test("two tabs of one browser are one viewer, until the last is closed", async ({
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

test("who reloads again and again is one viewer", async ({ page, channelId, openStream, audience }) => {
  const stream = await openStream(channelId);
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  for (let i = 0; i < 15; i += 1) {
    await page.waitForTimeout(200); // The pace of an impatient person.
    await page.reload({ waitUntil: "commit" });
  }
  await twoUpdates();
  await watching.expectCount(1);
  expect(await audience.count(channelId)).toBe(1);
  expect(stream.last).toBe(1);
  expect(Math.max(...stream.counts)).toBe(1);
});

test("who goes on to another channel leaves the first", async ({ page, channelId, openStream }) => {
  const [here, there] = [await openStream(`${channelId}-a`), await openStream(`${channelId}-b`)];
  const watching = new ChannelPage(page);
  await watching.join(`${channelId}-a`);
  await here.expectCount(1);
  await watching.join(`${channelId}-b`);
  await there.expectCount(1);
  await here.expectCount(0);
  expect(here.counts).toEqual([0, 1, 0]);
  expect(there.counts).toEqual([0, 1]);
});

test("a page joins once and opens one stream", async ({ page, channelId, audience }) => {
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  // News that came by the stream: whatever the page does at its start is done by then.
  await audience.join(channelId);
  await watching.expectCount(2);
  expect(calls.joins).toHaveLength(1);
  expect(calls.joins[0]).toMatchObject({ channelId, hidden: false });
  expect(calls.heartbeats).toEqual([]);
  expect(calls.streams).toEqual([`/api/viewer/sse/${channelId}`]);
});

test("each load of a page is a new session of the same viewer", async ({ page, channelId }) => {
  const calls = new Calls(page);
  const watching = new ChannelPage(page);
  for (const loads of [1, 2, 3]) {
    await watching.join(channelId);
    expect(calls.joins).toHaveLength(loads);
  }
  expect(new Set(calls.joins.map((join) => join.viewerId)).size).toBe(1);
  expect(new Set(calls.joins.map((join) => join.sessionId)).size).toBe(3);
});

for (const locale of ["es-ES", "en-US", "pt-BR"]) {
  test(`hydration changes nothing but numbers in the page for ${locale}`, async ({
    newVisitor,
    channelId,
    audience,
  }) => {
    // Two before and three after: the words around the number stay plural.
    await audience.join(channelId, 2);
    const watching = new ChannelPage(await newVisitor({ locale }));
    const html = await watching.goto(channelId);
    await watching.expectCount(3);
    const [served, live] = await watching.page.evaluate((html) => {
      // Comments are marks of the framework; nobody sees them.
      const normal = (page: Document) =>
        page
          .querySelector("main")
          ?.outerHTML.replace(/<!--.*?-->/g, "")
          // Whether this browser follows is known in the browser alone.
          .replace(/ aria-pressed="\w+"/g, "")
          // Buttons that copy are shown where there are scripts.
          .replace(/( data-copy="[\w-]+") hidden=""/g, "$1")
          .replace(/\d+/g, "#");
      return [normal(new DOMParser().parseFromString(html, "text/html")), normal(document)];
    }, html);
    expect(served).toContain("viewer-counter");
    expect(live).toBe(served);
  });
}

test("neither hydration nor news move anything on the page", async ({
  page,
  channelId,
  audience,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "only Chromium reports layout shifts");
  await measureLayoutShift(page);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await audience.join(channelId);
  await watching.expectCount(2);
  expect(await layoutShift(page)).toBe(0);
});
