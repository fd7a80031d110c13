/**
 * The player with a real stream: HLS, from the site's own address and from another; played by the browser itself where it
 * can, and with hls.js where it can't. What can be said without scripts is said without them too.
 */

import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";

import { serveStream } from "../fixtures/hls.ts";
import { expect, test } from "../fixtures/index.ts";
import { embedPath } from "../pages/embed-page.ts";
import { Player } from "../pages/player.ts";

const TEMPLATE = "https://stream.test/{channel}/index.m3u8";

/** Has the browser play no HLS by itself, as Firefox on desktops. */
const needsFeeding = (page: Page) =>
  page.addInitScript(() => {
    HTMLMediaElement.prototype.canPlayType = () => "";
  });

const playsNatively = (page: Page) =>
  page.evaluate(() => document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "");

/** The addresses of hls.js that the page asks for. */
function watchForHls(page: Page): string[] {
  const asked: string[] = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (/^\/hls-\w+\.js$/.test(pathname)) asked.push(pathname);
  });
  return asked;
}

for (const [place, origin] of [
  ["the site's own address", ""],
  ["another origin", "https://stream.test"],
] as const) {
  test(`a stream from ${place} plays by itself on the channel page and in the player`, async ({
    page,
    channelId,
    newServer,
  }) => {
    test.skip(!(await playsNatively(page)), "plays no HLS by itself");
    const server = await newServer({ STREAM_URL_TEMPLATE: `${origin}/hls/{channel}/index.m3u8` });
    const prefix = `${origin || server.url}/hls/${channelId}`;
    const asked = await serveStream(page, prefix);
    const hls = watchForHls(page);
    for (const path of [`/${channelId}`, embedPath(channelId), embedPath(channelId, true)]) {
      await page.goto(server.url + path);
      const player = new Player(page);
      await player.expectPicture(160);
      await expect(player.video).toHaveJSProperty("muted", true);
    }
    expect(new Set(asked)).toContain(`${prefix}/1.m4s`);
    expect(hls).toEqual([]);
  });

  test(`a stream from ${place} plays with hls.js where the browser plays no HLS`, async ({
    page,
    channelId,
    newServer,
    javaScriptEnabled,
  }) => {
    test.skip(!javaScriptEnabled, "hls.js is a script");
    const server = await newServer({ STREAM_URL_TEMPLATE: `${origin}/hls/{channel}/index.m3u8` });
    await serveStream(page, `${origin || server.url}/hls/${channelId}`);
    await needsFeeding(page);
    const hls = watchForHls(page);
    for (const path of [`/${channelId}`, embedPath(channelId)]) {
      await page.goto(server.url + path);
      await new Player(page).expectPicture(160);
    }
    expect(hls.length).toBeGreaterThan(0);
    const answer = await page.request.get(server.url + hls[0]);
    expect(await answer.text()).toContain("Apache License 2.0");
    expect((await page.request.get(`${server.url}/hls.js.LICENSE.txt`)).ok()).toBe(true);
  });
}

test("a page without a stream loads no player", async ({ page, channelId }) => {
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.goto(`/${channelId}`);
  await page.waitForLoadState("load");
  expect(asked.filter((path) => /player|hls/.test(path))).toEqual([]);
  await expect(page.locator("video")).toHaveCount(0);
});

test.describe("where scripts run", () => {
  test.skip(({ javaScriptEnabled }) => !javaScriptEnabled, "scripts say it");

  test("off air is no error, and the stream starts by itself when it comes", async ({
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
    const asked = await serveStream(page, `https://stream.test/${channelId}`);
    await page.goto(`${server.url}/${channelId}`);
    const player = new Player(page);
    await player.expectState("playing");
    await player.expectState("off-air");
    const segments = () => asked.filter((url) => url.endsWith(".m4s")).length;
    const played = segments();
    const lists = asked.length - played;
    await expect.poll(() => asked.length - segments(), { timeout: 30_000 }).toBeGreaterThan(lists + 1);
    expect(segments()).toBe(played);
    await player.expectState("off-air");
  });

  for (const [what, answer] of [
    ["fails", { status: 503 }],
    ["can't be reached", undefined],
  ] as const) {
    test(`a stream that ${what} is said to be missing, and can be asked for at once`, async ({
      page,
      channelId,
      newServer,
      faults,
    }) => {
      faults.expect(/503|ERR_|NetworkError|stream\.test/);
      await needsFeeding(page);
      const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
      const broken = await page.route("https://stream.test/**", (route) =>
        answer ? route.fulfill(answer) : route.abort("connectionrefused"),
      );
      await page.goto(`${server.url}/${channelId}`);
      const player = new Player(page);
      await player.expectState("broken");
      await expect(player.message).toContainText("No se pudo cargar la transmisión");
      await broken.dispose();
      await serveStream(page, `https://stream.test/${channelId}`);
      await player.retry.click();
      await player.expectPicture(160);
    });
  }

  test("where the browser plays the stream badly, hls.js takes over", async ({
    page,
    channelId,
    newServer,
    browserName,
  }) => {
    test.skip(browserName !== "chromium", "tried where the browser plays HLS by itself");
    await page.addInitScript(() => {
      const { set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "src")!;
      Object.defineProperty(HTMLMediaElement.prototype, "src", {
        set(url: string) {
          // What is no stream at all is not understood.
          set!.call(this, url.startsWith("blob:") ? url : "/robots.txt");
        },
      });
    });
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    await serveStream(page, `https://stream.test/${channelId}`);
    await page.goto(`${server.url}/${channelId}`);
    await new Player(page).expectPicture(160);
  });

  test("where nothing can play the stream, it says so", async ({ page, channelId, newServer }) => {
    await needsFeeding(page);
    await page.addInitScript(() => {
      for (const name of ["MediaSource", "ManagedMediaSource"]) Reflect.deleteProperty(window, name);
    });
    const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
    await page.goto(`${server.url}/${channelId}`);
    const player = new Player(page);
    await player.expectState("unplayable");
    await expect(player.message).toHaveText("Este navegador no puede reproducir la transmisión");
  });

  test("where the browser lets nothing begin by itself, it asks for a click", async ({
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

test("without scripts, what lies behind the video says why there may be no picture", async ({
  page,
  channelId,
  newServer,
  javaScriptEnabled,
  faults,
}) => {
  test.skip(javaScriptEnabled === true, "scripts say more");
  faults.expect(/404/);
  const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
  await page.route("https://stream.test/**", (route) => route.fulfill({ status: 404 }));
  await page.goto(`${server.url}/${channelId}`);
  await expect(new Player(page).message).toHaveText(/no la reproduce/);
});

for (const [state, answer] of [
  ["off-air", 404],
  ["broken", 503],
] as const) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`a player that is ${state} is accessible on a ${colorScheme} page`, async ({
      newVisitor,
      channelId,
      newServer,
      faults,
    }) => {
      faults.expect(new RegExp(String(answer)));
      const page = await newVisitor({ colorScheme, javaScriptEnabled: true });
      await needsFeeding(page);
      const server = await newServer({ STREAM_URL_TEMPLATE: TEMPLATE });
      await page.route("https://stream.test/**", (route) => route.fulfill({ status: answer }));
      for (const path of [`/${channelId}`, embedPath(channelId, true)]) {
        await page.goto(server.url + path);
        await new Player(page).expectState(state);
        const { violations } = await new AxeBuilder({ page }).analyze();
        expect(violations.map(({ id }) => id)).toEqual([]);
      }
    });
  }
}
