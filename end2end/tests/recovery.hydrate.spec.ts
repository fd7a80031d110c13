/**
 * Failures that a page recovers from: WebAssembly or scripts that don't load, requests and streams that fail, a server
 * that restarts, browser APIs that are missing or broken, and a DOM that a translator has changed.
 */

import { Calls } from "../fixtures/calls.ts";
import { sendPageHide, sendPageShow, setHeartbeatInterval } from "../fixtures/conditions.ts";
import { CountStream } from "../fixtures/count-stream.ts";
import { NOT_LOADED, UNREACHABLE } from "../fixtures/faults.ts";
import { newGate } from "../fixtures/gate.ts";
import { expect, test } from "../fixtures/index.ts";
import { badgeHistory, recordBadge } from "../fixtures/probes.ts";
import { viewerCounter } from "../fixtures/widget.ts";
import { Badge } from "../pages/badge.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { EmbedPage, embedPath } from "../pages/embed-page.ts";

for (const file of ["aforo.wasm", "aforo.js"] as const) {
  test(`if ${file} fails to load at first, the page loads it again`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(NOT_LOADED);
    // Fails the preload and the first import.
    await page.route(`**/${file}`, (route) => route.abort());
    const channelPage = new ChannelPage(page);
    await channelPage.goto(channelId);
    await page.waitForTimeout(500);
    await page.unroute(`**/${file}`);
    await audience.expectCount(channelId, 1);
    await audience.join(channelId);
    await channelPage.expectCount(2);
    await expect(page.locator("viewer-counter")).toHaveCount(0);
  });
}

for (const [failure, isMissing] of [
  ["the WebAssembly file is missing", true],
  ["the browser has no WebAssembly", false],
] as const) {
  test(`if ${failure}, <viewer-counter> shows the count and counts the page`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(NOT_LOADED);
    if (isMissing) await page.route("**/aforo.wasm*", (route) => route.abort());
    else await page.addInitScript(() => Reflect.deleteProperty(window, "WebAssembly"));
    await audience.join(channelId, 2);
    const channelPage = new ChannelPage(page);
    await channelPage.goto(channelId);
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

test("an embedded player without WebAssembly is counted", async ({ page, channelId, audience, faults }) => {
  faults.expect(NOT_LOADED);
  await page.addInitScript(() => Reflect.deleteProperty(window, "WebAssembly"));
  const calls = new Calls(page);
  await page.goto(embedPath(channelId, true));
  await audience.expectCount(channelId, 1);
  await expect(new Badge(page).root).toHaveText("1");
  expect(calls.joins).toHaveLength(1);
  await page.close();
  await audience.expectCount(channelId, 0);
});

for (const path of ["a channel page", "an embedded player"]) {
  test(`the first viewer on ${path} without WebAssembly is never shown as 0`, async ({
    page,
    channelId,
    faults,
  }) => {
    faults.expect(NOT_LOADED);
    await page.addInitScript(() => Reflect.deleteProperty(window, "WebAssembly"));
    const joining = newGate();
    await page.route("**/api/viewer/join", async (route) => {
      await joining.opened;
      await route.continue();
    });
    await recordBadge(page);
    await page.goto(path === "a channel page" ? `/${channelId}` : embedPath(channelId, true));
    await expect(page.locator("viewer-counter")).toBeVisible({ timeout: 30_000 });
    await page.waitForTimeout(2_500);
    joining.open();
    await page.waitForTimeout(1_000);
    expect(new Set((await badgeHistory(page)).map(({ number }) => number))).toEqual(new Set(["1"]));
  });
}

test("an embedded player whose badge panics is counted", async ({ page, channelId, audience, faults }) => {
  faults.expect(/exception|unreachable|panic|hydrat/i);
  // Without the eye icon, the badge's component panics during hydration.
  await page.route(`**${embedPath(channelId)}**`, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/<svg class="viewer-counter__eye".*?<\/svg>/s, "");
    return route.fulfill({ response, body });
  });
  await setHeartbeatInterval(page, 500);
  const calls = new Calls(page);
  await new EmbedPage(page).goto(channelId, true);
  await audience.expectCount(channelId, 1);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(2);
  await page.close();
  await audience.expectCount(channelId, 0);
});

