/**
 * `<viewer-counter>` on a site that is not ours.
 */

import AxeBuilder from "@axe-core/playwright";

import { Calls } from "../fixtures/calls.ts";
import { expect, test } from "../fixtures/index.ts";

const widget = (baseURL: string | undefined, elements: string) =>
  `<main>${elements}</main><script type="module" src="${baseURL}/widget.js"></script>`;

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
  await page.route("**/api/viewer/sse?**", (route) => route.fulfill({ status: 503 }), { times: 1 });
  await page.goto(host.sameSite);
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("—");
  await expect(badge).toHaveAttribute("data-state", "unknown");
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
