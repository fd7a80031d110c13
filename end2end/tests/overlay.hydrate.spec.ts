/**
 * The overlay with its script: live counts, milestones, theming, and recovery from every failure.
 */

import { brotliCompressSync } from "node:zlib";

import type { Page } from "@playwright/test";

import { violations } from "../fixtures/accessibility.ts";
import { Calls } from "../fixtures/calls.ts";
import { advanceClock, refuseStreams, sendPageHide, sendPageShow } from "../fixtures/conditions.ts";
import { UNREACHABLE } from "../fixtures/faults.ts";
import { expect, test } from "../fixtures/index.ts";
import { OverlayPage } from "../pages/overlay-page.ts";

/** The most bytes of all scripts of the page, compressed with Brotli. */
const SCRIPT_BUDGET = 3_000;

/** What OBS puts into every new browser source. */
const OBS_CSS = "body { background-color: rgba(0, 0, 0, 0); margin: 0px auto; overflow: hidden; }";

test("the number follows the count, over one stream and without counting the page", async ({
  page,
  channelId,
  audience,
}) => {
  const calls = new Calls(page);
  const overlay = new OverlayPage(page);
  await overlay.connect(channelId);
  await overlay.badge.expectCount(0);
  await audience.join(channelId, 2);
  await overlay.badge.expectCount(2);
  await expect(overlay.badge.root).toHaveAccessibleName("2 espectadores");
  await audience.leave();
  await overlay.badge.expectCount(1);
  await expect(overlay.badge.root).toHaveAccessibleName("1 espectador");
  expect(calls.streams).toHaveLength(1);
  expect(calls.joins).toEqual([]);
  expect(calls.heartbeats).toEqual([]);
  expect(await violations(page, "main")).toEqual([]);
});

test("all scripts together are within the budget, without WebAssembly", async ({ page, channelId }) => {
  const loaded: string[] = [];
  const scripts: Promise<Buffer>[] = [];
  page.on("response", (response) => {
    loaded.push(new URL(response.url()).pathname);
    if (response.request().resourceType() === "script") scripts.push(response.body());
  });
  const overlay = new OverlayPage(page);
  const html = await overlay.connect(channelId);
  await overlay.badge.expectCount(0);
  const inline = [...html.matchAll(/<script[^>]*>(.*?)<\/script>/gs)].map(([, code]) => Buffer.from(code!));
  expect(inline).toHaveLength(1);
  const all = [...inline, ...(await Promise.all(scripts))];
  expect(all).toHaveLength(2);
  const sizes = all.map((script) => brotliCompressSync(script).length);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThanOrEqual(SCRIPT_BUDGET);
  expect(loaded.filter((path) => /wasm|pkg/.test(path))).toEqual([]);
});

test("the CSS of OBS and of its user applies, and the page stays transparent", async ({
  page,
  channelId,
  audience,
}) => {
  await audience.join(channelId, 5);
  const overlay = new OverlayPage(page);
  await overlay.connect(channelId);
  await overlay.addCustomCss(OBS_CSS);
  const { root, dot, eye } = overlay.badge;
  await expect(root).toHaveCSS("font-size", "32px");
  await overlay.addCustomCss(
    ":root { --aforo-badge: transparent; --aforo-badge-text: #0f0; --aforo-size: 64px; --aforo-dot: none; " +
      "--aforo-eye: none; --aforo-margin: 0; --aforo-align: flex-end; --aforo-font: monospace }",
  );
  await expect(root).toHaveCSS("background-color", "rgba(0, 0, 0, 0)");
  await expect(root).toHaveCSS("color", "rgb(0, 255, 0)");
  await expect(root).toHaveCSS("font-size", "64px");
  await expect(root).toHaveCSS("font-family", "monospace");
  await expect(dot).toBeHidden();
  await expect(eye).toBeHidden();
  const box = (await root.boundingBox())!;
  expect(box.x + box.width).toBe(page.viewportSize()!.width);
  expect(box.y).toBe(0);
  expect(await alphaAt(page, 5, 5)).toBe(0);
});

test("outside of the badge every pixel is transparent", async ({ page, channelId }) => {
  await page.emulateMedia({ colorScheme: "dark" });
  const overlay = new OverlayPage(page);
  await overlay.connect(channelId);
  expect(await alphaAt(page, 5, 5)).toBe(0);
  expect(await alphaAt(page, 600, 400)).toBe(0);
  expect(await alphaAt(page, 40, 40)).toBe(255);
});

