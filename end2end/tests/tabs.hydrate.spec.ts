/**
 * Tabs of one browser share one event stream. When a tab closes, crashes, freezes or hangs, the others continue.
 */

import type { BrowserContext } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { freeze, hang, setHeartbeatInterval } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeTexts, recordBadge } from "../fixtures/probes.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { embedPath } from "../pages/embed-page.ts";

/** Opens a tab with a channel and waits until the tab is counted. */
async function openTab(context: BrowserContext, channel: string) {
  const page = await context.newPage();
  const calls = new Calls(page);
  await recordBadge(page);
  const channelPage = new ChannelPage(page);
  await channelPage.join(channel);
  return { page, calls, channelPage };
}

test("eight tabs of eight channels load, are live and send heartbeats over one stream", async ({
  context,
  channelId,
  audience,
}) => {
  const channels = Array.from({ length: 8 }, (_, i) => `${channelId}-${i}`);
  const tabs = [];
  for (const channel of channels) {
    const page = await context.newPage();
    await setHeartbeatInterval(page, 1_000);
    const tab = { page, calls: new Calls(page), channelPage: new ChannelPage(page), channel };
    // With a stream per tab, the seventh tab would never load: browsers open at most six connections to a host.
    await tab.channelPage.join(channel);
    tabs.push(tab);
  }
  for (const { channel, channelPage, calls } of tabs) {
    await audience.join(channel);
    await channelPage.expectCount(2);
    const before = calls.heartbeats.length;
    await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(before);
    expect(await audience.count(channel)).toBe(2);
  }
  expect(tabs.filter(({ calls }) => calls.streams.length > 0)).toHaveLength(1);
});

test("a second tab of a channel gets its counts over the stream of the first tab", async ({
  context,
  channelId,
  audience,
}) => {
  const first = await openTab(context, channelId);
  await audience.join(channelId, 2);
  await first.channelPage.expectCount(3);
  const second = await openTab(context, channelId);
  await audience.join(channelId);
  await second.channelPage.expectCount(4);
  await first.channelPage.expectCount(4);
  expect(first.calls.streams).toHaveLength(1);
  expect(second.calls.streams).toHaveLength(0);
});

test("two frames with badges on one page share one stream", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
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

for (const event of ["closes", "crashes", "navigates away", "is frozen"] as const) {
  test(`when the tab with the stream ${event}, the badges of the other tabs stay live`, async ({
    context,
    channelId,
    audience,
    browserName,
    faults,
  }) => {
    test.skip(
      browserName !== "chromium" && (event === "crashes" || event === "is frozen"),
      "works only in Chromium",
    );
    const [leader, second, third] = [
      await openTab(context, `${channelId}-a`),
      await openTab(context, `${channelId}-b`),
      await openTab(context, `${channelId}-c`),
    ];
    await expect.poll(() => leader.calls.streams.length).toBeGreaterThan(0);
    if (event === "closes") {
      await leader.page.close();
    } else if (event === "navigates away") {
      await leader.page.goto("about:blank");
    } else if (event === "is frozen") {
      await freeze(leader.page);
    } else {
      faults.expect(/crash/i);
      const session = await context.newCDPSession(leader.page);
      void session.send("Page.crash").catch(() => undefined);
    }
    for (const { channelPage } of [second, third]) {
      const channel = channelPage === second.channelPage ? `${channelId}-b` : `${channelId}-c`;
      await audience.join(channel);
      await channelPage.expectCount(2);
    }
    for (const { page } of [second, third]) {
      expect(await badgeTexts(page)).toEqual(["live 1", "live 2"]);
    }
    expect([second, third].filter(({ calls }) => calls.streams.length > 0)).toHaveLength(1);
  });
}

test("a new tab opens its own stream if the tab with the stream hangs", async ({
  context,
  channelId,
  audience,
}) => {
  const leader = await openTab(context, `${channelId}-a`);
  await expect.poll(() => leader.calls.streams.length).toBe(1);
  await hang(leader.page, 60_000);
  const late = await openTab(context, `${channelId}-b`);
  await audience.join(`${channelId}-b`);
  await late.channelPage.expectCount(2);
  expect(late.calls.streams).toHaveLength(1);
});

test("over plain HTTP, where tabs can't share a stream, each tab is counted and live over its own", async ({
  context,
  channelId,
  audience,
  baseURL,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "only Chromium resolves the second name of this machine");
  const address = new URL(baseURL ?? "");
  test.skip(address.hostname !== "127.0.0.1", "the second name is for this machine only");
  address.hostname = "viewer.test";
  for (const channel of [`${channelId}-a`, `${channelId}-b`]) {
    const page = await context.newPage();
    const calls = new Calls(page);
    await page.goto(new URL(channel, address).href);
    expect(await page.evaluate(() => isSecureContext)).toBe(false);
    await audience.expectCount(channel, 1);
    await audience.join(channel);
    await new ChannelPage(page).expectCount(2);
    expect(calls.streams).toHaveLength(1);
  }
});
