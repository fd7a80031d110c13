/**
 * Tabs of real browsers, closed with Ctrl+W.
 */

import { expect, test } from "./fixtures/index.ts";

test("three tabs share one stream and are one viewer until the last tab closes", async ({
  server,
  channelId,
  audience,
  openStream,
  openChannel,
}) => {
  const stream = await openStream(channelId);
  const streams = async () => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^aforo_streams_open (\d+)$/m.exec(metrics)?.[1]) - 1;
  };
  const [leader, second, third] = [
    await openChannel(channelId),
    await openChannel(channelId),
    await openChannel(channelId),
  ];
  for (const each of [leader, second, third]) {
    await each.expectCount(1);
  }
  await expect.poll(streams, "open streams").toBe(1);
  await leader.tab.close();
  await stream.expectToStay(1);
  await audience.join(channelId);
  await second.expectCount(2);
  await third.expectCount(2);
  await expect.poll(streams, "open streams").toBe(1);
  await audience.leave();
  await second.tab.close();
  await third.tab.close();
  await stream.expectCount(0);
  expect(Math.max(...stream.counts)).toBe(2);
});

test("a closed tab leaves at once, even if it was open for only a moment", async ({
  channelId,
  audience,
  openChannel,
}) => {
  const waits = [0, 0, 50, 150, 400, 800, 1_200, 2_000, 2_000, 3_000];
  const channels = waits.map((_, nth) => `${channelId}-${nth}`);
  for (const [nth, channel] of channels.entries()) {
    const channelTab = await openChannel(channel);
    await audience.expectCount(channel, 1);
    await new Promise((passed) => setTimeout(passed, waits[nth]));
    await channelTab.tab.close();
  }
  await expect
    .poll(() => Promise.all(channels.map((channel) => audience.count(channel))))
    .toEqual(waits.map(() => 0));
});
