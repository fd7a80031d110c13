/**
 * The player with a recorded HLS stream, of the site's origin or another one, played natively or with hls.js; and its
 * messages, with and without JavaScript.
 */

import type { Page } from "@playwright/test";

import { violations } from "../fixtures/accessibility.ts";
import { disableNativeHls, removeMediaSource } from "../fixtures/conditions.ts";
import { serveStream } from "../fixtures/hls.ts";
import { expect, test } from "../fixtures/index.ts";
import { embedPath } from "../pages/embed-page.ts";
import { Player } from "../pages/player.ts";

const TEMPLATE = "https://stream.test/{channel}/index.m3u8";

const playsNatively = (page: Page) =>
  page.evaluate(() => document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "");

/** Records the paths by which the page loads hls.js. */
function recordHlsLoads(page: Page): string[] {
  const paths: string[] = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (/^\/hls-\w+\.js$/.test(pathname)) paths.push(pathname);
  });
  return paths;
}

for (const [place, origin] of [
  ["the site's origin", ""],
  ["another origin", "https://stream.test"],
] as const) {
  test(`a stream from ${place} plays natively, muted and without a click, on all pages`, async ({
    page,
    channelId,
    newServer,
  }) => {
    test.skip(!(await playsNatively(page)), "this browser has no native HLS");
    const server = await newServer({ STREAM_URL_TEMPLATE: `${origin}/hls/{channel}/index.m3u8` });
    const prefix = `${origin || server.url}/hls/${channelId}`;
    const requested = await serveStream(page, prefix);
    const hls = recordHlsLoads(page);
    for (const path of [`/${channelId}`, embedPath(channelId), embedPath(channelId, true)]) {
      await page.goto(server.url + path);
      const player = new Player(page);
      await player.expectPicture(160);
      await expect(player.video).toHaveJSProperty("muted", true);
    }
    expect(new Set(requested)).toContain(`${prefix}/1.m4s`);
    expect(hls).toEqual([]);
  });

  test(`a stream from ${place} plays with hls.js if the browser has no native HLS`, async ({
    page,
    channelId,
    newServer,
    javaScriptEnabled,
  }) => {
    test.skip(!javaScriptEnabled, "hls.js is a script");
    const server = await newServer({ STREAM_URL_TEMPLATE: `${origin}/hls/{channel}/index.m3u8` });
    await serveStream(page, `${origin || server.url}/hls/${channelId}`);
    await disableNativeHls(page);
    const hls = recordHlsLoads(page);
    for (const path of [`/${channelId}`, embedPath(channelId)]) {
      await page.goto(server.url + path);
      await new Player(page).expectPicture(160);
    }
    expect(hls.length).toBeGreaterThan(0);
    const response = await page.request.get(server.url + hls[0]);
    expect(await response.text()).toContain("Apache License 2.0");
    expect((await page.request.get(`${server.url}/hls.js.LICENSE.txt`)).ok()).toBe(true);
  });
}

test("hls.js that fails to load is loaded again", async ({
  page,
  channelId,
  newServer,
  javaScriptEnabled,
  faults,
}) => {
  test.skip(!javaScriptEnabled, "hls.js is a script");
  faults.expect(/ERR_FAILED/);
  const server = await newServer({ STREAM_URL_TEMPLATE: `/hls/{channel}/index.m3u8` });
  await serveStream(page, `${server.url}/hls/${channelId}`);
  await disableNativeHls(page);
  // Browsers may keep the failure of an import for its URL, so the next attempt has a query.
  let failed = 0;
  await page.route(/\/hls-\w+\.js$/, (route) => {
    failed += 1;
    return route.abort();
  });
  await page.goto(`${server.url}/${channelId}`);
  await new Player(page).expectPicture(160);
  expect(failed).toBeGreaterThan(0);
});

for (const colorScheme of ["light", "dark"] as const) {
  test(
    `a player that loads, plays or cannot play is accessible in the ${colorScheme} theme`,
    { tag: "@js" },
    async ({ newVisitor, channelId, newServer, faults }) => {
      // The request that is held while the player loads.
      faults.expect(/ERR_/);
      const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
      const page = await newVisitor({ colorScheme, javaScriptEnabled: true });
      await disableNativeHls(page);
      const player = new Player(page);
      await page.route("https://stream.test/**", () => undefined);
      await page.goto(`${server.url}/${channelId}`);
      await player.expectState("loading");
      expect(await violations(page), "loading").toEqual([]);
      await page.unrouteAll({ behavior: "ignoreErrors" });
      await serveStream(page, `https://stream.test/${channelId}`);
      await page.reload();
      await player.expectPicture(160);
      expect(await violations(page), "playing").toEqual([]);
      await removeMediaSource(page);
      await page.reload();
      await player.expectState("unplayable");
      expect(await violations(page), "unplayable").toEqual([]);
    },
  );
}

test("a page without a stream loads no player", async ({ page, channelId }) => {
  const requested: string[] = [];
  page.on("request", (request) => requested.push(new URL(request.url()).pathname));
  await page.goto(`/${channelId}`);
  await page.waitForLoadState("load");
  expect(requested.filter((path) => /player|hls/.test(path))).toEqual([]);
  await expect(page.locator("video")).toHaveCount(0);
});

