/**
 * The badge in somebody else's Leptos app, which is client-rendered: nothing of it is in the first HTML, and going from
 * page to page loads none.
 */

import type { Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, recordBadge } from "../fixtures/probes.ts";
import { Badge } from "../pages/badge.ts";

/** Goes to another page of the app as a link of it does: without loading one. */
async function follow(page: Page, path: string): Promise<void> {
  await page.evaluate((path) => {
    const link = document.createElement("a");
    link.href = path;
    document.body.append(link);
    link.click();
    link.remove();
  }, path);
  await page.waitForURL(`**${path}`);
}

/** Returns what fails the test if the page has been loaded again. */
function countLoads(page: Page): () => void {
  let loads = 0;
  page.on("load", () => (loads += 1));
  return () => expect(loads, "how often the page was loaded").toBe(1);
}

test("a client-rendered page is counted, and its number is live", async ({
  page,
  leptosApp,
  channelId,
  audience,
}) => {
  await recordBadge(page);
  await page.goto(`${leptosApp}/watch/${channelId}`);
  const badge = new Badge(page);
  await badge.expectCount(1);
  await audience.join(channelId);
  await badge.expectCount(2);
  await audience.leave();
  await badge.expectCount(1);
  const shown = (await badgeHistory(page)).map(({ state, number }) => `${state} ${number}`);
  expect(shown).toEqual(["unknown —", "live 1", "live 2", "live 1"]);
  await page.close();
  await audience.expectCount(channelId, 0);
});

test("the badge needs no styles", async ({ page, leptosApp, channelId }) => {
  await page.goto(`${leptosApp}/watch/${channelId}`);
  const badge = new Badge(page);
  await badge.expectCount(1);
  expect(await badge.eye.boundingBox()).toMatchObject({ width: 16, height: 16 });
});

test("who goes to another channel moves there", async ({ page, leptosApp, channelId, audience }) => {
  const [here, there] = [`${channelId}-a`, `${channelId}-b`];
  const calls = new Calls(page);
  const expectOneLoad = countLoads(page);
  await audience.join(there, 2);
  await page.goto(`${leptosApp}/watch/${here}`);
  const badge = new Badge(page);
  await badge.expectCount(1);
  await recordBadge(page);
  await follow(page, `/watch/${there}`);
  await badge.expectCount(3);
  await audience.expectCount(here, 0);
  await audience.expectCount(there, 3);
  await follow(page, `/watch/${here}`);
  await badge.expectCount(1);
  await audience.expectCount(there, 2);
  await expect.poll(() => calls.joins.length).toBe(3);
  expect(calls.joins.map(({ channelId }) => channelId)).toEqual([here, there, here]);
  expect(calls.leaves.map(({ channelId }) => channelId)).toEqual([here, there]);
  expect(new Set(calls.joins.map(({ sessionId }) => sessionId)).size).toBe(3);
  expect(new Set(calls.joins.map(({ viewerId }) => viewerId)).size).toBe(1);
  await expect.poll(() => calls.openStreams).toBe(1);
  expectOneLoad();
});

test("who goes to a page without a badge leaves", async ({ page, leptosApp, channelId, audience }) => {
  const calls = new Calls(page);
  const expectOneLoad = countLoads(page);
  await page.goto(`${leptosApp}/watch/${channelId}`);
  await new Badge(page).expectCount(1);
  await follow(page, "/");
  await audience.expectCount(channelId, 0);
  await expect.poll(() => calls.openStreams).toBe(0);
  expect(calls.leaves).toHaveLength(1);
  await page.goBack();
  await new Badge(page).expectCount(1);
  await audience.expectCount(channelId, 1);
  await expect.poll(() => calls.joins.length).toBe(2);
  expectOneLoad();
});

test("a name that can't be a channel gets a message, and nothing is requested", async ({
  page,
  leptosApp,
  channelId,
  audience,
}) => {
  const calls: string[] = [];
  page.on("request", (request) => calls.push(new URL(request.url()).pathname));
  await page.goto(`${leptosApp}/watch/no%20channel`);
  await expect(page.getByRole("alert")).toContainText("a channel name must have 1 to 64 characters");
  await expect(new Badge(page).root).toHaveCount(0);
  expect(calls.filter((path) => path.startsWith("/api/"))).toEqual([]);
  // From there to a channel, and from a channel to there.
  await follow(page, `/watch/${channelId}`);
  await new Badge(page).expectCount(1);
  await expect(page.getByRole("alert")).toHaveCount(0);
  await follow(page, "/watch/no%20channel");
  await expect(page.getByRole("alert")).toBeVisible();
  await expect(new Badge(page).root).toHaveCount(0);
  await audience.expectCount(channelId, 0);
});

test("components that stay follow their signal", async ({ page, leptosApp, channelId, audience }) => {
  const [here, there] = [`${channelId}-a`, `${channelId}-b`];
  const calls = new Calls(page);
  await audience.join(there, 4);
  await page.goto(`${leptosApp}/turn`);
  const [badge, name] = [new Badge(page), page.getByLabel("Channel")];
  await expect(badge.root).toHaveAttribute("data-state", "live");
  await name.fill(here);
  await name.press("Enter");
  await audience.expectCount(here, 1);
  await badge.expectCount(1);
  const shown = page.evaluate(
    () =>
      new Promise<string[]>((done) => {
        const shown: string[] = [];
        const badge = document.querySelector<HTMLElement>(".viewer-counter");
        new MutationObserver(() => {
          shown.push(`${badge?.dataset.state} ${badge?.textContent?.trim()}`);
          if (shown.at(-1) === "live 5") done([...new Set(shown)]);
        }).observe(badge ?? document, { attributes: true, childList: true, subtree: true });
      }),
  );
  await name.fill(there);
  await name.press("Enter");
  // Nothing of the old channel is shown as if it were of the new one.
  expect((await shown)[0]).toBe("unknown —");
  await badge.expectCount(5);
  await audience.expectCount(here, 0);
  await audience.expectCount(there, 5);
  await name.fill("no channel");
  await name.press("Enter");
  await expect(page.getByRole("alert")).toContainText("a channel name must have 1 to 64 characters");
  await badge.expectCount(5);
  expect(calls.joins.map(({ channelId }) => channelId)).toEqual(["ana.tv", here, there]);
  expect(calls.leaves.map(({ channelId }) => channelId)).toEqual(["ana.tv", here]);
  expect(new Set(calls.joins.map(({ sessionId }) => sessionId)).size).toBe(3);
  expect(calls.streams.at(-1)).toBe(`/api/viewer/sse/${there}`);
  await expect.poll(() => calls.openStreams).toBe(1);
});

test("a second tab of the app learns a count that the first already has", async ({
  context,
  leptosApp,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 2);
  const [first, second] = [await context.newPage(), await context.newPage()];
  await first.goto(`${leptosApp}/watch/${channelId}`);
  await new Badge(first).expectCount(3);
  await second.goto(`${leptosApp}/`);
  await follow(second, `/watch/${channelId}`);
  await new Badge(second).expectCount(3);
});

test("an app gets no entry point of ours", async ({ leptosApp }) => {
  const app = await fetch(`${leptosApp}/leptos-app_bg.wasm`);
  const exported = WebAssembly.Module.exports(await WebAssembly.compile(await app.arrayBuffer()));
  const names = exported.map(({ name }) => name);
  expect(names).toContain("main");
  expect(names.filter((name) => /^hydrate$|_\d{10,}$/.test(name))).toEqual([]);
});
