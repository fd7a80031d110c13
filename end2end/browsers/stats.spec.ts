/**
 * The statistics page in real browsers: the count and the figures move, and the chart tells the value of an instant.
 */

import { linkToken, SECRET } from "../pages/stats-page.ts";
import { Audience } from "../fixtures/audience.ts";
import { expect, test } from "./fixtures/index.ts";

test("the figures move, and a click on the chart shows the values of an instant", async ({
  channelId,
  newServer,
  newTab,
  playwright,
}) => {
  const server = await newServer({ API_SECRET: SECRET });
  const request = await playwright.request.newContext({ baseURL: server.url });
  const crowd = new Audience(request);
  await crowd.join(channelId, 2);
  const tab = await newTab();
  const has = (selector: string) =>
    tab.run<boolean>("return document.querySelector(arguments[0]) !== null", selector);
  const text = (selector: string) =>
    tab.run<string | undefined>("return document.querySelector(arguments[0])?.textContent", selector);
  // The first minute of a broadcast is written within seconds.
  await expect(async () => {
    await tab.goto(`${server.url}/${channelId}/stats?token=${linkToken(channelId)}&tz=America/Lima`);
    await expect.poll(() => has(".chart__plot .chart__line"), { timeout: 500 }).toBe(true);
    expect(await text('[data-figure="average"]')).not.toBe("—");
  }).toPass();
  await expect.poll(() => text(".viewer-counter__number")).toBe("2");

  await tab.click(".chart__plot");
  // In the language of the browser: the values, or that there are none.
  await expect.poll(() => text(".chart__readout")).toMatch(/^(.+, )?\d\d:\d\d:\d\d · /);

  await crowd.join(channelId, 3);
  await expect.poll(() => text(".viewer-counter__number")).toBe("5");
  await expect.poll(() => text('[data-figure="peak"]')).toBe("5");
  await expect.poll(() => text('[data-figure="uniques"]')).toBe("5");
  expect(await crowd.count(channelId), "the page is no viewer").toBe(5);
  const overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
  expect(await tab.run(overflow)).toBe(0);
  await request.dispose();
});