test.describe("with JavaScript", () => {
  test.skip(({ javaScriptEnabled }) => !javaScriptEnabled, "needs JavaScript");

  test("a channel that is off air shows a message, and its stream starts automatically", async ({
    page,
    channelId,
    newServer,
    faults,
  }) => {
    faults.expect(/404/);
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    const off = await page.route("https://stream.test/**", (route) => route.fulfill({ status: 404 }));
    await page.goto(`${server.url}/${channelId}`);
    const player = new Player(page);
    await player.expectState("off-air");
    await expect(player.message).toContainText("El canal no está en vivo");
    await expect(player.retry).toBeHidden();
    await off.dispose();
    await serveStream(page, `https://stream.test/${channelId}`);
    await player.expectPicture(160);
  });

  test("a stream that has ended is not played again", async ({ page, channelId, newServer }) => {
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    const requested = await serveStream(page, `https://stream.test/${channelId}`);
    await page.goto(`${server.url}/${channelId}`);
    const player = new Player(page);
    await player.expectState("playing");
    await player.expectState("off-air");
    const segments = () => requested.filter((url) => url.endsWith(".m4s")).length;
    const played = segments();
    const playlists = () => requested.length - segments();
    const before = playlists();
    await expect.poll(playlists, { timeout: 30_000 }).toBeGreaterThan(before + 1);
    expect(segments()).toBe(played);
    await player.expectState("off-air");
  });

  for (const [failure, response] of [
    ["fails with 503", { status: 503 }],
    ["can't be reached", undefined],
  ] as const) {
    test(`a stream that ${failure} shows a message and a button that retries at once`, async ({
      page,
      channelId,
      newServer,
      faults,
    }) => {
      faults.expect(/503|ERR_|NetworkError|stream\.test/);
      await disableNativeHls(page);
      const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
      const player = new Player(page);
      // The player also retries by itself. If it does so before the click, the button is gone, and all begins again.
      await expect(async () => {
        const broken = await page.route("https://stream.test/**", (route) =>
          response ? route.fulfill(response) : route.abort("connectionrefused"),
        );
        await page.goto(`${server.url}/${channelId}`);
        await player.expectState("broken");
        await expect(player.message).toContainText("No se pudo cargar la transmisión");
        await broken.dispose();
        await serveStream(page, `https://stream.test/${channelId}`);
        await player.retry.click({ timeout: 2_000 });
      }).toPass();
      await player.expectPicture(160);
    });
  }

  test("hls.js that does not load shows a message and a button that retries at once", async ({
    page,
    channelId,
    newServer,
    faults,
  }) => {
    faults.expect(/404/);
    await disableNativeHls(page);
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    await serveStream(page, `https://stream.test/${channelId}`);
    const player = new Player(page);
    // As after an update of the server, which has another hls.js than the open page.
    const missing = new Set<string>();
    const removed = await page.route(/\/hls-\w+\.js/, (route) => {
      missing.add(new URL(route.request().url()).search);
      return route.fulfill({ status: 404 });
    });
    await page.goto(`${server.url}/${channelId}`);
    await player.expectState("broken");
    await expect(player.message).toContainText("No se pudo cargar la transmisión");
    // Each attempt has another query.
    await expect.poll(() => [...missing].slice(0, 3), { timeout: 30_000 }).toEqual(["", "?1", "?2"]);
    await player.expectState("broken");
    await removed.dispose();
    // The player also retries by itself, and then the button is gone.
    await player.retry.click({ timeout: 2_000 }).catch(() => {});
    await player.expectPicture(160);
  });

  test("if native playback fails, hls.js plays the stream", async ({
    page,
    channelId,
    newServer,
    browserName,
  }) => {
    test.skip(browserName !== "chromium", "needs native HLS");
    await page.addInitScript(() => {
      const { set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "src")!;
      Object.defineProperty(HTMLMediaElement.prototype, "src", {
        set(url: string) {
          // A text file is not a valid stream.
          set!.call(this, url.startsWith("blob:") ? url : "/robots.txt");
        },
      });
    });
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    await serveStream(page, `https://stream.test/${channelId}`);
    await page.goto(`${server.url}/${channelId}`);
    await new Player(page).expectPicture(160);
  });

  test("a browser that can't play HLS at all shows a message", async ({ page, channelId, newServer }) => {
    await disableNativeHls(page);
    await removeMediaSource(page);
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    await page.goto(`${server.url}/${channelId}`);
    const player = new Player(page);
    await player.expectState("unplayable");
    await expect(player.message).toHaveText("Este navegador no puede reproducir la transmisión");
  });

  test("if the browser blocks autoplay, the video is shown for a click", async ({
    page,
    channelId,
    newServer,
  }) => {
    await page.addInitScript(() => {
      HTMLMediaElement.prototype.play = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    await serveStream(page, `https://stream.test/${channelId}`);
    await page.goto(`${server.url}/${channelId}`);
    const player = new Player(page);
    await player.expectState("ready");
    await expect(player.video).toBeVisible();
  });
});

test("without JavaScript, a message behind the video says why there may be no picture", async ({
  page,
  channelId,
  newServer,
  javaScriptEnabled,
  faults,
}) => {
  test.skip(javaScriptEnabled === true, "scripts replace the message");
  faults.expect(/404/);
  const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
  await page.route("https://stream.test/**", (route) => route.fulfill({ status: 404 }));
  await page.goto(`${server.url}/${channelId}`);
  await expect(new Player(page).message).toHaveText(/no puede reproducirla/);
});

for (const [state, status] of [
  ["off-air", 404],
  ["broken", 503],
] as const) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(
      `a player in the state ${state} is accessible in the ${colorScheme} theme`,
      { tag: "@js" },
      async ({ newVisitor, channelId, newServer, faults }) => {
        faults.expect(new RegExp(String(status)));
        const page = await newVisitor({ colorScheme, javaScriptEnabled: true });
        await disableNativeHls(page);
        const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
        await page.route("https://stream.test/**", (route) => route.fulfill({ status }));
        for (const path of [`/${channelId}`, embedPath(channelId, true)]) {
          await page.goto(server.url + path);
          await new Player(page).expectState(state);
          expect(await violations(page)).toEqual([]);
        }
      },
    );
  }
}