for (const [script, attribute] of [
  ["poll.js", "poll"],
  ["track.js", "track"],
]) {
  test(`an element whose ${script} fails to load becomes unknown, and live after a retry`, async ({
    page,
    channelId,
    audience,
    openWidget,
    faults,
  }) => {
    faults.expect(NOT_LOADED);
    await audience.join(channelId, 2);
    await page.clock.install();
    await page.route(`**/${script}*`, (route) => route.abort());
    await openWidget(viewerCounter(channelId, `count="9" ${attribute}`), "own");
    const badge = new Badge(page).root;
    await expect(badge).toHaveText("9");
    await page.clock.runFor(31_000);
    await expect(badge).toHaveAttribute("data-state", "unknown");
    await page.unroute(`**/${script}*`);
    await page.clock.runFor(31_000);
    await expect(badge).toHaveText(attribute === "track" ? "3" : "2");
    await expect(badge).toHaveAttribute("data-state", "live");
  });
}

test("an element is stale without a network, and live when it is back", async ({
  context,
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/ERR_INTERNET_DISCONNECTED/);
  await audience.join(channelId, 2);
  await openWidget(viewerCounter(channelId));
  const badge = new Badge(page).root;
  await expect(badge).toHaveText("2");
  await context.setOffline(true);
  await expect(badge).toHaveAttribute("data-state", "stale");
  await audience.join(channelId);
  await context.setOffline(false);
  await expect(badge).toHaveText("3");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test("if no script loads, the badge is stale", async ({ page, channelId, faults }) => {
  faults.expect(NOT_LOADED);
  await page.route(/\.js|\.wasm/, (route) => route.abort());
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await expect(channelPage.badge.root).toHaveAttribute("data-state", "stale");
});

test("a failed join is retried, and the badge stays live", async ({ page, channelId, audience, faults }) => {
  faults.expect(/503/);
  await audience.join(channelId, 2);
  let requests = 0;
  await page.route("**/api/viewer/join", async (route) => {
    requests += 1;
    await (requests <= 2 ? route.fulfill({ status: 503, json: { code: "unavailable" } }) : route.continue());
  });
  await recordBadge(page);
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await channelPage.expectCount(3);
  expect(requests).toBe(3);
  expect(await badgeHistory(page)).toEqual([
    { state: "live", number: "2" },
    { state: "live", number: "3" },
  ]);
});

test("a join that a gateway answers with JSON of its own is retried, and the page stays alive", async ({
  page,
  channelId,
  audience,
  faults,
}) => {
  faults.expect(/503/);
  const bodies = [{ code: 14 }, { code: { length: 9 } }, { code: [] }];
  let requests = 0;
  await page.route("**/api/viewer/join", async (route) => {
    const body = bodies[requests];
    requests += 1;
    await (body === undefined ? route.continue() : route.fulfill({ status: 503, json: body }));
  });
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await audience.expectCount(channelId, 1);
  expect(requests).toBe(bodies.length + 1);
  await audience.join(channelId);
  await channelPage.expectCount(2);
  expect(await page.locator("viewer-counter").count()).toBe(0);
});

test("failed heartbeats are retried without a second join", async ({ page, channelId, audience, faults }) => {
  faults.expect(UNREACHABLE);
  await setHeartbeatInterval(page, 500);
  const calls = new Calls(page);
  let requests = 0;
  await page.route("**/api/viewer/heartbeat", (route) => {
    requests += 1;
    return requests <= 3 ? route.abort() : route.continue();
  });
  await new ChannelPage(page).join(channelId);
  await expect.poll(() => calls.heartbeats.length, { timeout: 30_000 }).toBeGreaterThan(4);
  expect(await audience.count(channelId)).toBe(1);
  expect(calls.joins).toHaveLength(1);
});

for (const [name, response] of [
  ["status 500", { status: 500, body: "" }],
  ["an HTML page", { status: 200, contentType: "text/html", body: "<h1>Log in</h1>" }],
] as const) {
  test(`a stream request answered with ${name} is retried, and the badge never shows 0 or unknown`, async ({
    page,
    channelId,
    audience,
    faults,
  }) => {
    faults.expect(UNREACHABLE);
    await audience.join(channelId, 2);
    await page.route("**/api/viewer/sse/**", (route) => route.fulfill(response), { times: 2 });
    await recordBadge(page);
    const channelPage = new ChannelPage(page);
    const calls = new Calls(page);
    await channelPage.join(channelId);
    await expect.poll(() => calls.streams.length, { timeout: 30_000 }).toBe(3);
    expect(calls.openStreams).toBe(1);
    await channelPage.expectCount(3);
    await audience.join(channelId);
    await channelPage.expectCount(4);
    const shown = await badgeHistory(page);
    expect(shown.map(({ state }) => state)).not.toContain("unknown");
    expect(shown.map(({ number }) => number)).not.toContain("0");
  });
}

test("after the server restarts, the page is counted again and its badge is live", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(UNREACHABLE);
  const server = await newServer({ VIEWER_HEARTBEAT_INTERVAL: "1000" });
  const channelPage = new ChannelPage(page);
  await setHeartbeatInterval(page, 1_000);
  await page.goto(`${server.url}/${channelId}`);
  await channelPage.expectCount(1);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await server.stop(signal);
    await expect(channelPage.badge.root).toHaveAttribute("data-state", "stale");
    await server.start();
    await expect(channelPage.badge.root).toHaveAttribute("data-state", "live");
    const stream = await CountStream.open(server.url, channelId);
    await stream.expectCount(1);
    await stream.close();
  }
});

