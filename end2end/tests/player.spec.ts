/**
 * The player with a real stream: HLS, which Chromium plays by itself, from the site's own address and from another.
 */

import { expect, test } from "../fixtures/index.ts";
import { serveStream } from "../fixtures/hls.ts";
import { embedPath } from "../pages/embed-page.ts";

for (const [place, origin] of [
  ["the site's own address", ""],
  ["another origin", "https://stream.test"],
] as const) {
  test(`a stream from ${place} plays by itself on the channel page and in the player`, async ({
    page,
    channelId,
    newServer,
    browserName,
  }) => {
    test.skip(browserName === "firefox", "Firefox on desktops plays no HLS by itself");
    const server = await newServer({ STREAM_URL_TEMPLATE: `${origin}/hls/{channel}/index.m3u8` });
    const prefix = `${origin || server.url}/hls/${channelId}`;
    const asked = await serveStream(page, prefix);
    for (const path of [`/${channelId}`, embedPath(channelId), embedPath(channelId, true)]) {
      await page.goto(server.url + path);
      const video = page.locator("video");
      await expect(video).toHaveJSProperty("currentSrc", `${prefix}/index.m3u8`);
      await expect
        .poll(() => video.evaluate((video: HTMLVideoElement) => video.currentTime))
        .toBeGreaterThan(0.2);
      await expect(video).toHaveJSProperty("error", null);
      await expect(video).toHaveJSProperty("videoWidth", 160);
    }
    expect(new Set(asked)).toContain(`${prefix}/1.m4s`);
  });
}

test("where the stream can't be had, what lies behind the video says so", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(/404/);
  const server = await newServer({ STREAM_URL_TEMPLATE: "https://stream.test/{channel}/index.m3u8" });
  await page.route("https://stream.test/**", (route) => route.fulfill({ status: 404 }));
  await page.goto(`${server.url}/${channelId}`);
  await expect
    .poll(() => page.locator("video").evaluate((video: HTMLVideoElement) => video.error?.code))
    .toBe(4);
  await expect(page.locator(".player__poster")).toBeVisible();
  await expect(page.locator(".player__poster")).toHaveText(/no la reproduce/);
});
