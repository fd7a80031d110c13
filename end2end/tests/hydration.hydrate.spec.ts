/**
 * Hydration while the count changes: the HTML may be older than the first count, but this must not cause console
 * messages (which fail every test of this suite) or a wrong badge.
 */

import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";

// What depends on the language is the text of the badge, so the other languages need fewer loads.
const LOADS = { "es-ES": 20, "en-US": 6, "pt-BR": 6 };

for (const [locale, loads] of Object.entries(LOADS)) {
  test(`the page for ${locale} hydrates without faults while viewers join and leave (${loads} loads)`, async ({
    newVisitor,
    channelId,
    audience,
  }) => {
    // The loads take a minute on a busy machine.
    test.slow();
    const channelPage = new ChannelPage(await newVisitor({ locale }));
    await audience.join(channelId, 2);
    let isOver = false;
    const changes = (async () => {
      while (!isOver) {
        await audience.leave();
        await audience.join(channelId);
      }
    })();
    for (let load = 0; load < loads; load += 1) {
      await channelPage.join(channelId);
      expect(await channelPage.badge.state()).toBe("live");
      expect(await channelPage.badge.count()).toBeGreaterThan(0);
    }
    isOver = true;
    await changes;
    await channelPage.expectCount(3);
  });
}

test("hydration loads each file only once", async ({ page, channelId }) => {
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  const loaded = await page.evaluate(() =>
    performance.getEntriesByType("resource").map((entry) => new URL(entry.name).pathname),
  );
  const files = loaded.filter((path) => path.startsWith("/pkg/"));
  expect(files.filter((path) => path.endsWith(".wasm"))).toHaveLength(1);
  expect(new Set(files).size).toBe(files.length);
});
