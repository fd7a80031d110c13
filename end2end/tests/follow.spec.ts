/**
 * Following a channel, with and without JavaScript.
 */

import { violations } from "../fixtures/accessibility.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("a click on the button follows the channel, and a second click unfollows it", async ({
  page,
  channelId,
}) => {
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.follow.expectToShow(false, 0);
  await channelPage.follow.press();
  await channelPage.follow.expectToShow(true, 1);
  await expect(page).toHaveURL(`/${channelId}`);
  await channelPage.follow.press();
  await channelPage.follow.expectToShow(false, 0);
});

test("each browser is a separate follower, and the server's HTML contains the number", async ({
  newVisitor,
  channelId,
}) => {
  for (const followers of [1, 2]) {
    const channelPage = new ChannelPage(await newVisitor());
    await channelPage.goto(channelId);
    await channelPage.follow.press();
    await channelPage.follow.expectToShow(true, followers);
  }
  const html = await new ChannelPage(await newVisitor()).goto(channelId);
  expect(html).toMatch(/<span class="follow-button__number">2(<!>)?<\/span>/);
});

test("a shared link does not show its visitor as a follower", async ({ page, newVisitor, channelId }) => {
  const follower = new ChannelPage(page);
  await follower.goto(channelId);
  await follower.follow.press();
  await follower.follow.expectToShow(true, 1);
  const visitor = new ChannelPage(await newVisitor());
  // Older versions redirected the follower to this fragment.
  for (const link of [page.url(), `/${channelId}#following`]) {
    await visitor.page.goto(link);
    await visitor.follow.expectToShow(false, 1);
  }
  await page.reload();
  await follower.follow.expectToShow(true, 1);
});

test("a pressed button is accessible", async ({ page, channelId, javaScriptEnabled }) => {
  test.skip(!javaScriptEnabled, "axe is a script");
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.follow.press();
  await channelPage.follow.expectToShow(true, 1);
  expect(await violations(page)).toEqual([]);
});

test("the button has an accessible name and a heart of 20 px", async ({ page, channelId }) => {
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await expect(channelPage.follow.root).toHaveRole("button");
  await expect(channelPage.follow.root).toHaveAccessibleName("Seguir este canal. Seguidores: 0");
  await expect(channelPage.follow.heart).toHaveCSS("width", "20px");
  await expect(channelPage.follow.heart).toHaveCSS("height", "20px");
});
