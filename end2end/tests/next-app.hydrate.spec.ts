/**
 * The package `aforo` in somebody's Next.js app, in the browser: the production build, and once the development server,
 * where React mounts every component twice.
 */

import { createServer } from "node:http";

import type { Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { fakeVisibility, setHidden } from "../fixtures/conditions.ts";
import { UNREACHABLE } from "../fixtures/faults.ts";
import { NextApp, edit, expect, test } from "../fixtures/next-app.ts";
import { listen, pass } from "../fixtures/proxy.ts";
import { Viewers } from "../pages/viewers.ts";

test.skip(Boolean(process.env.BASE_URL), "starts servers of its own");

/** Opens the page whose parts come and go, for this channel. */
async function openParts(
  page: Page,
  app: NextApp,
  channelId: string,
): Promise<(part: string) => Promise<void>> {
  await page.goto(`${app.url}/parts`);
  await page.getByLabel("Channel").fill(channelId);
  return (part) => page.getByLabel(part, { exact: true }).click();
}

test("a mounted page is one viewer and shows the number, until it is unmounted", async ({
  page,
  nextApp,
  channelId,
  audience,
}) => {
  const calls = new Calls(page);
  const toggle = await openParts(page, nextApp, channelId);
  await toggle("Viewers");
  await new Viewers(page).expectCount(1);
  await audience.expectCount(channelId, 1);
  await audience.join(channelId);
  await new Viewers(page).expectCount(2);
  await toggle("Viewers");
  await audience.expectCount(channelId, 1);
  await expect.poll(() => calls.openStreams).toBe(0);
  expect([calls.joins.length, calls.leaves.length]).toEqual([1, 1]);
  await toggle("Viewers");
  await new Viewers(page).expectCount(2);
  await page.close();
  await audience.expectCount(channelId, 1);
});

test("two trackers on a page are one viewer, until both are gone", async ({
  page,
  nextApp,
  channelId,
  audience,
}) => {
  const calls = new Calls(page);
  const toggle = await openParts(page, nextApp, channelId);
  await toggle("Viewers");
  await toggle("Second viewers");
  await new Viewers(page, 0).expectCount(1);
  await new Viewers(page, 1).expectCount(1);
  await audience.expectCount(channelId, 1);
  await toggle("Viewers");
  await audience.join(channelId);
  await new Viewers(page).expectCount(2);
  expect([calls.joins.length, calls.leaves.length, calls.streams.length]).toEqual([1, 0, 1]);
  await toggle("Second viewers");
  await audience.expectCount(channelId, 1);
});

test("hooks that are not enabled send nothing", async ({ page, nextApp, channelId }) => {
  const requests: string[] = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  const toggle = await openParts(page, nextApp, channelId);
  await toggle("Disabled viewers");
  const { root, number } = new Viewers(page);
  await expect(root).toHaveAttribute("data-tracker", "idle");
  await expect(number).toHaveText("—");
  await page.waitForTimeout(1_000);
  expect(requests.filter((path) => path.startsWith("/api/"))).toEqual([]);
});

test("who follows a link to another channel moves there, without loading a page", async ({
  page,
  nextApp,
  audience,
}) => {
  const calls = new Calls(page);
  let loads = 0;
  page.on("load", () => (loads += 1));
  await audience.join("eva.tv", 2);
  await page.goto(`${nextApp.url}/watch/ana.tv`);
  await new Viewers(page).expectCount(1);
  await page.getByRole("link", { name: "eva.tv" }).click();
  await expect(page.getByRole("heading")).toHaveText("eva.tv");
  await new Viewers(page).expectCount(3);
  await audience.expectCount("ana.tv", 0);
  await page.goBack();
  await new Viewers(page).expectCount(1);
  await audience.expectCount("eva.tv", 2);
  await page.getByRole("link", { name: "Home" }).click();
  await expect(page.getByRole("heading")).toHaveText("Channels");
  await audience.expectCount("ana.tv", 0);
  await expect.poll(() => calls.openStreams).toBe(0);
  expect(calls.joins.map(({ channelId }) => channelId)).toEqual(["ana.tv", "eva.tv", "ana.tv"]);
  expect(calls.leaves.map(({ channelId }) => channelId)).toEqual(["ana.tv", "eva.tv", "ana.tv"]);
  expect(new Set(calls.joins.map(({ sessionId }) => sessionId)).size).toBe(3);
  expect(new Set(calls.joins.map(({ viewerId }) => viewerId)).size).toBe(1);
  expect(loads).toBe(1);
});

test("where a proxy passes the calls on, a page of the old app works with another import and no other change", async ({
  page,
  nextApp,
  channelId,
  audience,
}) => {
  const front = await listen(
    createServer((request, response) => {
      const isCall = request.url?.startsWith("/api/viewer/");
      pass(request, response, isCall ? nextApp.counter.url : nextApp.url);
    }),
  );
  try {
    const elsewhere: string[] = [];
    page.on("request", (request) => request.url().startsWith(front.url) || elsewhere.push(request.url()));
    await page.goto(`${front.url}/unchanged/${channelId}`);
    const { root, number } = new Viewers(page);
    await expect(number).toHaveText("1");
    await expect(root).toHaveAttribute("data-connected", "true");
    await audience.expectCount(channelId, 1);
    await audience.join(channelId);
    await expect(number).toHaveText("2");
    expect(elsewhere).toEqual([]);
    await page.close();
    await audience.expectCount(channelId, 1);
  } finally {
    await front.close();
  }
});

test("a name that can't be a channel is an error, and sends nothing", async ({ page, nextApp }) => {
  const requests: string[] = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await page.goto(`${nextApp.url}/watch/no%20channel`);
  const { root, number, error } = new Viewers(page);
  await expect(error).toHaveText("invalid-channel");
  await expect(root).toHaveAttribute("data-count", "invalid");
  await expect(number).toHaveText("—");
  expect(requests.filter((path) => path.startsWith("/api/"))).toEqual([]);
});

test("an unreachable server is an error, and the page recovers when the server is back", async ({
  page,
  nextApp,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  await page.route(`${nextApp.counter.url}/**`, (route) => route.abort("connectionrefused"));
  const toggle = await openParts(page, nextApp, channelId);
  await toggle("Viewers");
  const viewers = new Viewers(page);
  await expect(viewers.error).toHaveText("unreachable");
  await expect(viewers.root).toHaveAttribute("data-tracker", "retrying");
  await expect(viewers.root).toHaveAttribute("data-count", "unknown");
  await expect(viewers.root).toHaveAttribute("data-connected", "false");
  await expect(viewers.number).toHaveText("—");
  await page.unroute(`${nextApp.counter.url}/**`);
  await viewers.expectCount(1);
  await expect(viewers.error).toHaveCount(0);
  await audience.expectCount(channelId, 1);
});

test("tabs of the app share one stream", async ({ context, nextApp, channelId, audience }) => {
  const tabs: { page: Page; calls: Calls }[] = [];
  for (let nth = 0; nth < 7; nth += 1) {
    const page = await context.newPage();
    tabs.push({ page, calls: new Calls(page) });
    await page.goto(`${nextApp.url}/watch/${channelId}`);
    await new Viewers(page).expectCount(1);
  }
  await audience.join(channelId);
  for (const { page } of tabs) await new Viewers(page).expectCount(2);
  await expect.poll(() => tabs.reduce((sum, { calls }) => sum + calls.openStreams, 0)).toBe(1);
});

test("without hooks: a plain count, a plain tracker and the element", async ({
  page,
  nextApp,
  channelId,
  audience,
}) => {
  await fakeVisibility(page);
  const calls = new Calls(page);
  const toggle = await openParts(page, nextApp, channelId);
  await toggle("Plain tracker");
  await expect(page.locator(".tracker")).toHaveText("counted");
  await toggle("Plain count");
  await expect(page.locator(".plain")).toHaveText("1");
  await toggle("Element");
  await expect(page.locator(".viewer-counter")).toHaveAccessibleName("1 viewer");
  await audience.join(channelId);
  await expect(page.locator(".plain")).toHaveText("2");
  await expect(page.locator(".viewer-counter")).toHaveAccessibleName("2 viewers");
  expect(calls.openStreams).toBe(2);
  await setHidden(page, true);
  await expect(page.locator(".plain")).toHaveAttribute("data-count", "stale");
  await audience.join(channelId);
  await setHidden(page, false);
  await expect(page.locator(".plain")).toHaveText("3");
  await expect(page.locator(".plain")).toHaveAttribute("data-count", "live");
  for (const part of ["Plain tracker", "Plain count", "Element"]) await toggle(part);
  await audience.expectCount(channelId, 2);
  await expect.poll(() => calls.openStreams).toBe(0);
});

test("in development, the double mount of strict mode and a fast refresh go on with one session", async ({
  page,
  channelId,
  faults,
}) => {
  // The development server compiles at the first request, and again after the edit.
  test.setTimeout(180_000);
  const source = await edit("components/viewers.tsx", "</b> viewers", "</b> people watching");
  const app = await NextApp.start("dev");
  const calls = new Calls(page);
  try {
    const toggle = await openParts(page, app, channelId);
    await toggle("Viewers");
    const viewers = new Viewers(page);
    await viewers.expectCount(1);
    await expect(async () => {
      await source.save();
      await expect(viewers.root).toContainText("people watching", { timeout: 5_000 });
    }).toPass();
    await viewers.expectCount(1);
    await expect.poll(() => [calls.joins.length, calls.leaves.length, calls.openStreams]).toEqual([1, 0, 1]);
    await toggle("Viewers");
    await expect.poll(() => calls.leaves.length).toBe(1);
    const count = async () => (await fetch(`${app.counter.url}/api/viewer/count/${channelId}`)).json();
    await expect.poll(count).toMatchObject({ count: 0 });
  } finally {
    faults.end();
    await source.undo();
    await app.stop();
  }
});
