/**
 * Hydration while the count changes under it: the HTML may be older than the first news, and neither the browser's
 * console nor the badge may show that. What the console says is watched in every test of this suite.
 */

import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

const LOADS = 20;

for (const locale of ["es-ES", "en-US", "pt-BR"]) {
  test(`the page for ${locale} hydrates ${LOADS} times while viewers come and go`, async ({
    newVisitor,
    channelId,
    audience,
  }) => {
    const watching = new ChannelPage(await newVisitor({ locale }));
    await audience.join(channelId, 2);
    let over = false;
    const comingAndGoing = (async () => {
      while (!over) {
        await audience.leave();
        await audience.join(channelId);
      }
    })();
    for (let load = 0; load < LOADS; load += 1) {
      await watching.join(channelId);
      expect(await watching.badge.state()).toBe("live");
      expect(await watching.badge.count()).toBeGreaterThan(0);
    }
    over = true;
    await comingAndGoing;
    await watching.expectCount(3);
  });
}

test("hydration loads each file once", async ({ page, channelId }) => {
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  const loaded = await page.evaluate(() =>
    performance.getEntriesByType("resource").map((entry) => new URL(entry.name).pathname),
  );
  const files = loaded.filter((path) => path.startsWith("/pkg/"));
  expect(files.filter((path) => path.endsWith(".wasm"))).toHaveLength(1);
  expect(new Set(files).size).toBe(files.length);
});
