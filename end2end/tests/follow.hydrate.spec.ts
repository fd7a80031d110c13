/**
 * The follow button with JavaScript: it changes at once, shows the server's response, and keeps its state across loads.
 */

import { newGate } from "../fixtures/gate.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

/** The body of a request to follow or unfollow. */
interface FollowBody {
  viewerId: string;
  follow: boolean;
}

test("the button shows after a reload that the browser follows the channel", async ({ page, channelId }) => {
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await expect(channelPage.follow.root).toHaveAttribute("aria-pressed", "false");
  await channelPage.follow.press();
  await expect(channelPage.follow.root).toHaveAttribute("aria-pressed", "true");
  const html = await channelPage.goto(channelId);
  expect(html).not.toContain("aria-pressed");
  await expect(channelPage.follow.root).toHaveAttribute("aria-pressed", "true");
  await channelPage.follow.expectToShow(true, 1);
});

test("the button changes at once, and the last of many clicks wins", async ({ page, channelId }) => {
  const requests: boolean[] = [];
  const gate = newGate();
  await page.route("**/api/channel/follow", async (route) => {
    requests.push((route.request().postDataJSON() as FollowBody).follow);
    await gate.opened;
    await route.continue();
  });
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.follow.root.click();
  await channelPage.follow.expectToShow(true, 1);
  await channelPage.follow.root.click();
  await channelPage.follow.expectToShow(false, 0);
  await channelPage.follow.root.click();
  await channelPage.follow.root.click();
  gate.open();
  await expect.poll(() => requests).toEqual([true, false]);
  await channelPage.follow.expectToShow(false, 0);
});

test("if the request fails, the button returns to its previous state", async ({
  page,
  channelId,
  faults,
}) => {
  faults.expect(/503/);
  await page.route("**/api/channel/follow", (route) => route.fulfill({ status: 503 }), { times: 1 });
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.follow.press();
  await channelPage.follow.expectToShow(false, 0);
  await channelPage.follow.press();
  await channelPage.follow.expectToShow(true, 1);
});

test("a form submitted before the script loads makes the same viewer a follower", async ({
  page,
  context,
  channelId,
  faults,
}) => {
  faults.expect(/follow-button\.js/);
  await page.route("**/follow-button.js", (route) => route.abort(), { times: 1 });
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.follow.root.click();
  await expect(channelPage.follow.root).toHaveAttribute("aria-pressed", "true");
  await expect(page).toHaveURL(`/${channelId}`);
  await channelPage.follow.expectToShow(true, 1);
  expect((await context.cookies()).every(({ httpOnly }) => httpOnly)).toBe(true);
  await channelPage.follow.press();
  await channelPage.follow.expectToShow(false, 0);
});

test("the follow request contains the viewer id of the page's join", async ({ page, channelId }) => {
  const join = page.waitForRequest("**/api/viewer/join");
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  const viewer = ((await join).postDataJSON() as FollowBody).viewerId;
  const follow = page.waitForRequest("**/api/channel/follow");
  await channelPage.follow.press();
  expect(((await follow).postDataJSON() as FollowBody).viewerId).toBe(viewer);
});

test("a follow without JavaScript is shown when JavaScript is enabled later", async ({
  browser,
  channelId,
}) => {
  const before = await browser.newContext({ javaScriptEnabled: false });
  const plain = new ChannelPage(await before.newPage());
  await plain.goto(channelId);
  await plain.follow.root.click();
  await expect(plain.page).toHaveURL(`/${channelId}`);
  const context = await browser.newContext({ storageState: await before.storageState() });
  const later = new ChannelPage(await context.newPage());
  await later.goto(channelId);
  await later.follow.expectToShow(true, 1);
  await later.follow.press();
  await later.follow.expectToShow(false, 0);
  await before.close();
  await context.close();
});

test("following in one tab updates the other tabs", async ({ context, channelId }) => {
  const [one, two] = [new ChannelPage(await context.newPage()), new ChannelPage(await context.newPage())];
  await one.goto(channelId);
  await two.goto(channelId);
  await one.follow.press();
  await two.follow.expectToShow(true, 1);
  await two.follow.press();
  await one.follow.expectToShow(false, 0);
});

test("the server's state replaces an outdated state in localStorage", async ({
  context,
  page,
  channelId,
}) => {
  await context.addInitScript((channel) => localStorage.setItem(`aforo.follows.${channel}`, "1"), channelId);
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.follow.expectToShow(false, 0);
  await expect(channelPage.follow.root).toHaveAttribute("aria-pressed", "false");
});
