/**
 * The rules of counting in browsers as people have them: what a person does, from the first page to the last tab.
 */

import { embedPath } from "../pages/embed-page.ts";
import { twoUpdates } from "../fixtures/count-stream.ts";
import { expect, test } from "./fixtures/index.ts";

test("the number is in the page as it is sent, counts the page itself, and moves as others come and go", async ({
  server,
  channelId,
  audience,
  watch,
}) => {
  await audience.join(channelId, 2);
  const html = await (await fetch(`${server.url}/${channelId}`)).text();
  expect(html).toMatch(/viewer-counter__number[^>]*>2</);
  const watching = await watch(channelId);
  await watching.expectCount(3);
  await audience.join(channelId, 2);
  await watching.expectCount(5);
  await audience.leave();
  await watching.expectCount(4);
});

test("following toggles, and survives a reload", async ({ channelId, watch }) => {
  const watching = await watch(channelId);
  await watching.expectFollowers(0, false);
  await watching.pressFollow();
  await watching.expectFollowers(1, true);
  await watching.tab.reload();
  await watching.expectFollowers(1, true);
  await watching.pressFollow();
  await watching.expectFollowers(0, false);
  await watching.tab.reload();
  await watching.expectFollowers(0, false);
});

test("back from another page the channel counts again and is live", async ({
  engine,
  channelId,
  audience,
  openStream,
  watch,
  newHost,
}) => {
  const host = await newHost("elsewhere");
  const stream = await openStream(channelId);
  const watching = await watch(channelId);
  await watching.expectCount(1);
  await watching.tab.run(`document.body.id = "kept"`);
  for (const elsewhere of [host.sameSite, host.localhost]) {
    await watching.tab.goto(elsewhere);
    await stream.expectCount(0);
    await watching.tab.back();
    await stream.expectCount(1);
    await audience.join(channelId);
    await watching.expectCount(2);
    await audience.leave();
    await watching.expectCount(1);
  }
  // Firefox keeps no page that has an event stream when it is left, so there it is loaded again.
  const kept = await watching.tab.run("return document.body.id");
  expect(kept).toBe(engine === "firefox" ? "" : "kept");
});

test("a page that stays after it was to be left goes on being counted, and counting", async ({
  channelId,
  audience,
  openStream,
  watch,
  newHost,
}) => {
  const host = await newHost("");
  const stream = await openStream(channelId);
  const watching = await watch(channelId);
  await watching.expectCount(1);
  // So it is with every link to a download.
  await watching.tab.run("location.href = arguments[0]", `${host.sameSite}nothing`);
  await twoUpdates();
  await stream.expectCount(1);
  await audience.join(channelId);
  await watching.expectCount(2);
  await watching.tab.close();
  await stream.expectCount(1);
});

test("a frame on another site counts once it is seen, and leaves with the tab", async ({
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
  // Closed and not taken out of the page: Firefox ends the process of a frame that is taken out, often before it leaves.
  await tab.close();
  await stream.expectCount(0);
});

test("a tab behind another is counted on, for longer than a lease", async ({
  newServer,
  channelId,
  openStream,
  newTab,
  watch,
}) => {
  // Time runs twenty times as fast: leases of 3 and 7 s, and the one timer a second that browsers leave to a hidden page.
  const server = await newServer({
    VIEWER_HEARTBEAT_INTERVAL: "1500",
    VIEWER_TIMEOUT: "3",
    VIEWER_HIDDEN_TIMEOUT: "7",
    VIEWER_COUNT_UPDATE_INTERVAL: "100",
  });
  const stream = await openStream(channelId, server);
  const watching = await watch(channelId, server);
  await stream.expectCount(1);
  // Asking the tab would bring it to the front in some browsers, so it writes down itself what it is told.
  await watching.tab.run(
    `window.told = []; document.addEventListener("visibilitychange", () => told.push(document.visibilityState))`,
  );
  await newTab();
  await new Promise((passed) => setTimeout(passed, 12_000));
  expect(stream.counts).toEqual([0, 1]);
  expect((await watching.tab.run<string[]>("return told"))[0]).toBe("hidden");
  await watching.tab.close();
  await stream.expectCount(0);
});
