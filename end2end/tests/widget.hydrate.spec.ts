/**
 * `<viewer-counter>` on a site that is not ours.
 */

import AxeBuilder from "@axe-core/playwright";

import type { Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { hurryBeats } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";

const widget = (baseURL: string | undefined, elements: string) =>
  `<main>${elements}</main><script type="module" src="${baseURL}/widget.js"></script>`;

/** Puts elements on a page of our own origin: it stands for one of a site whose origin is listed. */
const openHost = async (page: Page, baseURL: string | undefined, elements: string) => {
  await page.route("**/host", (route) =>
    route.fulfill({
      contentType: "text/html",
      body: `<!doctype html><html lang="es"><title>Host</title>${widget(baseURL, elements)}</html>`,
    }),
  );
  await page.goto("/host");
};

test("it shows the count of any channel, live, all by one stream", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  const [one, two] = [`${channelId}-one`, `${channelId}-two`];
  await audience.join(one, 3);
  const elements = [one, two, one].map((name) => `<viewer-counter channel="${name}"></viewer-counter>`);
  const host = await newHost(widget(baseURL, elements.join("")));
  const calls = new Calls(page);
  await page.goto(host.sameSite);
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["3", "0", "3"]);
  await expect(badges.first()).toHaveAttribute("data-state", "live");
  await expect(badges.first()).toHaveAccessibleName("3 viewers");
  await expect(badges.first()).toHaveCSS("background-color", "rgb(220, 38, 38)");
  await audience.join(two, 1);
  await expect(badges).toHaveText(["3", "1", "3"]);
  expect(calls.streams).toHaveLength(1);
  expect(calls.joins).toEqual([]);
  expect(await audience.count(one)).toBe(3);
  const { violations } = await new AxeBuilder({ page }).include("main").analyze();
  expect(violations.map(({ id }) => id)).toEqual([]);
});

test("it never shows a 0 that is none: nothing before the first news, then the number", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  await audience.join(channelId, 4);
  const host = await newHost(
    widget(baseURL, `<viewer-counter channel="${channelId}" locale="pt-BR"></viewer-counter>`),
  );
  let go = () => {};
  const mayGo = new Promise<void>((done) => (go = done));
  await page.route("**/api/viewer/sse?**", async (route) => {
    await mayGo;
    await route.continue();
  });
  await page.goto(host.sameSite);
  const badge = page.locator(".viewer-counter");
  await expect(badge).toBeHidden();
  await expect(badge).toHaveText("");
  go();
  await expect(badge).toBeVisible();
  await expect(badge).toHaveText("4");
  await expect(badge).toHaveAccessibleName("4 espectadores");
});

test("where the stream is refused it says that it doesn't know, until it does", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channelId, 2);
  const host = await newHost(widget(baseURL, `<viewer-counter channel="${channelId}"></viewer-counter>`));
  // The answers to its own questions would take the place of the stream.
  const reads = /\/api\/viewer\/(sse|counts)/;
  await page.route(reads, (route) => route.fulfill({ status: 503 }));
  await page.goto(host.sameSite);
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("—");
  await expect(badge).toHaveAttribute("data-state", "unknown");
  await page.unroute(reads);
  await expect(badge).toHaveText("2");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test("channels may change, and elements come and go", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  await audience.join(`${channelId}-b`, 2);
  const host = await newHost(widget(baseURL, `<viewer-counter channel="${channelId}-a"></viewer-counter>`));
  await page.goto(host.sameSite);
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  await page
    .locator("viewer-counter")
    .evaluate((element, name) => element.setAttribute("channel", name), `${channelId}-b`);
  await expect(badge).toHaveText("2");
});

