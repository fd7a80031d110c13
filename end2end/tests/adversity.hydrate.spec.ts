/**
 * Being counted where something is refused or late: secure contexts, storage, an answer of the server, the order in which
 * calls arrive.
 */

import { blockStorage } from "../fixtures/conditions.ts";
import { CountStream } from "../fixtures/count-stream.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, recordBadge } from "../fixtures/probes.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { embedPath } from "../pages/embed-page.ts";

test("a page over plain HTTP, which is no secure context, is counted and live", async ({
  page,
  channelId,
  audience,
  baseURL,
  browserName,
}) => {
  test.skip(browserName !== "chromium", "the second name of this machine is a setting of Chromium");
  const address = new URL(`/${channelId}`, baseURL);
  test.skip(address.hostname !== "127.0.0.1", "the second name leads to this machine only");
  address.hostname = "viewer.test";
  const watching = new ChannelPage(page);
  await page.goto(address.href);
  expect(await page.evaluate(() => isSecureContext)).toBe(false);
  await audience.expectCount(channelId, 1);
  await audience.join(channelId);
  await watching.expectCount(2);
});

test("who blocks storage is counted, as one viewer while the page is open", async ({
  context,
  page,
  channelId,
  audience,
}) => {
  await blockStorage(context);
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await audience.join(channelId);
  await watching.expectCount(2);
  await page.close();
  await audience.expectCount(channelId, 1);
});

for (const [what, id] of [
  ["text", "someone"],
  ["zeros", "00000000-0000-0000-0000-000000000000"],
] as const) {
  test(`an id of ${what} in the storage, which the server would refuse, is replaced`, async ({
    context,
    page,
    channelId,
  }) => {
    await context.addInitScript((id) => localStorage.setItem("aforo.viewer", id), id);
    const watching = new ChannelPage(page);
    await watching.join(channelId);
    await watching.expectCount(1);
    expect(await page.evaluate(() => localStorage.getItem("aforo.viewer"))).not.toBe(id);
  });
}

test("a player in a sandboxed frame, without an origin or storage, is counted where that is allowed", async ({
  page,
  channelId,
  newServer,
  newHost,
}) => {
  const server = await newServer({ VIEWER_ALLOWED_ORIGINS: "null" });
  const stream = await CountStream.open(server.url, channelId);
  const address = server.url + embedPath(channelId, true);
  const host = await newHost(
    `<iframe sandbox="allow-scripts" src="${address}" title="Player" width="640" height="360"></iframe>`,
  );
  await page.goto(host.otherSite);
  await stream.expectCount(1);
  await new Badge(page.frameLocator("iframe")).expectCount(1);
  await page.close();
  await stream.expectCount(0);
  await stream.close();
});

test("a join that is refused for a while is tried again, and the badge doesn't suffer", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channelId, 2);
  let refused = 0;
  await page.route("**/api/viewer/join", async (route) => {
    refused += 1;
    await (refused <= 2 ? route.fulfill({ status: 503, json: { code: "unavailable" } }) : route.continue());
  });
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.expectCount(3);
  expect(refused).toBe(3);
  expect(await badgeHistory(page)).toEqual([
    { state: "live", number: "2" },
    { state: "live", number: "3" },
  ]);
});

test("a stream that is refused is opened again, and the badge keeps its number", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channelId, 2);
  await page.route("**/api/viewer/sse/**", (route) => route.fulfill({ status: 503 }), { times: 1 });
  await recordBadge(page);
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await watching.expectCount(3);
  await audience.join(channelId);
  await watching.expectCount(4);
  const shown = await badgeHistory(page);
  expect(shown.map(({ state }) => state)).not.toContain("unknown");
  expect(shown.map(({ number }) => number)).not.toContain("0");
});
