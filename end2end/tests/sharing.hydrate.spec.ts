/**
 * One stream for all pages of a browser, whatever they show and by whichever script: channel pages, which run WebAssembly,
 * the home page and the element, which don't.
 */

import type { BrowserContext, Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { pretend, setHidden } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
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

test("six home pages leave room for a channel page, over one stream", async ({
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
  // Over HTTP/1.1 a browser opens six connections to a host.
  const tab = await newTab(context);
  const watching = new ChannelPage(tab.page);
  await watching.join(watched);
  await audience.join(watched);
  await watching.expectCount(2);
  await audience.join(listed);
  for (const { page } of homes) {
    await expect(new HomePage(page).badge(listed)).toHaveAccessibleName("31 espectadores");
  }
  expect(openStreams([...homes, tab])).toBe(1);
  // Whichever has it goes, another opens it.
  for (const { page } of homes.slice(0, 5)) await page.close();
  await audience.join(watched);
  await watching.expectCount(3);
  await expect.poll(() => openStreams([homes[5]!, tab])).toBe(1);
});

test("a home page takes over from a channel page, and the other way round", async ({
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
  expect(channel.calls.openStreams).toBe(1);
  expect(home.calls.openStreams).toBe(0);
  await channel.page.close();
  await expect(new HomePage(home.page).badge(channelId)).toHaveAccessibleName("30 espectadores");
  expect(home.calls.openStreams).toBe(1);
  const again = await newTab(context);
  const watching = new ChannelPage(again.page);
  await watching.join(channelId);
  await watching.expectCount(31);
  await home.page.close();
  await audience.join(channelId);
  await watching.expectCount(32);
});

test("pages of another site with the element on them share one stream", async ({
  context,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  await audience.join(channelId, 3);
  const host = await newHost(
    `<viewer-counter channel="${channelId}"></viewer-counter><script type="module" src="${baseURL}/widget.js"></script>`,
  );
  const tabs: Tab[] = [];
  for (let i = 0; i < 8; i += 1) {
    const tab = await newTab(context);
    await tab.page.goto(host.sameSite);
    await new Badge(tab.page).expectCount(3);
    tabs.push(tab);
  }
  await audience.join(channelId);
  for (const { page } of tabs) await new Badge(page).expectCount(4);
  expect(openStreams(tabs)).toBe(1);
});

test("a page that only reads holds no stream while nobody sees it", async ({ page, channelId, audience }) => {
  await audience.join(channelId, 30);
  await pretend(page, { hidden: false, prerendering: false });
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

test("a page that opens out of sight opens no stream before it is seen", async ({
  page,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 30);
  await pretend(page, { hidden: true, prerendering: false });
  const calls = new Calls(page);
  const home = new HomePage(page);
  await home.goto();
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "stale");
  expect(calls.streams).toEqual([]);
  await setHidden(page, false);
  await expect(home.badge(channelId)).toHaveAttribute("data-state", "live");
});

test("a tab that comes into sight while the one with the stream hangs is right within ten seconds", async ({
  context,
  channelId,
  audience,
}) => {
  const leader = await newTab(context);
  await new ChannelPage(leader.page).join(`${channelId}-a`);
  await expect.poll(() => leader.calls.openStreams).toBe(1);
  const other = await newTab(context);
  await pretend(other.page, { hidden: false, prerendering: false });
  const watching = new ChannelPage(other.page);
  await watching.join(`${channelId}-b`);
  await watching.expectCount(1);
  expect(other.calls.streams).toEqual([]);
  await setHidden(other.page, true);
  void leader.page
    .evaluate(() => {
      for (const end = Date.now() + 80_000; Date.now() < end;);
    })
    .catch(() => undefined);
  await audience.join(`${channelId}-b`);
  const seen = Date.now();
  await setHidden(other.page, false);
  // Ten seconds are promised, the rest is for busy machines. It would otherwise take a minute.
  await expect.poll(() => watching.badge.count(), { timeout: 45_000 }).toBe(2);
  expect(Date.now() - seen).toBeLessThan(45_000);
});
