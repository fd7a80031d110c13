/**
 * The home page: what is live now, most viewers first, with and without JavaScript.
 */

import { expect, test } from "../fixtures/index.ts";
import { HomePage } from "../pages/home-page.ts";

test("live channels are listed, most viewers first, and reading the list counts nobody", async ({
  page,
  channelId,
  audience,
}) => {
  const [few, many] = [`${channelId}-few`, `${channelId}-many`];
  await audience.join(few, 21);
  await audience.join(many, 23);
  const home = new HomePage(page);
  // The list is read once per update, so it may be of a moment ago.
  await expect(async () => {
    const html = await home.goto();
    expect(html.indexOf(`href="/${many}"`)).toBeGreaterThan(0);
    expect(html.indexOf(`href="/${many}"`)).toBeLessThan(html.indexOf(`href="/${few}"`));
  }).toPass();
  await expect(home.badge(many)).toHaveAccessibleName("23 espectadores");
  await expect(home.badge(few)).toHaveAccessibleName("21 espectadores");
  expect(await audience.count(many)).toBe(23);
});

test("a channel of the list is a click away", async ({ page, channelId, audience }) => {
  await audience.join(channelId, 22);
  const home = new HomePage(page);
  await home.goto();
  await home.row(channelId).click();
  await expect(page).toHaveURL(`/${channelId}`);
});

test("what doesn't exist leads to what is live", async ({ page, channelId, audience, faults }) => {
  faults.expect(/404/);
  await audience.join(channelId, 60);
  await page.goto("/no/such/page");
  await expect(page.getByRole("link", { name: "Volver al inicio" })).toBeVisible();
  await new HomePage(page).row(channelId).click();
  await expect(page).toHaveURL(`/${channelId}`);
});
