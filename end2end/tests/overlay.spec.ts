/**
 * The overlay as the server renders it: with and without JavaScript.
 */

import { expect, test } from "../fixtures/index.ts";
import { OverlayPage } from "../pages/overlay-page.ts";

test("the overlay shows the count of the channel and counts nobody", async ({
  page,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 3);
  const overlay = new OverlayPage(page);
  await overlay.goto(channelId);
  await overlay.badge.expectCount(3);
  await expect(overlay.badge.root).toHaveAccessibleName("3 espectadores");
  await expect(page.locator("body")).toHaveText("3");
  expect(await audience.count(channelId)).toBe(3);
});

test("nothing but the badge is painted", async ({ page, channelId, audience }) => {
  await audience.join(channelId);
  await page.setViewportSize({ width: 800, height: 600 });
  const overlay = new OverlayPage(page);
  await overlay.goto(channelId);
  for (const element of ["html", "body", "main"]) {
    await expect(page.locator(element)).toHaveCSS("background-color", "rgba(0, 0, 0, 0)");
  }
  await expect(page.locator("body")).toHaveCSS("overflow", "hidden");
  await expect(overlay.badge.root).toHaveCSS("background-color", "rgb(220, 38, 38)");
  const box = (await overlay.badge.root.boundingBox())!;
  expect(box.x).toBe(16);
  expect(box.y).toBe(16);
  expect(box.height).toBeGreaterThan(40);
});

test("forced colors change nothing: the audience sees the stream, and not this machine", async ({
  newVisitor,
  channelId,
  audience,
  javaScriptEnabled,
}) => {
  await audience.join(channelId);
  const page = await newVisitor({ forcedColors: "active", javaScriptEnabled });
  const overlay = new OverlayPage(page);
  await overlay.goto(channelId);
  await expect(overlay.badge.root).toHaveCSS("background-color", "rgb(220, 38, 38)");
  await expect(page.locator("html")).toHaveCSS("background-color", "rgba(0, 0, 0, 0)");
});

test("an invalid name is explained", async ({ page, faults }) => {
  faults.expect(/404/);
  await page.goto("/overlay/no%20name");
  await expect(page.locator(".overlay__error")).toContainText("Nombre de canal no válido");
});
