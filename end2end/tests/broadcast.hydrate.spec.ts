/**
 * A live stream from a real camera's point of view: ffmpeg publishes to nginx, and the page plays what comes, is counted
 * meanwhile, and is never reloaded.
 */

import { STREAM_URL_TEMPLATE, Studio } from "../fixtures/broadcast.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { Player } from "../pages/player.ts";

for (const engine of ["the browser itself", "hls.js"] as const) {
  test(`a broadcast that starts, stops and starts again is played by ${engine}`, async ({
    page,
    channelId,
    newServer,
    faults,
  }) => {
    test.setTimeout(240_000);
    // The channel is off air at first. In the middle of the end, segments are missing too.
    faults.expect(/404|ERR_ABORTED/);
    const type = "application/vnd.apple.mpegurl";
    const isNative = await page.evaluate((type) => document.createElement("video").canPlayType(type), type);
    test.skip(engine === "the browser itself" && !isNative, "this browser plays no HLS by itself");
    if (engine === "hls.js") {
      await page.addInitScript(() => {
        HTMLMediaElement.prototype.canPlayType = () => "";
      });
    }
    const server = await newServer({ STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32" });
    const studio = await Studio.open(server.url);
    try {
      let loads = 0;
      page.on("load", () => (loads += 1));
      await page.goto(`${studio.url}/${channelId}`);
      const player = new Player(page);
      const { badge } = new ChannelPage(page);
      await player.expectState("off-air");
      await badge.expectCount(1);
      for (const width of [320, 426]) {
        studio.publish(channelId, width);
        await player.expectState("playing");
        await player.expectPicture(width);
        await badge.expectCount(1);
        await studio.stop();
        await player.expectState("off-air");
        await expect(player.message).toContainText("El canal no está en vivo");
      }
      await badge.expectCount(1);
      expect(loads).toBe(1);
    } finally {
      await page.close();
      await studio.close();
    }
  });
}
