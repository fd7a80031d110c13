/**
 * The look of the embedded player in frames of any size and on any background.
 */

import type { Browser } from "@playwright/test";

import { expect, test } from "../fixtures/index.ts";
import { EmbedPage, embedPath } from "../pages/embed-page.ts";

for (const [width, height] of [
  [160, 90],
  [320, 180],
  [1280, 720],
  [400, 400],
  [800, 200],
] as const) {
  test(`in a frame of ${width}×${height} the player is 16:9 and completely visible`, async ({
    page,
    channelId,
  }) => {
    await page.setViewportSize({ width, height });
    const embed = new EmbedPage(page);
    await embed.goto(channelId, true);
    const player = (await embed.player.boundingBox())!;
    expect(player.width / player.height).toBeCloseTo(16 / 9, 1);
    expect(Math.max(player.width / width, player.height / height)).toBeCloseTo(1, 2);
    const badge = (await embed.badge.root.boundingBox())!;
    expect(badge.x + badge.width).toBeLessThan(width / 2);
    expect(badge.y + badge.height).toBeLessThan(height / 2);
    const overflow = await page.evaluate(() => [
      document.documentElement.scrollWidth - innerWidth,
      document.documentElement.scrollHeight - innerHeight,
    ]);
    expect(Math.max(...overflow)).toBeLessThanOrEqual(0);
  });
}

test("with ?transparent=1 the background behind the frame is visible", async ({
  page,
  channelId,
  newHost,
  baseURL,
}) => {
  const frame = (query: string) =>
    `<iframe src="${baseURL}${embedPath(channelId)}${query}" title="Player" width="320" height="180"></iframe>`;
  for (const [query, color] of [
    ["?transparent=1", [0, 128, 0]],
    ["", [12, 10, 9]],
  ] as const) {
    const host = await newHost(`<style>body{margin:0;background:rgb(0,128,0)}</style>${frame(query)}`);
    await page.goto(host.sameSite);
    await expect(page.frameLocator("iframe").locator(".player")).toBeVisible();
    const shot = await page.screenshot({ clip: { x: 2, y: 2, width: 1, height: 1 } });
    // Decoding the image needs a page with JavaScript.
    expect(await pixel(shot.toString("base64"), page.context().browser()!)).toEqual(color);
  }
});

/** The color of the first pixel of a PNG image. */
async function pixel(png: string, browser: Browser): Promise<number[]> {
  const page = await browser.newPage({ javaScriptEnabled: true });
  const color = await page.evaluate(async (png) => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = document.createElement("canvas").getContext("2d")!;
    canvas.drawImage(image, 0, 0);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }, png);
  await page.close();
  return color;
}
