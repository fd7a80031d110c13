/**
 * Tabs of one browser: they share one event stream, and whichever of them closes, crashes, freezes or hangs, the others go
 * on.
 */

import type { BrowserContext } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { freeze, hurryBeats } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, recordBadge } from "../fixtures/probes.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { embedPath } from "../pages/embed-page.ts";

/** A tab that shows a channel and is counted there. */
async function openTab(context: BrowserContext, channel: string) {
  const page = await context.newPage();
  const calls = new Calls(page);
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.join(channel);
  return { page, calls, watching };
}

test("eight tabs of eight channels all load, are live and beat, over one stream", async ({
  context,
  channelId,
  audience,
}) => {
  const channels = Array.from({ length: 8 }, (_, i) => `${channelId}-${i}`);
  const tabs = [];
  for (const channel of channels) {
    const page = await context.newPage();
    await hurryBeats(page, 1_000);
    const tab = { page, calls: new Calls(page), watching: new ChannelPage(page), channel };
    // With a stream per tab the seventh would wait for ever: a browser opens six connections to a host.
    await tab.watching.join(channel);
    tabs.push(tab);
  }
  for (const { channel, watching, calls } of tabs) {
    await audience.join(channel);
    await watching.expectCount(2);
    const before = calls.heartbeats.length;
    await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(before);
    expect(await audience.count(channel)).toBe(2);
  }
  expect(tabs.filter(({ calls }) => calls.streams.length > 0)).toHaveLength(1);
});

test("tabs of one channel share a stream, and a late one shows the count at once", async ({
  context,
  channelId,
  audience,
}) => {
  const first = await openTab(context, channelId);
  await audience.join(channelId, 2);
  await first.watching.expectCount(3);
  const second = await openTab(context, channelId);
  await audience.join(channelId);
  await second.watching.expectCount(4);
  await first.watching.expectCount(4);
  expect(first.calls.streams).toHaveLength(1);
  expect(second.calls.streams).toHaveLength(0);
});

test("two badges on one page open one stream", async ({ page, channelId, audience, newHost, baseURL }) => {
  const address = new URL(embedPath(channelId, true), baseURL).href;
  const frame = `<iframe src="${address}" title="Player" width="320" height="180"></iframe>`;
  const host = await newHost(frame + frame);
  const calls = new Calls(page);
  await page.goto(host.sameSite);
  await audience.expectCount(channelId, 1);
  await audience.join(channelId);
  for (const nth of [0, 1]) {
    await new Badge(page.frameLocator("iframe").nth(nth)).expectCount(2);
  }
  expect(calls.streams).toHaveLength(1);
});

for (const how of ["closes", "crashes", "goes elsewhere", "is frozen"] as const) {
  test(`when the tab with the stream ${how}, the others go on without a blink`, async ({
    context,
    channelId,
    audience,
    browserName,
    faults,
  }) => {
    test.skip(
      browserName !== "chromium" && (how === "crashes" || how === "is frozen"),
      "only Chromium can be told to",
    );
    const [leader, second, third] = [
      await openTab(context, `${channelId}-a`),
      await openTab(context, `${channelId}-b`),
      await openTab(context, `${channelId}-c`),
    ];
    await expect.poll(() => leader.calls.streams.length).toBeGreaterThan(0);
    if (how === "closes") {
      await leader.page.close();
    } else if (how === "goes elsewhere") {
      await leader.page.goto("about:blank");
    } else if (how === "is frozen") {
      await freeze(leader.page);
    } else {
      faults.expect(/crash/i);
      const session = await context.newCDPSession(leader.page);
      void session.send("Page.crash").catch(() => undefined);
    }
    for (const { watching } of [second, third]) {
      const channel = watching === second.watching ? `${channelId}-b` : `${channelId}-c`;
      await audience.join(channel);
      await watching.expectCount(2);
    }
    for (const { page } of [second, third]) {
      expect((await badgeHistory(page)).map(({ state, number }) => `${state} ${number}`)).toEqual([
        "live 1",
        "live 2",
      ]);
    }
    expect([second, third].filter(({ calls }) => calls.streams.length > 0)).toHaveLength(1);
  });
}

test("a new tab does not wait for one that hangs with the stream", async ({
  context,
  channelId,
  audience,
}) => {
  const leader = await openTab(context, `${channelId}-a`);
  await expect.poll(() => leader.calls.streams.length).toBe(1);
  void leader.page
    .evaluate(() => {
      for (const end = Date.now() + 60_000; Date.now() < end;);
    })
    .catch(() => undefined);
  const late = await openTab(context, `${channelId}-b`);
  await audience.join(`${channelId}-b`);
  await late.watching.expectCount(2);
  expect(late.calls.streams).toHaveLength(1);
});

test("where tabs can't share a stream, over plain HTTP, each has its own", async ({
  context,
  channelId,
  audience,
  baseURL,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "the second name of this machine is a setting of Chromium");
  const address = new URL(baseURL ?? "");
  test.skip(address.hostname !== "127.0.0.1", "the second name leads to this machine only");
  address.hostname = "viewer.test";
  for (const channel of [`${channelId}-a`, `${channelId}-b`]) {
    const page = await context.newPage();
    const calls = new Calls(page);
    await page.goto(new URL(channel, address).href);
    await audience.expectCount(channel, 1);
    await audience.join(channel);
    await new ChannelPage(page).expectCount(2);
    expect(calls.streams).toHaveLength(1);
  }
});