test("with track the page asks to be counted, and is refused where its origin isn't listed", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
  faults,
}) => {
  faults.expect(/403|CORS|ERR_FAILED/);
  const host = await newHost(
    widget(baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`),
  );
  await page.goto(host.sameSite);
  await expect(page.locator(".viewer-counter")).toHaveText("0");
  expect(await audience.count(channelId)).toBe(0);
});

test("with track a page of ours is one viewer, from when it is there until it goes", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  // Stands for a site whose origin is listed.
  await page.route("**/host", (route) =>
    route.fulfill({
      contentType: "text/html",
      body: `<!doctype html><html lang="es"><title>Host</title>${widget(baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`)}</html>`,
    }),
  );
  const calls = new Calls(page);
  await page.goto("/host");
  await expect(page.locator(".viewer-counter")).toHaveText("1");
  await audience.expectCount(channelId, 1);
  expect(calls.joins).toHaveLength(1);
  await page.close();
  await audience.expectCount(channelId, 0);
});

test("an element with no channel, or a bad one, says so, and the others are live", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
  faults,
}) => {
  faults.expect(/no valid channel/);
  const warnings: string[] = [];
  page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  await audience.join(channelId, 2);
  const elements = ["", ` channel="No name"`, ` channel="${"z".repeat(65)}"`, ` channel="${channelId}"`];
  const host = await newHost(
    widget(baseURL, elements.map((channel) => `<viewer-counter${channel}></viewer-counter>`).join("")),
  );
  await page.goto(host.sameSite);
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["—", "—", "—", "2"]);
  await expect(badges.first()).toHaveAttribute("data-state", "unknown");
  await expect(badges.last()).toHaveAttribute("data-state", "live");
  expect(warnings).toHaveLength(3);
  // As a framework does that knows the channel later.
  await page
    .locator("viewer-counter")
    .first()
    .evaluate((element, name) => element.setAttribute("channel", name), channelId);
  await expect(badges).toHaveText(["2", "—", "—", "2"]);
  await audience.join(channelId);
  await expect(badges).toHaveText(["3", "—", "—", "3"]);
  expect(warnings).toHaveLength(3);
});

test("more channels than a stream takes are shown by more streams", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  const channels = Array.from({ length: 60 }, (_, nth) => `${channelId}-${nth}`);
  await audience.join(channels[0]!);
  await audience.join(channels[59]!, 2);
  const host = await newHost(
    widget(baseURL, channels.map((name) => `<viewer-counter channel="${name}"></viewer-counter>`).join("")),
  );
  const calls = new Calls(page);
  await page.goto(host.sameSite);
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["1", ...Array.from({ length: 58 }, () => "0"), "2"]);
  await expect(page.locator(".viewer-counter[data-state=live]")).toHaveCount(60);
  expect(calls.openStreams).toBe(2);
});

test("with track a join that hangs is given up, and tried again", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  await page.clock.install();
  let joins = 0;
  await page.route("**/api/viewer/join", (route) => {
    joins += 1;
    return joins === 1 ? undefined : route.continue();
  });
  await openHost(page, baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`);
  await expect.poll(() => joins).toBe(1);
  await page.clock.runFor(18_000);
  await audience.expectCount(channelId, 1);
});

test("with track an hour that a server asks for is not silence", async ({
  page,
  channelId,
  audience,
  baseURL,
  faults,
}) => {
  faults.expect(/429/);
  await page.clock.install();
  await page.route(
    "**/api/viewer/join",
    (route) =>
      route.fulfill({ status: 429, headers: { "retry-after": "3600" }, json: { code: "limit-reached" } }),
    { times: 1 },
  );
  const refused = page.waitForResponse("**/api/viewer/join");
  await openHost(page, baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`);
  await (await refused).finished();
  await page.waitForTimeout(200); // Until the page has taken it in.
  await page.clock.runFor(121_000);
  await audience.expectCount(channelId, 1);
});

