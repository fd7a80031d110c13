/**
 * The home page with and without JavaScript: the live channels, most viewers first.
 */

import { expect, test } from "../fixtures/index.ts";
import { HomePage } from "../pages/home-page.ts";

test("live channels are listed by viewers, and reading the list counts no viewer", async ({
  page,
  channelId,
  audience,
}) => {
  const [few, many] = [`${channelId}-few`, `${channelId}-many`];
  await audience.join(few, 21);
  await audience.join(many, 23);
  const home = new HomePage(page);
  // The server caches the list for one update, so the first response may be outdated.
  await expect(async () => {
    const html = await home.goto();
    expect(html.indexOf(`href="/${many}"`)).toBeGreaterThan(0);
    expect(html.indexOf(`href="/${many}"`)).toBeLessThan(html.indexOf(`href="/${few}"`));
  }).toPass();
  await expect(home.badge(many)).toHaveAccessibleName("23 espectadores");
  await expect(home.badge(few)).toHaveAccessibleName("21 espectadores");
  expect(await audience.count(many)).toBe(23);
});

test("a click on a channel in the list opens it", async ({ page, channelId, audience }) => {
  await audience.join(channelId, 22);
  const home = new HomePage(page);
  await home.goto();
  await home.row(channelId).click();
  await expect(page).toHaveURL(`/${channelId}`);
});

test("the 404 page links to the home page and to live channels", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(/404/);
  // The page links to the five channels with the most viewers. No other test has so many.
  await audience.join(channelId, 110);
  await page.goto("/no/such/page");
  await expect(page.getByRole("link", { name: "Volver al inicio" })).toBeVisible();
  await new HomePage(page).row(channelId).click();
  await expect(page).toHaveURL(`/${channelId}`);
});
