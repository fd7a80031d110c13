/**
 * A real live stream in browsers as people have them: the page plays it, and is counted meanwhile. Chromium is tried with
 * both of its ways to play in `tests/broadcast.hydrate.spec.ts`.
 */

import { STREAM_URL_TEMPLATE, Studio } from "../fixtures/broadcast.ts";
import { expect, test } from "./fixtures/index.ts";

test("a broadcast plays while its viewer is counted, and the page says when it is over", async ({
  engine,
  newServer,
  channelId,
  openStream,
  newTab,
}) => {
  test.skip(
    engine !== "firefox",
    "Chromium is tried elsewhere; WebKitGTK plays by GStreamer, whose plugins vary",
  );
  test.setTimeout(180_000);
  const server = await newServer({ STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32" });
  const stream = await openStream(channelId, server);
  const studio = await Studio.open(server.url);
  try {
    const tab = await newTab();
    await tab.goto(`${studio.url}/${channelId}`);
    const state = () => tab.run<string>(`return document.querySelector(".player").dataset.state`);
    await expect.poll(state, { timeout: 60_000 }).toBe("off-air");
    await stream.expectCount(1);
    studio.publish(channelId, 320);
    const picture = () =>
      tab.run<boolean>(`
        const video = document.querySelector("video");
        return video.currentTime > 0.2 && video.videoWidth === 320`);
    await expect.poll(picture, { timeout: 60_000 }).toBe(true);
    expect(await state()).toBe("playing");
    await stream.expectToStay(1);
    await studio.stop();
    await expect.poll(state, { timeout: 60_000 }).toBe("off-air");
    await tab.close();
    await stream.expectCount(0);
  } finally {
    await studio.close();
  }
});
