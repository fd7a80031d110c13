/**
 * The package `aforo` in somebody's Next.js app: what the app's server renders.
 */

import { expect, test } from "../fixtures/next-app.ts";

test.skip(Boolean(process.env.BASE_URL), "starts servers of its own");

test("the number is in the HTML of the app's server, and nothing that identifies a viewer", async ({
  page,
  nextApp,
  channelId,
  audience,
  self,
}) => {
  await audience.join(channelId, 2);
  const path = `${nextApp.url}/watch/${channelId}`;
  const html = await (await fetch(path)).text();
  expect(html).toContain("<b>2</b> viewers");
  expect(html).not.toMatch(/[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/);
  expect(await audience.count(channelId)).toBe(2);
  await page.goto(path);
  await expect(page.locator(".viewers b")).toHaveText(String(2 + self));
});
