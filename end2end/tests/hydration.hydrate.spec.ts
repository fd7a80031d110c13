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
    channel,
    audience,
  }) => {
    const watching = new ChannelPage(await newVisitor({ locale }));
    let over = false;
    const comingAndGoing = (async () => {
      while (!over) {
        await audience.join(channel, 2);
        await audience.leave();
      }
    })();
    for (let load = 0; load < LOADS; load += 1) {
      const joined = watching.page.waitForResponse("**/api/viewer/join");
      await watching.goto(channel);
      await joined;
      expect(await watching.badge.state()).toBe("live");
      expect(await watching.badge.count()).toBeGreaterThan(0);
    }
    over = true;
    await comingAndGoing;
    await watching.expectCount(await audience.count(channel));
  });
}