for (const failure of ["missing", "throwing", "full"] as const) {
  test(`with a ${failure} sendBeacon the page still leaves, and joins again when it is restored`, async ({
    page,
    channelId,
    audience,
  }) => {
    await page.addInitScript((failure) => {
      const refuse = () => {
        if (failure === "throwing") throw new TypeError("sendBeacon is broken");
        return false;
      };
      if (failure === "missing") Reflect.deleteProperty(Navigator.prototype, "sendBeacon");
      else Navigator.prototype.sendBeacon = refuse;
    }, failure);
    const calls = new Calls(page);
    const channelPage = new ChannelPage(page);
    await channelPage.join(channelId);
    await sendPageHide(page);
    await audience.expectCount(channelId, 0);
    expect(calls.leaves.map(({ sessionId }) => sessionId)).toEqual([calls.joins[0]?.sessionId]);
    await sendPageShow(page);
    await audience.expectCount(channelId, 1);
    expect(calls.joins).toHaveLength(2);
    await audience.join(channelId);
    await channelPage.expectCount(2);
  });
}

for (const broken of ["EventSource", "BroadcastChannel", "IntersectionObserver"] as const) {
  test(`a page whose ${broken} throws is counted and sends heartbeats`, async ({
    page,
    channelId,
    audience,
  }) => {
    await page.addInitScript((broken) => {
      Object.assign(window, {
        [broken]: class {
          constructor() {
            throw new TypeError("broken by the page");
          }
        },
      });
    }, broken);
    await setHeartbeatInterval(page, 500);
    const calls = new Calls(page);
    await page.goto(`/${channelId}`);
    await audience.expectCount(channelId, 1);
    await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(2);
    await page.close();
    await audience.expectCount(channelId, 0);
  });
}

test("a page translated before hydration is counted, and its number updates", async ({
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
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await audience.join(channelId);
  await channelPage.expectCount(2);
});

test("a number that is translated repeatedly still updates", async ({ page, channelId, audience }) => {
  const channelPage = new ChannelPage(page);
  await channelPage.join(channelId);
  await expect(channelPage.badge.root).toHaveAttribute("translate", "no");
  for (const count of [2, 3]) {
    await channelPage.badge.number.evaluate((number) => {
      number.innerHTML = `<font><font>${number.textContent}</font></font>`;
    });
    await audience.join(channelId);
    await channelPage.expectCount(count);
  }
});
