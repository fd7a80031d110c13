/**
 * The home page with JavaScript: counts and channels update live, and the list does not move under the pointer.
 */

import { Calls } from "../fixtures/calls.ts";
import { expect, test } from "../fixtures/index.ts";
import { layoutShift, measureLayoutShift } from "../fixtures/probes.ts";
import { HomePage } from "../pages/home-page.ts";

test("all counts update over one stream, and the page is not counted", async ({
  page,
  channelId,
  audience,
}) => {
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

test("a new channel appears in order, but not while the pointer is in the list", async ({
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

test("pages without islands load no WebAssembly", async ({ page, channelId, audience, faults }) => {
  faults.expect(/404/);
  await audience.join(channelId, 30);
  const loaded: string[] = [];
  page.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  for (const path of ["/", "/no/such/page"]) {
    await page.goto(path);
    await expect(page.locator("viewer-counter .viewer-counter:visible").first()).toBeVisible();
    await page.waitForLoadState("load");
  }
  expect(loaded).toContain("/widget.js");
  expect(loaded.filter((path) => /\.wasm$|\/aforo\.js$/.test(path))).toEqual([]);
});

test("replacing the server's badges with live ones causes no layout shift", async ({
  page,
  channelId,
  newServer,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "only Chromium reports layout shifts");
  // A separate server, since other tests change the list.
  const server = await newServer();
  const join = (channelId: string) =>
    page.request.post(`${server.url}/api/viewer/join`, { data: { channelId } });
  const channels = [`${channelId}-a`, `${channelId}-b`];
  for (const channel of channels) for (let nth = 0; nth < 40; nth += 1) await join(channel);
  await measureLayoutShift(page);
  // In one piece: on a busy machine, the browser would draw a part of the page, and shift it when the rest arrives.
  await page.route(`${server.url}/`, async (route) => route.fulfill({ response: await route.fetch() }));
  const home = new HomePage(page);
  // Repeat: it depends on timing whether the browser draws a frame between the two badges.
  for (const count of [41, 42, 43, 44, 45]) {
    await page.goto(server.url);
    await join(channels[0]!);
    await expect(home.badge(channels[0]!)).toHaveAccessibleName(`${count} espectadores`);
    expect(await layoutShift(page)).toBe(0);
  }
});