/** The opacity of a pixel of the page on a transparent ground, as OBS has it: 0 to 255. */
async function alphaAt(page: Page, x: number, y: number): Promise<number> {
  const image = (await page.screenshot({ omitBackground: true })).toString("base64");
  return page.evaluate(
    async ([image, x, y]) => {
      const picture = new Image();
      picture.src = `data:image/png;base64,${image}`;
      await picture.decode();
      const canvas = document.createElement("canvas").getContext("2d")!;
      canvas.canvas.width = picture.width;
      canvas.canvas.height = picture.height;
      canvas.drawImage(picture, 0, 0);
      return canvas.getImageData(x, y, 1, 1).data[3]!;
    },
    [image, x, y] as const,
  );
}

test.describe("milestones", () => {
  test("each is celebrated once, when the count first reaches it", async ({ page, channelId, audience }) => {
    await audience.join(channelId, 2);
    const overlay = new OverlayPage(page);
    await overlay.connect(channelId, "?milestones=2,3,5,6");
    const celebrations = await recordCelebrations(page);
    await audience.join(channelId);
    await overlay.expectCelebration(3);
    await expect(overlay.badge.root).toHaveCSS("animation-name", "jump");
    // It ends by itself.
    await expect(overlay.badge.root).not.toHaveAttribute("data-milestone");
    await audience.leave();
    await overlay.badge.expectCount(2);
    await audience.join(channelId);
    await overlay.badge.expectCount(3);
    // The update interval gathers joins, so the count may pass a milestone without stopping there.
    await audience.join(channelId, 4);
    await overlay.badge.expectCount(7);
    await expect.poll(async () => (await celebrations()).at(-1)).toBe("6");
    const all = await celebrations();
    expect(all.filter((milestone) => milestone === "3")).toHaveLength(1);
    expect(all).not.toContain("2");
    expect(new Set(all).size).toBe(all.length);
  });

  test("a milestone that is reached when the page opens is not celebrated", async ({
    page,
    channelId,
    audience,
  }) => {
    await audience.join(channelId, 3);
    const overlay = new OverlayPage(page);
    await overlay.connect(channelId, "?milestones=3");
    const celebrations = await recordCelebrations(page);
    await audience.join(channelId);
    await overlay.badge.expectCount(4);
    await audience.leave();
    await overlay.badge.expectCount(3);
    expect(await celebrations()).toEqual([]);
  });

  test("nothing moves with prefers-reduced-motion, and a ring shows the milestone", async ({
    page,
    channelId,
    audience,
  }) => {
    await page.emulateMedia({ reducedMotion: "reduce" });
    const overlay = new OverlayPage(page);
    await overlay.connect(channelId, "?milestones=1");
    await expect(overlay.badge.dot).toHaveCSS("animation-name", "none");
    await audience.join(channelId);
    await overlay.expectCelebration(1);
    await expect(overlay.badge.root).toHaveCSS("animation-name", "none");
    await expect(overlay.badge.root).toHaveCSS("box-shadow", /rgb\(250, 204, 21\)/);
    const pseudo = await overlay.badge.root.evaluate((badge) =>
      ["::before", "::after"].map((name) => {
        const { animationName, opacity } = getComputedStyle(badge, name);
        return [animationName, opacity];
      }),
    );
    expect(pseudo).toEqual([
      ["none", "0"],
      ["none", "0"],
    ]);
  });

  test("a stale count celebrates nothing", async ({ page, channelId }) => {
    const update = (count: number, stale: boolean) =>
      `data: ${JSON.stringify({ channelId, count, stale, asOf: 1_790_000_000_000 })}\n\n`;
    await page.route("**/api/viewer/sse/**", (route) =>
      route.fulfill({ contentType: "text/event-stream", body: update(0, false) + update(150, true) }),
    );
    const overlay = new OverlayPage(page);
    await overlay.goto(channelId, "?milestones=100");
    await expect(overlay.badge.number).toHaveText("150");
    await overlay.expectState("stale");
    await expect(overlay.badge.root).not.toHaveAttribute("data-milestone");
  });
});

