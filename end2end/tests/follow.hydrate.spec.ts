/**
 * The follow button where scripts run: it answers at once, remembers, and settles with the server.
 */

import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

interface Wish {
  viewerId: string;
  follow: boolean;
}

test("the browser remembers what it follows", async ({ page, channelId }) => {
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await expect(watching.follow.root).toHaveAttribute("aria-pressed", "false");
  await watching.follow.press();
  await expect(watching.follow.root).toHaveAttribute("aria-pressed", "true");
  const html = await watching.goto(channelId);
  expect(html).not.toContain("aria-pressed");
  await expect(watching.follow.root).toHaveAttribute("aria-pressed", "true");
  await watching.follow.expectToShow(true, 1);
});

test("it answers at once, and the last of many wishes is the one that stays", async ({ page, channelId }) => {
  const wishes: boolean[] = [];
  let answer = () => {};
  const mayAnswer = new Promise<void>((done) => (answer = done));
  await page.route("**/api/channel/follow", async (route) => {
    wishes.push((route.request().postDataJSON() as Wish).follow);
    await mayAnswer;
    await route.continue();
  });
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.follow.root.click();
  await watching.follow.expectToShow(true, 1);
  await watching.follow.root.click();
  await watching.follow.expectToShow(false, 0);
  await watching.follow.root.click();
  await watching.follow.root.click();
  answer();
  await expect.poll(() => wishes).toEqual([true, false]);
  await watching.follow.expectToShow(false, 0);
});

test("when the server refuses, everything is as before", async ({ page, channelId, faults }) => {
  faults.expect(/503/);
  await page.route("**/api/channel/follow", (route) => route.fulfill({ status: 503 }), { times: 1 });
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.follow.press();
  await watching.follow.expectToShow(false, 0);
  await watching.follow.press();
  await watching.follow.expectToShow(true, 1);
});

test("a form that was sent before the script ran is taken over: one browser, one follower", async ({
  page,
  context,
  channelId,
  faults,
}) => {
  faults.expect(/follow-button\.js/);
  await page.route("**/follow-button.js", (route) => route.abort(), { times: 1 });
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.follow.root.click();
  await expect(watching.follow.root).toHaveAttribute("aria-pressed", "true");
  await expect(page).toHaveURL(`/${channelId}`);
  await watching.follow.expectToShow(true, 1);
  expect((await context.cookies()).every(({ httpOnly }) => httpOnly)).toBe(true);
  await watching.follow.press();
  await watching.follow.expectToShow(false, 0);
});

test("it follows by the id by which the page is a viewer", async ({ page, channelId }) => {
  const join = page.waitForRequest("**/api/viewer/join");
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  const viewer = ((await join).postDataJSON() as Wish).viewerId;
  const follow = page.waitForRequest("**/api/channel/follow");
  await watching.follow.press();
  expect(((await follow).postDataJSON() as Wish).viewerId).toBe(viewer);
});

test("a link that was shared with the fragment of a form says nothing of who opens it", async ({
  page,
  channelId,
}) => {
  const asked = page.waitForResponse("**/api/channel/follow/*");
  await page.goto(`/${channelId}#following`);
  await asked;
  const { follow } = new ChannelPage(page);
  await expect(follow.root).toHaveAttribute("aria-pressed", "false");
  await follow.expectToShow(false, 0);
  await expect(page).toHaveURL(`/${channelId}`);
});

test("what a form without a script has done is known to a script later", async ({ browser, channelId }) => {
  const before = await browser.newContext({ javaScriptEnabled: false });
  const plain = new ChannelPage(await before.newPage());
  await plain.goto(channelId);
  await plain.follow.root.click();
  await expect(plain.page).toHaveURL(`/${channelId}#following`);
  const context = await browser.newContext({ storageState: await before.storageState() });
  const later = new ChannelPage(await context.newPage());
  await later.goto(channelId);
  await later.follow.expectToShow(true, 1);
  await later.follow.press();
  await later.follow.expectToShow(false, 0);
  await before.close();
  await context.close();
});

test("another tab shows what this one does", async ({ context, channelId }) => {
  const [one, two] = [new ChannelPage(await context.newPage()), new ChannelPage(await context.newPage())];
  await one.goto(channelId);
  await two.goto(channelId);
  await one.follow.press();
  await two.follow.expectToShow(true, 1);
  await two.follow.press();
  await one.follow.expectToShow(false, 0);
});

test("what the server has forgotten is not shown", async ({ context, page, channelId }) => {
  await context.addInitScript((channel) => localStorage.setItem(`aforo.follows.${channel}`, "1"), channelId);
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.follow.expectToShow(false, 0);
  await expect(watching.follow.root).toHaveAttribute("aria-pressed", "false");
});