test("with track a night without a network is over as soon as there is one", async ({
  context,
  page,
  channelId,
  audience,
  baseURL,
  faults,
}) => {
  faults.expect(/ERR_INTERNET_DISCONNECTED/);
  await page.clock.install();
  await openHost(page, baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`);
  await audience.expectCount(channelId, 1);
  await context.setOffline(true);
  // Time enough for real requests to fail between the timers of the page.
  for (let step = 0; step < 60; step += 1) {
    await page.clock.runFor(60_000);
    await page.waitForTimeout(20);
  }
  const beat = page.waitForResponse((response) => response.url().endsWith("/heartbeat") && response.ok());
  await context.setOffline(false);
  await page.clock.runFor(1_000);
  await beat;
});

test("with track an element that goes while it joins leaves nobody behind", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  let joining = () => {};
  const joined = new Promise<void>((done) => (joining = done));
  await page.route("**/api/viewer/join", (route) => {
    joining();
    setTimeout(() => void route.continue().catch(() => undefined), 2_000);
  });
  await openHost(page, baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`);
  await joined;
  await page.locator("viewer-counter").evaluate((element) => element.remove());
  await page.waitForTimeout(3_500);
  expect(await audience.count(channelId)).toBe(0);
});

test("an element tracks as long as it has the attribute, and moving it changes nothing", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  const calls = new Calls(page);
  await openHost(page, baseURL, `<viewer-counter channel="${channelId}"></viewer-counter><p></p>`);
  const element = page.locator("viewer-counter");
  await expect(page.locator(".viewer-counter")).toHaveText("0");
  await element.evaluate((element) => element.setAttribute("track", ""));
  await audience.expectCount(channelId, 1);
  await element.evaluate((element) => document.querySelector("p")!.append(element));
  await page.waitForTimeout(500);
  expect(calls.joins).toHaveLength(1);
  expect(calls.leaves).toHaveLength(0);
  await element.evaluate((element) => element.removeAttribute("track"));
  await audience.expectCount(channelId, 0);
  expect(calls.leaves).toHaveLength(1);
  await page.waitForTimeout(500);
  expect(await audience.count(channelId)).toBe(0);
});

test("with track an element that was frozen beats again in the same session", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  await hurryBeats(page, 500);
  const calls = new Calls(page);
  await openHost(page, baseURL, `<viewer-counter channel="${channelId}" track></viewer-counter>`);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(0);
  await page.evaluate(() => {
    document.dispatchEvent(new Event("freeze"));
    document.dispatchEvent(new Event("resume"));
  });
  const before = calls.heartbeats.length;
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(before + 1);
  await audience.expectCount(channelId, 1);
  expect(calls.joins).toHaveLength(1);
  expect(calls.leaves).toHaveLength(0);
});

test("what counts is loaded when it is asked for", async ({ page, channelId, newHost, baseURL }) => {
  const loaded: string[] = [];
  page.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  const host = await newHost(widget(baseURL, `<viewer-counter channel="${channelId}"></viewer-counter>`));
  await page.goto(host.sameSite);
  await expect(page.locator(".viewer-counter")).toHaveText("0");
  expect(loaded).not.toContain("/tracker.js");
});

test("in a line of text its number stands on the line", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  await audience.join(channelId, 7);
  const element = `<viewer-counter channel="${channelId}"></viewer-counter>`;
  const host = await newHost(widget(baseURL, `<p>Now <b>watching</b> ${element} people</p>`));
  await page.goto(host.sameSite);
  await expect(page.locator(".viewer-counter")).toHaveText("7");
  const baselines = await page.evaluate(() => {
    const baseline = (where: Element) => {
      const mark = document.createElement("span");
      mark.style.cssText = "display:inline-block;width:0;height:0;min-width:0;min-height:0";
      where.append(mark);
      const { bottom } = mark.getBoundingClientRect();
      mark.remove();
      return bottom;
    };
    const badge = document.querySelector("viewer-counter")!.shadowRoot!.querySelector(".viewer-counter")!;
    return [baseline(document.querySelector("b")!), baseline(badge.lastElementChild!)];
  });
  expect(Math.abs(baselines[0]! - baselines[1]!)).toBeLessThan(0.5);
});

test("in forced colours it has an edge", async ({ page, channelId, newHost, baseURL }) => {
  await page.emulateMedia({ forcedColors: "active" });
  const host = await newHost(widget(baseURL, `<viewer-counter channel="${channelId}"></viewer-counter>`));
  await page.goto(host.sameSite);
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  await expect(badge).toHaveCSS("outline-style", "solid");
  await expect(badge).toHaveCSS("outline-width", "2px");
});
