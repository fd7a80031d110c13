/**
 * A real broadcast in Firefox: the page plays it and is counted. `tests/broadcast.hydrate.spec.ts` tests Chromium, with
 * native HLS and with hls.js.
 */

import { Broadcast, STREAM_URL_TEMPLATE } from "../fixtures/broadcast.ts";
import { expect, test } from "./fixtures/index.ts";

test("a broadcast plays while its viewer is counted, and the player shows when it ends", async ({
  engine,
  newServer,
  channelId,
  openStream,
  newTab,
}) => {
  test.skip(
    engine !== "firefox",
    "another spec tests Chromium; WebKitGTK depends on the installed GStreamer plugins",
  );
  test.setTimeout(180_000);
  const server = await newServer({ STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32" });
  const stream = await openStream(channelId, server);
  const broadcast = await Broadcast.open(server.url);
  try {
    const tab = await newTab();
    await tab.goto(`${broadcast.url}/${channelId}`);
    const state = () => tab.run<string>(`return document.querySelector(".player").dataset.state`);
    await expect.poll(state, { timeout: 60_000 }).toBe("off-air");
    await stream.expectCount(1);
    broadcast.publish(channelId, 320);
    const picture = () =>
      tab.run<boolean>(`
        const video = document.querySelector("video");
        return video.currentTime > 0.2 && video.videoWidth === 320`);
    await expect.poll(picture, { timeout: 60_000 }).toBe(true);
    // hls.js moves to the live edge before playback starts, so a picture can be there before the event `playing`.
    await expect.poll(state).toBe("playing");
    await stream.expectToStay(1);
    await broadcast.stop();
    await expect.poll(state, { timeout: 60_000 }).toBe("off-air");
    await tab.close();
    await stream.expectCount(0);
  } finally {
    await broadcast.close();
  }
});
