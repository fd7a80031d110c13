/**
 * `<viewer-counter>` in real browsers.
 */

import { viewerCounter, widgetBody } from "../fixtures/widget.ts";
import type { Tab } from "./fixtures/browser.ts";
import { expect, test } from "./fixtures/index.ts";

/** Waits until the element in a tab shows this count as live. */
async function expectCount(tab: Tab, count: number): Promise<void> {
  const read = `
    const badge = document.querySelector("viewer-counter").shadowRoot?.firstChild;
    return badge?.dataset.state + " " + badge?.textContent`;
  await expect.poll(() => tab.run(read), "the element").toBe(`live ${count}`);
}

/** The scripts of ours that a page has loaded. */
const scripts = (tab: Tab) =>
  tab.run<string[]>(`
    const names = performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname);
    return names.filter((name) => /^\\/\\w+\\.js$/.test(name))`);

test("an element reads with one small script while its tab is the only one that is shown", async ({
  server,
  channelId,
  audience,
  newHost,
  newTab,
}) => {
  const host = await newHost(widgetBody(server.url, viewerCounter(channelId)));
  const first = await newTab();
  await first.goto(host.localhost);
  await expectCount(first, 0);
  await audience.join(channelId);
  await expectCount(first, 1);
  expect(await scripts(first)).toEqual(["/widget.js"]);
  // The first tab is hidden from now on.
  const second = await newTab();
  await second.goto(host.localhost);
  await expectCount(second, 1);
  expect(await scripts(second)).toEqual(["/widget.js"]);
  await audience.join(channelId);
  await expectCount(second, 2);
  await second.close();
  await first.bringToFront();
  await expectCount(first, 2);
  await audience.join(channelId);
  await expectCount(first, 3);
});

test("a click on a link that leads nowhere, such as a download, does not end the stream of an element", async ({
  server,
  channelId,
  audience,
  newHost,
  newTab,
}) => {
  const host = await newHost(
    widgetBody(server.url, viewerCounter(channelId)) + `<a href="/nothing">Nothing</a>`,
  );
  const tab = await newTab();
  await tab.goto(host.localhost);
  await expectCount(tab, 0);
  await tab.click("a");
  await audience.join(channelId);
  await expectCount(tab, 1);
});
