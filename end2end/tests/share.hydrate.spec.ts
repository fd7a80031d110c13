/**
 * The share box of the channel page: copying the embed code and the link, and sharing the link.
 */

import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

test("the copied embed code has absolute URLs and works on another site", async ({
  page,
  context,
  channelId,
  newHost,
  baseURL,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "only in Chromium can tests read the clipboard");
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.clock.install();
  await new ChannelPage(page).goto(channelId);
  const copy = page.locator('[data-copy="share-code"]');
  // The button says it for two seconds only.
  await page.clock.pauseAt(Date.now() + 60_000);
  await copy.click();
  await expect(copy).toHaveText("Copiado");
  await expect(page.locator("share-box [role=status]")).toHaveText("Copiado");
  await page.clock.resume();
  await expect(copy).toHaveText("Copiar");
  const code = await page.evaluate(() => navigator.clipboard.readText());
  expect(code).toContain(`<iframe src="${baseURL}/embed/${channelId}?counter=1"`);
  const host = await newHost(code);
  await page.goto(host.sameSite);
  await expect(page.frameLocator("iframe").locator(".viewer-counter")).toBeVisible();
});

test("the share button uses navigator.share, and copying works without the Clipboard API", async ({
  page,
  channelId,
  baseURL,
}) => {
  await page.addInitScript(() => {
    const shared: ShareData[] = [];
    Object.assign(window, { shared });
    Object.defineProperty(navigator, "share", {
      value: (data: ShareData) => (shared.push(data), Promise.resolve()),
    });
    // Plain HTTP has no Clipboard API.
    Object.defineProperty(navigator, "clipboard", { value: undefined });
    document.execCommand = (command) => (shared.push({ title: command }), true);
  });
  await new ChannelPage(page).goto(channelId);
  await page.locator("[data-share]").click();
  await page.locator('[data-copy="share-link"]').click();
  await expect
    .poll(() => page.evaluate(() => (window as unknown as { shared: ShareData[] }).shared))
    .toEqual([{ title: channelId, url: `${baseURL}/${channelId}` }, { title: "copy" }]);
});
