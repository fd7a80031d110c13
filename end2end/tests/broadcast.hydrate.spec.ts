/**
 * A real broadcast, published with ffmpeg through nginx: the page plays it without a reload, and is counted all the
 * time.
 */

import { Broadcast, STREAM_URL_TEMPLATE } from "../fixtures/broadcast.ts";
import { disableNativeHls } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { Player } from "../pages/player.ts";

for (const engine of ["native HLS", "hls.js"] as const) {
  test(`a broadcast that starts, stops and starts again plays with ${engine}`, async ({
    page,
    channelId,
    newServer,
    faults,
  }) => {
    test.setTimeout(240_000);
    // The playlist is missing while the channel is off air. Segments may be missing while the broadcast stops.
    faults.expect(/404|ERR_ABORTED/);
    const type = "application/vnd.apple.mpegurl";
    const isNative = await page.evaluate((type) => document.createElement("video").canPlayType(type), type);
    test.skip(engine === "native HLS" && !isNative, "this browser has no native HLS");
    if (engine === "hls.js") {
      await page.addInitScript(() => {
        HTMLMediaElement.prototype.canPlayType = () => "";
      });
    }
    const server = await newServer({ STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32" });
    const broadcast = await Broadcast.open(server.url);
    try {
      let loads = 0;
      page.on("load", () => (loads += 1));
      await page.goto(`${broadcast.url}/${channelId}`);
      const player = new Player(page);
      const { badge } = new ChannelPage(page);
      await player.expectState("off-air");
      await badge.expectCount(1);
      for (const width of [320, 426]) {
        broadcast.publish(channelId, width);
        await player.expectState("playing");
        await player.expectPicture(width);
        await badge.expectCount(1);
        await broadcast.stop();
        await player.expectState("off-air");
        await expect(player.message).toContainText("El canal no está en vivo");
      }
      await badge.expectCount(1);
      expect(loads).toBe(1);
    } finally {
      await page.close();
      await broadcast.close();
    }
  });
}

test("what the visitor has unmuted and paused stays paused when the broadcast is back, until a click", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  test.setTimeout(240_000);
  faults.expect(/404|ERR_ABORTED/);
  await disableNativeHls(page);
  const server = await newServer({ STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32" });
  const broadcast = await Broadcast.open(server.url);
  try {
    await page.goto(`${broadcast.url}/${channelId}`);
    const player = new Player(page);
    broadcast.publish(channelId, 320);
    await player.expectState("playing");
    // With a click, the page may play aloud.
    await player.video.click({ position: { x: 50, y: 50 } });
    await player.video.evaluate((video: HTMLVideoElement) => {
      video.muted = false;
      video.pause();
    });
    await broadcast.stop();
    await player.expectState("off-air");
    broadcast.publish(channelId, 426);
    await player.expectState("ready");
    await page.waitForTimeout(2_000);
    await expect(player.video).toHaveJSProperty("paused", true);
    await expect(player.video).toHaveJSProperty("muted", false);
    await player.video.evaluate((video: HTMLVideoElement) => video.play());
    await player.expectState("playing");
    await player.expectPicture(426);
    await expect(player.video).toHaveJSProperty("muted", false);
  } finally {
    await page.close();
    await broadcast.close();
  }
});
