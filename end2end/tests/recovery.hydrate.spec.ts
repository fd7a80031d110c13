/**
 * What is missing or broken on a page, and goes on all the same: WebAssembly that does not load, beacons that are refused,
 * text that others replace.
 */

import { Calls } from "../fixtures/calls.ts";
import { hurryBeats, sayBack, sayGoodbye } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { embedPath } from "../pages/embed-page.ts";

declare global {
  interface Window {
    /** What the page has done to go, in order. */
    farewell: string[];
  }
}

/** What a page, or its browser, says of what could not be loaded. */
const MISSING = /ERR_|WebAssembly|Failed to load resource|status 50|preload/;

for (const file of ["aforo.wasm", "aforo.js"] as const) {
  test(`when ${file} can't be loaded at first, it is tried again`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(MISSING);
    // The preload, and what asks for it then.
    await page.route(`**/${file}`, (route) => route.abort());
    const watching = new ChannelPage(page);
    await watching.goto(channelId);
    await page.waitForTimeout(500);
    await page.unroute(`**/${file}`);
    await audience.expectCount(channelId, 1);
    await audience.join(channelId);
    await watching.expectCount(2);
    await expect(page.locator("viewer-counter")).toHaveCount(0);
  });
}

for (const [what, missing] of [
  ["the file of the WebAssembly is missing", true],
  ["the browser has no WebAssembly", false],
] as const) {
  test(`when ${what}, the element shows the number and counts the page`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(MISSING);
    if (missing) await page.route("**/aforo.wasm*", (route) => route.abort());
    else await page.addInitScript(() => Reflect.deleteProperty(window, "WebAssembly"));
    await audience.join(channelId, 2);
    const watching = new ChannelPage(page);
    await watching.goto(channelId);
    await expect(page.locator("viewer-counter")).toBeVisible({ timeout: 30_000 });
    await audience.expectCount(channelId, 3);
    const badge = new Badge(page);
    await expect(badge.root).toHaveText("3");
    await expect(badge.root).toHaveAccessibleName("3 espectadores");
    await expect(badge.root).toHaveAttribute("data-state", "live");
    await audience.join(channelId);
    await expect(badge.root).toHaveText("4");
    await page.close();
    await audience.expectCount(channelId, 3);
  });
}

test("an element whose stream can't be loaded at first is live later, and not before", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
  faults,
}) => {
  faults.expect(MISSING);
  await audience.join(channelId, 2);
  await page.clock.install();
  await page.route("**/stream.js*", (route) => route.abort());
  const host = await newHost(
    `<viewer-counter channel="${channelId}" count="9"></viewer-counter><script type="module" src="${baseURL}/widget.js"></script>`,
  );
  await page.goto(host.sameSite);
  const badge = new Badge(page).root;
  await expect(badge).toHaveText("9");
  await page.clock.runFor(31_000);
  await expect(badge).toHaveAttribute("data-state", "stale");
  await page.clock.runFor(31_000);
  await expect(badge).toHaveAttribute("data-state", "unknown");
  await page.unroute("**/stream.js*");
  await page.clock.runFor(31_000);
  await expect(badge).toHaveText("2");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test("a player in a frame is counted without WebAssembly, too", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(MISSING);
  await page.addInitScript(() => Reflect.deleteProperty(window, "WebAssembly"));
  const calls = new Calls(page);
  await page.goto(embedPath(channelId, true));
  await audience.expectCount(channelId, 1);
  await expect(new Badge(page).root).toHaveText("1");
  expect(calls.joins).toHaveLength(1);
  await page.close();
  await audience.expectCount(channelId, 0);
});

test("where nothing at all can be loaded, the number isn't live", async ({ page, channelId, faults }) => {
  faults.expect(MISSING);
  await page.route(/\.js|\.wasm/, (route) => route.abort());
  const watching = new ChannelPage(page);
  await watching.goto(channelId);
  await expect(watching.badge.root).toHaveAttribute("data-state", "stale");
});

