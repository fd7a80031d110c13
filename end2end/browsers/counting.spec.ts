/**
 * Counting in real browsers: pages, navigation, downloads, frames and background tabs.
 */

import { embedPath } from "../pages/embed-page.ts";
import { twoUpdates } from "../fixtures/count-stream.ts";
import { SHORT_LEASES } from "../fixtures/server.ts";
import { expect, test } from "./fixtures/index.ts";

test("the count is in the server's HTML, includes the page, and updates as other viewers join and leave", async ({
  server,
  channelId,
  audience,
  openChannel,
}) => {
  await audience.join(channelId, 2);
  const html = await (await fetch(`${server.url}/${channelId}`)).text();
  expect(html).toMatch(/viewer-counter__number[^>]*>2</);
  const channelTab = await openChannel(channelId);
  await channelTab.expectCount(3);
  await audience.join(channelId, 2);
  await channelTab.expectCount(5);
  await audience.leave();
  await channelTab.expectCount(4);
});

test("the follow button toggles, and keeps its state after a reload", async ({ channelId, openChannel }) => {
  const channelTab = await openChannel(channelId);
  await channelTab.expectFollowers(0, false);
  await channelTab.pressFollow();
  await channelTab.expectFollowers(1, true);
  await channelTab.tab.reload();
  await channelTab.expectFollowers(1, true);
  await channelTab.pressFollow();
  await channelTab.expectFollowers(0, false);
  await channelTab.tab.reload();
  await channelTab.expectFollowers(0, false);
});

test("going back to a channel shows a follow that was made on the page after it", async ({
  server,
  channelId,
  openChannel,
}) => {
  const channelTab = await openChannel(channelId);
  await channelTab.expectFollowers(0, false);
  await channelTab.tab.goto(`${server.url}/${channelId}?again`);
  await channelTab.expectFollowers(0, false);
  await channelTab.pressFollow();
  await channelTab.expectFollowers(1, true);
  await channelTab.tab.back();
  await channelTab.expectFollowers(1, true);
});

test("going back to the channel from another page counts it again, with a live badge", async ({
  engine,
  channelId,
  audience,
  openStream,
  openChannel,
  newHost,
}) => {
  const host = await newHost("elsewhere");
  const stream = await openStream(channelId);
  const channelTab = await openChannel(channelId);
  await channelTab.expectCount(1);
  await channelTab.tab.run(`document.body.id = "kept"`);
  for (const elsewhere of [host.sameSite, host.localhost]) {
    await channelTab.tab.goto(elsewhere);
    await stream.expectCount(0);
    await channelTab.tab.back();
    await stream.expectCount(1);
    await audience.join(channelId);
    await channelTab.expectCount(2);
    await audience.leave();
    await channelTab.expectCount(1);
  }
  // Firefox keeps no page with an open event stream in its back/forward cache, so it loads the page again.
  const kept = await channelTab.tab.run("return document.body.id");
  expect(kept).toBe(engine === "firefox" ? "" : "kept");
});

test("a page that stays after a navigation was canceled is still counted and live", async ({
  channelId,
  audience,
  openStream,
  openChannel,
  newHost,
}) => {
  const host = await newHost("");
  const stream = await openStream(channelId);
  const channelTab = await openChannel(channelId);
  await channelTab.expectCount(1);
  // The response is 204. Links to downloads have the same effect.
  await channelTab.tab.run("location.href = arguments[0]", `${host.sameSite}nothing`);
  await twoUpdates();
  await stream.expectCount(1);
  await audience.join(channelId);
  await channelTab.expectCount(2);
  await channelTab.tab.close();
  await stream.expectCount(1);
});

test("a frame on another site is counted when it is visible, and leaves when the tab closes", async ({
  server,
  channelId,
  openStream,
  newTab,
  newHost,
}) => {
  const frame = `<iframe src="${server.url}${embedPath(channelId)}" width="640" height="360"></iframe>`;
  const host = await newHost(`<div style="height: 3000px"></div>${frame}`);
  const stream = await openStream(channelId);
  const tab = await newTab();
  await tab.goto(host.localhost);
  await stream.expectToStay(0);
  await tab.run(`document.querySelector("iframe").scrollIntoView()`);
  await stream.expectCount(1);
  // Close the tab instead of removing the frame: Firefox kills the process of a removed frame, often before it can
  // leave.
  await tab.close();
  await stream.expectCount(0);
});

test("a background tab stays counted for longer than a lease", async ({
  newServer,
  channelId,
  openStream,
  newTab,
  openChannel,
}) => {
  // Browsers throttle the timers of hidden pages to one per second, which is short compared to these leases. They are long
  // compared to a heartbeat, since opening a tab keeps a busy machine from sending it for a while.
  const server = await newServer({ ...SHORT_LEASES, VIEWER_TIMEOUT: "8", VIEWER_HIDDEN_TIMEOUT: "8" });
  const stream = await openStream(channelId, server);
  const channelTab = await openChannel(channelId, server);
  await stream.expectCount(1);
  // WebDriver commands bring the tab to the front in some browsers, so the page itself records its visibility.
  await channelTab.tab.run(
    `window.states = []; document.addEventListener("visibilitychange", () => states.push(document.visibilityState))`,
  );
  await newTab();
  await new Promise((passed) => setTimeout(passed, 12_000));
  expect(stream.counts).toEqual([0, 1]);
  expect((await channelTab.tab.run<string[]>("return states"))[0]).toBe("hidden");
  await channelTab.tab.close();
  await stream.expectCount(0);
});
