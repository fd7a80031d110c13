/**
 * The home page where scripts run: numbers move, channels come and go, and nothing jumps under the pointer.
 */

import { Calls } from "../fixtures/calls.ts";
import { expect, test } from "../fixtures/index.ts";
import { HomePage } from "../pages/home-page.ts";

test("numbers move by one stream, and the page joins nothing", async ({ page, channelId, audience }) => {
  const [one, two] = [`${channelId}-one`, `${channelId}-two`];
  await audience.join(one, 21);
  await audience.join(two, 22);
  const calls = new Calls(page);
  const home = new HomePage(page);
  await home.goto();
  await audience.join(one, 4);
  await audience.join(two, 4);
  await expect(home.badge(one)).toHaveAccessibleName("25 espectadores");
  await expect(home.badge(two)).toHaveAccessibleName("26 espectadores");
  await expect(home.badge(one)).toHaveAttribute("data-state", "live");
  expect(calls.joins).toEqual([]);
  expect(calls.streams).toHaveLength(1);
});

test("a channel that comes later appears in its place, but not while the pointer is in the list", async ({
  page,
  channelId,
  audience,
}) => {
  const [first, later] = [`${channelId}-first`, `${channelId}-later`];
  await audience.join(first, 30);
  const home = new HomePage(page);
  await page.clock.install();
  await home.goto();
  await home.row(first).hover();
  await audience.join(later, 31);
  await page.clock.runFor(25_000);
  await expect(home.row(later)).toHaveCount(0);
  await page.mouse.move(0, 0);
  await page.clock.runFor(11_000);
  await expect(home.row(later)).toBeVisible();
  await expect(home.badge(later)).toHaveAccessibleName("31 espectadores");
  const names = await home.names();
  expect(names.indexOf(later)).toBeLessThan(names.indexOf(first));
});
