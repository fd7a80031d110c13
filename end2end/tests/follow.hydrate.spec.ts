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
