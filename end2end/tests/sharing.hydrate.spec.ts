/**
 * All pages of a browser share one stream: channel pages, which run WebAssembly, and the home page and
 * `<viewer-counter>`, which run JavaScript.
 */

import type { BrowserContext, Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { fakeVisibility, hang, setHidden } from "../fixtures/conditions.ts";
import { NOT_LOADED } from "../fixtures/faults.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeTexts, recordBadge } from "../fixtures/probes.ts";
import { viewerCounter } from "../fixtures/widget.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { HomePage } from "../pages/home-page.ts";

interface Tab {
  page: Page;
  calls: Calls;
}

const newTab = async (context: BrowserContext): Promise<Tab> => {
  const page = await context.newPage();
  return { page, calls: new Calls(page) };
};

const openStreams = (tabs: Tab[]) => tabs.reduce((sum, { calls }) => sum + calls.openStreams, 0);

test("a channel page loads beside six home pages, and all share one stream", async ({
  context,
  channelId,
  audience,
}) => {
  const [listed, watched] = [`${channelId}-listed`, `${channelId}-watched`];
  await audience.join(listed, 30);
  const homes: Tab[] = [];
  for (let i = 0; i < 6; i += 1) {
    const tab = await newTab(context);
    await new HomePage(tab.page).goto();
    await expect(new HomePage(tab.page).badge(listed)).toHaveAttribute("data-state", "live");
    homes.push(tab);
  }
  // Over HTTP/1.1 a browser opens at most six connections to a host.
  const tab = await newTab(context);
  const channelPage = new ChannelPage(tab.page);
  await channelPage.join(watched);
  await audience.join(watched);
  await channelPage.expectCount(2);
  await audience.join(listed);
  for (const { page } of homes) {
    await expect(new HomePage(page).badge(listed)).toHaveAccessibleName("31 espectadores");
  }
  await expect.poll(() => openStreams([...homes, tab])).toBe(1);
  // The tab with the stream is among the closed ones. Another tab opens the stream.
  for (const { page } of homes.slice(0, 5)) await page.close();
  await audience.join(watched);
  await channelPage.expectCount(3);
  await expect.poll(() => openStreams([homes[5]!, tab])).toBe(1);
});

test("a home page takes over the stream of a closed channel page, and vice versa", async ({
  context,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 30);
  const channel = await newTab(context);
  await new ChannelPage(channel.page).join(channelId);
  const home = await newTab(context);
  await new HomePage(home.page).goto();
  await expect(new HomePage(home.page).badge(channelId)).toHaveAccessibleName("31 espectadores");
  // A page has a stream of its own until it has loaded the shared one.
  await expect.poll(() => [channel.calls.openStreams, home.calls.openStreams]).toEqual([1, 0]);
  await channel.page.close();
  await expect(new HomePage(home.page).badge(channelId)).toHaveAccessibleName("30 espectadores");
  await expect.poll(() => home.calls.openStreams).toBe(1);
  const again = await newTab(context);
  const channelPage = new ChannelPage(again.page);
  await channelPage.join(channelId);
  await channelPage.expectCount(31);
  await home.page.close();
  await audience.join(channelId);
  await channelPage.expectCount(32);
});

test("pages of another site with <viewer-counter> share one stream", async ({
  context,
  channelId,
  audience,
  newWidgetHost,
}) => {
  await audience.join(channelId, 3);
  const host = await newWidgetHost(viewerCounter(channelId));
  const tabs: Tab[] = [];
  for (let i = 0; i < 8; i += 1) {
    const tab = await newTab(context);
    await tab.page.goto(host.sameSite);
    await new Badge(tab.page).expectCount(3);
    tabs.push(tab);
  }
  await audience.join(channelId);
  for (const { page } of tabs) await new Badge(page).expectCount(4);
  await expect.poll(() => openStreams(tabs)).toBe(1);
});

test("a page loads the shared stream only when another tab reads too, and its number does not flicker", async ({
  context,
  channelId,
  audience,
  newWidgetHost,
}) => {
  await audience.join(channelId, 3);
  const host = await newWidgetHost(viewerCounter(channelId));
  const first = await newTab(context);
  const scripts: string[] = [];
  first.page.on("request", (request) => scripts.push(new URL(request.url()).pathname));
  await recordBadge(first.page);
  await first.page.goto(host.sameSite);
  await new Badge(first.page).expectCount(3);
  expect(scripts).not.toContain("/stream.js");
  const second = await newTab(context);
  await recordBadge(second.page);
  await second.page.goto(host.sameSite);
  await new Badge(second.page).expectCount(3);
  await expect.poll(() => scripts).toContain("/stream.js");
  await expect.poll(() => openStreams([first, second])).toBe(1);
  await audience.join(channelId);
  for (const { page } of [first, second]) {
    await new Badge(page).expectCount(4);
    expect(await badgeTexts(page)).toEqual(["live 3", "live 4"]);
  }
});

test("tabs that can't load the shared stream stay live, each by its own stream", async ({
  context,
  channelId,
  audience,
  newWidgetHost,
  faults,
}) => {
  faults.expect(NOT_LOADED);
  await context.route("**/stream.js*", (route) => route.abort());
  const host = await newWidgetHost(viewerCounter(channelId));
  const tabs = [await newTab(context), await newTab(context)];
  for (const { page } of tabs) {
    await page.goto(host.sameSite);
    await new Badge(page).expectCount(0);
  }
  await audience.join(channelId);
  for (const { page } of tabs) await new Badge(page).expectCount(1);
  await context.unroute("**/stream.js*");
  await expect.poll(() => openStreams(tabs), { timeout: 60_000 }).toBe(1);
});

test("a tab that is shown again while no other tab reads loads no other script", async ({
  page,
  channelId,
  newWidgetHost,
}) => {
  const scripts: string[] = [];
  page.on("request", (request) => scripts.push(new URL(request.url()).pathname));
  await fakeVisibility(page);
  const calls = new Calls(page);
  const host = await newWidgetHost(viewerCounter(channelId));
  await page.goto(host.sameSite);
  const badge = new Badge(page);
  await badge.expectCount(0);
  await setHidden(page, true);
  await expect.poll(() => calls.openStreams).toBe(0);
  await expect(badge.root).toHaveAttribute("data-state", "stale");
  await setHidden(page, false);
  await expect(badge.root).toHaveAttribute("data-state", "live");
  expect(calls.openStreams).toBe(1);
  expect(scripts).not.toContain("/stream.js");
});

test("a page that is not counted has no stream while it is hidden", async ({ page, channelId, audience }) => {
  await audience.join(channelId, 30);
  await fakeVisibility(page);
  const calls = new Calls(page);
  const home = new HomePage(page);
  await home.goto();
  await expect.poll(() => calls.openStreams).toBe(1);
  await setHidden(page, true);
  await expect.poll(() => calls.openStreams).toBe(0);
  await setHidden(page, false);
  await expect.poll(() => calls.openStreams).toBe(1);
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "live");
});

test("a page that is not counted and opens hidden opens no stream until it is shown", async ({
  page,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 30);
  await fakeVisibility(page, { hidden: true });
  const calls = new Calls(page);
  const home = new HomePage(page);
  await home.goto();
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "stale");
  expect(calls.streams).toEqual([]);
  await setHidden(page, false);
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "live");
});

test("a tab that is shown while the leader hangs gets the current count within ten seconds", async ({
  context,
  channelId,
  audience,
}) => {
  const leader = await newTab(context);
  await new ChannelPage(leader.page).join(`${channelId}-a`);
  await expect.poll(() => leader.calls.openStreams).toBe(1);
  const other = await newTab(context);
  await fakeVisibility(other.page);
  const channelPage = new ChannelPage(other.page);
  await channelPage.join(`${channelId}-b`);
  await channelPage.expectCount(1);
  expect(other.calls.streams).toEqual([]);
  await setHidden(other.page, true);
  await hang(leader.page, 80_000);
  await audience.join(`${channelId}-b`);
  await setHidden(other.page, false);
  // The page guarantees ten seconds; the rest is for busy machines. Without the guarantee it would take a minute.
  await expect.poll(() => channelPage.badge.count(), { timeout: 20_000 }).toBe(2);
});