/** Records the milestones that the badge celebrates from now on. */
async function recordCelebrations(page: Page): Promise<() => Promise<string[]>> {
  await page.evaluate(() => {
    const badge = document.querySelector<HTMLElement>(".viewer-counter")!;
    const seen: string[] = [];
    (window as { celebrations?: string[] }).celebrations = seen;
    const options = { attributeFilter: ["data-milestone"] };
    new MutationObserver(() => badge.dataset.milestone && seen.push(badge.dataset.milestone)).observe(
      badge,
      options,
    );
  });
  return () => page.evaluate(() => (window as { celebrations?: string[] }).celebrations!);
}

test.describe("recovery", () => {
  test("a count is stale while the server is away, and live when it is back", async ({
    page,
    newServer,
    channelId,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    const server = await newServer();
    const overlay = new OverlayPage(page);
    const stream = page.waitForResponse("**/api/viewer/sse/**");
    await page.goto(`${server.url}/overlay/${channelId}`);
    await stream;
    await overlay.badge.expectCount(0);
    await server.stop("SIGKILL");
    await overlay.expectState("stale");
    await expect(overlay.badge.number).toHaveText("0");
    await server.start();
    await overlay.expectState("live");
  });

  test("an hour without an answer makes the count unknown, and the overlay reconnects", async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    await audience.join(channelId, 2);
    await page.clock.install();
    const refused = /\/api\/viewer\/(sse|counts|ping)/;
    await page.route(refused, (route) => route.fulfill({ status: 503, body: "" }));
    const overlay = new OverlayPage(page);
    await overlay.goto(channelId);
    await expect(overlay.badge.number).toHaveText("2");
    await expect(async () => {
      await advanceClock(page, 5_000, 1_000);
      await overlay.expectState("stale");
    }).toPass();
    await advanceClock(page, 60_000, 5_000);
    await overlay.expectState("unknown");
    await expect(overlay.badge.number).toHaveText("—");
    await expect(overlay.badge.root).toHaveAccessibleName("número de espectadores no disponible");
    await advanceClock(page, 3_600_000, 60_000);
    await overlay.expectState("unknown");
    await page.unroute(refused);
    await expect(async () => {
      await advanceClock(page, 10_000, 1_000);
      expect(await overlay.badge.count()).toBe(2);
    }).toPass();
    await overlay.expectState("live");
  });

  test("where no stream gets through, the overlay asks for the count", async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    test.setTimeout(180_000);
    faults.expect(/502/);
    const restore = await refuseStreams(page);
    const calls = new Calls(page);
    const overlay = new OverlayPage(page);
    await overlay.goto(channelId);
    await audience.join(channelId, 3);
    await expect(overlay.badge.number).toHaveText("3", { timeout: 40_000 });
    await overlay.expectState("live");
    await restore();
    // The pauses between attempts have grown meanwhile, to a minute at most.
    await expect.poll(() => calls.openStreams, { timeout: 90_000 }).toBe(1);
  });

  test("a script that fails to load is loaded again, and the count is stale until then", async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    await page.route("**/overlay.js*", (route) => route.abort());
    const overlay = new OverlayPage(page);
    await overlay.goto(channelId);
    await overlay.expectState("stale");
    await expect(overlay.badge.number).toHaveText("0");
    await page.unroute("**/overlay.js*");
    await audience.join(channelId);
    await overlay.badge.expectCount(1);
  });

  test("without its script for a minute, the count is unknown", async ({ page, channelId, faults }) => {
    faults.expect(UNREACHABLE);
    await page.clock.install();
    await page.route("**/overlay.js*", (route) => route.abort());
    const overlay = new OverlayPage(page);
    await overlay.goto(channelId);
    await overlay.expectState("stale");
    await advanceClock(page, 61_000, 5_000);
    await overlay.expectState("unknown");
    await expect(overlay.badge.number).toHaveText("—");
  });

  test("a page that went away and came back opens a new stream", async ({ page, channelId, audience }) => {
    const calls = new Calls(page);
    const overlay = new OverlayPage(page);
    await overlay.connect(channelId);
    await sendPageHide(page);
    await expect.poll(() => calls.openStreams).toBe(0);
    await audience.join(channelId);
    await sendPageShow(page);
    await overlay.badge.expectCount(1);
    expect(calls.openStreams).toBe(1);
  });
});
