/**
 * The live signal: pages and frames say "off air" until it comes, and start the player then, without a reload. With a
 * real broadcast that ffmpeg publishes through nginx, whose hooks report it; and with the call of the operator's programs.
 */

import { violations } from "../fixtures/accessibility.ts";
import { Broadcast, STREAM_URL_TEMPLATE } from "../fixtures/broadcast.ts";
import { Calls } from "../fixtures/calls.ts";
import { serveStream } from "../fixtures/hls.ts";
import { expect, test } from "../fixtures/index.ts";
import type { Server } from "../fixtures/server.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { embedPath } from "../pages/embed-page.ts";
import { Player } from "../pages/player.ts";

const SECRET = "hook-secret-0123456789";
const TOKEN = "operator-token-0123456789";
const SIGNAL = { LIVE: "signal", API_TOKEN: TOKEN, LIVE_HOOK_SECRET: SECRET };

/** A broadcast as the API has it. */
interface Kept {
  startedAt: number;
  endedAt: number | null;
  watchSeconds: number;
}

async function setLive(server: Server, channel: string, live: boolean): Promise<void> {
  const response = await fetch(`${server.url}/api/channel/${channel}/live`, {
    method: "PUT",
    headers: { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify({ live }),
  });
  expect(response.status).toBe(200);
}

test("pages and frames play a real broadcast as soon as its video server reports it", async ({
  page,
  channelId,
  newServer,
  newVisitor,
  faults,
}) => {
  test.setTimeout(240_000);
  // The playlist is missing until the first segment is written. Segments may be missing while the broadcast stops.
  faults.expect(/404|ERR_ABORTED/);
  const server = await newServer({ STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32", ...SIGNAL });
  const broadcast = await Broadcast.open(server.url, SECRET);
  const [frame, home] = [await newVisitor(), await newVisitor()];
  try {
    const asked: string[] = [];
    let loads = 0;
    for (const each of [page, frame]) {
      each.on("request", (request) => asked.push(new URL(request.url()).pathname));
      each.on("load", () => (loads += 1));
    }
    await page.goto(`${broadcast.url}/${channelId}`);
    await frame.goto(broadcast.url + embedPath(channelId));
    await home.goto(broadcast.url);
    const players = [new Player(page), new Player(frame)];
    const { badge } = new ChannelPage(page);
    for (const player of players) {
      await player.expectState("off-air");
      await expect(player.message).toContainText("El canal no está en vivo");
    }
    await badge.expectCount(2);
    await expect(badge.root).toHaveCSS("background-color", "rgb(87, 83, 78)");
    await expect(home.getByText("No hay canales en vivo en este momento.")).toBeVisible();
    for (const width of [320, 426]) {
      expect(asked.filter((path) => path.endsWith(".m3u8"))).toEqual([]);
      broadcast.publish(channelId, width);
      for (const player of players) await expect(player.root).not.toHaveAttribute("data-state", "off-air");
      for (const player of players) await player.expectPicture(width);
      await expect(badge.root).toHaveCSS("background-color", "rgb(220, 38, 38)");
      await expect(home.locator(`.live__link[href="/${channelId}"]`)).toBeVisible({ timeout: 30_000 });
      await broadcast.stop();
      for (const player of players) await player.expectState("off-air");
      await expect(home.getByText("No hay canales en vivo en este momento.")).toBeVisible({
        timeout: 30_000,
      });
      // Requests under way when the players gave up.
      await page.waitForTimeout(1_000);
      asked.length = 0;
    }
    await badge.expectCount(2);
    expect(loads).toBe(2);
  } finally {
    await Promise.all([page, frame, home].map((each) => each.close()));
    await broadcast.close();
  }
});

test("an open page says within three seconds that a broadcast has begun, and a reconnect is the same broadcast", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  test.setTimeout(240_000);
  // The playlist is missing until the first segment is written. Segments may be missing while the broadcast stops.
  faults.expect(/404|ERR_ABORTED/);
  const settings = { STREAM_URL_TEMPLATE, TRUSTED_PROXIES: "127.0.0.1/32", STATS: "public", ...SIGNAL };
  const server = await newServer(settings);
  const broadcast = await Broadcast.open(server.url, SECRET);
  const kept = async () => {
    const response = await fetch(`${server.url}/api/channel/${channelId}/broadcasts`);
    return ((await response.json()) as { broadcasts: Kept[] }).broadcasts;
  };
  try {
    await page.goto(`${broadcast.url}/${channelId}`);
    const player = new Player(page);
    const { badge } = new ChannelPage(page);
    await player.expectState("off-air");
    await badge.expectCount(1);
    // Notes when the page says something else about the channel, by the clock of the server's machine.
    const changes = await player.root.evaluateHandle((player) => {
      const changes: { isOnAir: boolean; at: number }[] = [];
      new MutationObserver(() => {
        const isOnAir = player.getAttribute("data-state") !== "off-air";
        if (isOnAir !== (changes.at(-1)?.isOnAir ?? false)) changes.push({ isOnAir, at: Date.now() });
      }).observe(player, { attributes: true, attributeFilter: ["data-state"] });
      return changes;
    });

    broadcast.publish(channelId, 320);
    await expect(player.root).not.toHaveAttribute("data-state", "off-air", { timeout: 60_000 });
    await expect(badge.root).toHaveCSS("background-color", "rgb(220, 38, 38)");
    // The broadcast starts when the call of nginx has been accepted.
    await expect.poll(async () => (await kept()).length).toBe(1);
    const { startedAt } = (await kept())[0]!;
    const [first] = await changes.jsonValue();
    expect(first?.isOnAir).toBe(true);
    expect(first!.at - startedAt, "milliseconds until the page says so").toBeLessThan(3_000);

    await broadcast.stop();
    await player.expectState("off-air");
    await expect(badge.root).toHaveCSS("background-color", "rgb(87, 83, 78)");
    const resumed = Date.now();
    broadcast.publish(channelId, 320);
    await expect(player.root).not.toHaveAttribute("data-state", "off-air", { timeout: 60_000 });
    expect((await changes.jsonValue()).map(({ isOnAir }) => isOnAir)).toEqual([true, false, true]);
    // The page was there all the time, which counts, from the first start until after the second one.
    await expect(async () => {
      const all = await kept();
      expect(all).toMatchObject([{ startedAt, endedAt: null, peak: 1, uniques: 1, observed: 1 }]);
      expect(all[0]!.watchSeconds * 1_000).toBeGreaterThan(resumed - startedAt + 2_000);
    }).toPass({ timeout: 60_000 });
  } finally {
    await page.close();
    await broadcast.close();
  }
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`a page of a channel off air is accessible in the ${colorScheme} theme`, async ({
    newVisitor,
    channelId,
    newServer,
  }) => {
    const server = await newServer({ STREAM_URL_TEMPLATE, ...SIGNAL });
    const page = await newVisitor({ colorScheme });
    await page.goto(`${server.url}/${channelId}`);
    await new Player(page).expectState("off-air");
    const { badge } = new ChannelPage(page);
    await badge.expectCount(1);
    await expect(badge.root).toHaveCSS("background-color", "rgb(87, 83, 78)");
    expect(await violations(page)).toEqual([]);
  });
}

test("a frame listens to the stream only while it plays nothing", async ({ page, channelId, newServer }) => {
  const server = await newServer({ STREAM_URL_TEMPLATE, ...SIGNAL });
  const requested = await serveStream(page, `${server.url}/hls/${channelId}`);
  const calls = new Calls(page);
  await page.goto(server.url + embedPath(channelId));
  const player = new Player(page);
  await player.expectState("off-air");
  await expect.poll(() => calls.openStreams).toBe(1);
  expect(requested).toEqual([]);
  await setLive(server, channelId, true);
  await player.expectState("playing");
  await expect.poll(() => calls.streams.length - calls.openStreams, "closed streams").toBe(1);
  // The recording ends after four seconds, while the channel is still on air: the player waits for more of it.
  await player.expectState("loading");
  await expect.poll(() => calls.openStreams).toBe(1);
  await setLive(server, channelId, false);
  await player.expectState("off-air");
});

test("without a working stream the player finds the broadcast by itself", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(/ERR_|sse|ping|counts/);
  const server = await newServer({ STREAM_URL_TEMPLATE, ...SIGNAL });
  await serveStream(page, `${server.url}/hls/${channelId}`);
  // The page learns nothing from the server after it has loaded.
  await page.route(/\/api\/viewer\/(sse|ping|counts)/, (route) => route.abort());
  await page.clock.install();
  const streaming = page.waitForRequest(/\/api\/viewer\/sse/);
  await page.goto(server.url + embedPath(channelId));
  const player = new Player(page);
  await player.expectState("off-air");
  // The page's scripts run.
  await streaming;
  await setLive(server, channelId, true);
  // The stream counts as dead after a minute. Then the player asks by itself, again and again.
  await page.clock.runFor(65_000);
  await expect(async () => {
    // Not while it loads, which takes real time: it would give up.
    const state = await player.root.getAttribute("data-state");
    if (state === "off-air") await page.clock.runFor(5_000);
    await expect(player.root).toHaveAttribute("data-state", "playing", { timeout: 3_000 });
  }).toPass({ timeout: 60_000 });
});

test("a site without streams says whether a channel is on air", async ({ page, channelId, newServer }) => {
  const server = await newServer(SIGNAL);
  await page.goto(`${server.url}/${channelId}`);
  const player = new Player(page);
  await expect(player.message).toContainText("El canal no está en vivo");
  await setLive(server, channelId, true);
  await expect(player.message).toContainText("Aquí se verá la transmisión");
  await setLive(server, channelId, false);
  await expect(player.message).toContainText("El canal no está en vivo");
});