for (const how of ["missing", "throwing", "full"] as const) {
  test(`with a beacon that is ${how} the page leaves all the same, and joins when it is back`, async ({
    page,
    channelId,
    audience,
  }) => {
    await page.addInitScript((how) => {
      const refuse = () => {
        if (how === "throwing") throw new TypeError("no beacons here");
        return false;
      };
      if (how === "missing") Reflect.deleteProperty(Navigator.prototype, "sendBeacon");
      else Navigator.prototype.sendBeacon = refuse;
    }, how);
    const calls = new Calls(page);
    const watching = new ChannelPage(page);
    await watching.join(channelId);
    await sayGoodbye(page);
    await audience.expectCount(channelId, 0);
    expect(calls.leaves.map(({ sessionId }) => sessionId)).toEqual([calls.joins[0]?.sessionId]);
    await sayBack(page);
    await audience.expectCount(channelId, 1);
    expect(calls.joins).toHaveLength(2);
    await audience.join(channelId);
    await watching.expectCount(2);
  });
}

for (const where of ["a channel page", "an element with track"] as const) {
  test(`what ${where} does first when it goes is to leave`, async ({
    page,
    channelId,
    audience,
    baseURL,
  }) => {
    await page.addInitScript(() => {
      window.farewell = [];
      const note = (owner: object, name: string) => {
        const methods = owner as Record<string, (...args: unknown[]) => unknown>;
        const method = methods[name]!;
        methods[name] = function (this: unknown, ...args: unknown[]) {
          window.farewell.push(name);
          return method.apply(this, args);
        };
      };
      note(Navigator.prototype, "sendBeacon");
      note(EventSource.prototype, "close");
      note(AbortController.prototype, "abort");
      note(BroadcastChannel.prototype, "postMessage");
    });
    await page.route("**/host", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: `<!doctype html><html lang="es"><title>Host</title><viewer-counter channel="${channelId}" track></viewer-counter><script type="module" src="${baseURL}/widget.js"></script></html>`,
      }),
    );
    await page.goto(where === "a channel page" ? `/${channelId}` : "/host");
    await audience.expectCount(channelId, 1);
    await new Badge(page).expectCount(1);
    const farewell = await page.evaluate(() => {
      window.farewell = [];
      dispatchEvent(new PageTransitionEvent("pagehide"));
      return window.farewell;
    });
    expect(farewell[0]).toBe("sendBeacon");
    expect(farewell).toContain("close");
    await audience.expectCount(channelId, 0);
  });
}

for (const broken of ["EventSource", "BroadcastChannel", "IntersectionObserver"] as const) {
  test(`a page whose ${broken} throws is counted and beats`, async ({ page, channelId, audience }) => {
    await page.addInitScript((broken) => {
      Object.assign(window, {
        [broken]: class {
          constructor() {
            throw new TypeError("broken by the page");
          }
        },
      });
    }, broken);
    await hurryBeats(page, 500);
    const calls = new Calls(page);
    await page.goto(`/${channelId}`);
    await audience.expectCount(channelId, 1);
    await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(2);
    await page.close();
    await audience.expectCount(channelId, 0);
  });
}

test("a number whose text was translated before hydration is counted, and moves", async ({
  page,
  channelId,
  audience,
}) => {
  const isPage = (url: URL) => url.pathname === `/${channelId}`;
  await page.route(isPage, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(
      /(class="viewer-counter__number"[^>]*>)([^<]*)/,
      "$1<font><font>$2</font></font>",
    );
    return route.fulfill({ response, body });
  });
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await audience.join(channelId);
  await watching.expectCount(2);
});

test("a number whose text is translated again and again moves", async ({ page, channelId, audience }) => {
  const watching = new ChannelPage(page);
  await watching.join(channelId);
  await expect(watching.badge.root).toHaveAttribute("translate", "no");
  for (const count of [2, 3]) {
    await watching.badge.number.evaluate((number) => {
      number.innerHTML = `<font><font>${number.textContent}</font></font>`;
    });
    await audience.join(channelId);
    await watching.expectCount(count);
  }
});
