/**
 * Following a channel, with and without JavaScript.
 */

import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("pressing the heart follows, and pressing it again doesn't any more", async ({ page, channelId }) => {
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.follow.expectToShow(false, 0);
  await watching.follow.press();
  await watching.follow.expectToShow(true, 1);
  await expect(page).toHaveURL(new RegExp(`/${channelId}(#following)?$`));
  await watching.follow.press();
  await watching.follow.expectToShow(false, 0);
});

test("each browser is a follower of its own, and the number is in the server's HTML", async ({
  newVisitor,
  channelId,
}) => {
  for (const followers of [1, 2]) {
    const watching = new ChannelPage(await newVisitor());
    await watching.goto(channelId);
    await watching.follow.press();
    await watching.follow.expectToShow(true, followers);
  }
  const html = await new ChannelPage(await newVisitor()).goto(channelId);
  expect(html).toMatch(/<span class="follow-button__number">2(<!>)?<\/span>/);
});

test("the button is named for screen readers and has a heart of 20 px", async ({ page, channelId }) => {
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await expect(watching.follow.root).toHaveRole("button");
  await expect(watching.follow.root).toHaveAccessibleName("Seguir este canal. Seguidores: 0");
  await expect(watching.follow.heart).toHaveCSS("width", "20px");
  await expect(watching.follow.heart).toHaveCSS("height", "20px");
});
