/**
 * `<viewer-counter>` on other web sites.
 */

import type { Request } from "@playwright/test";

import { violations } from "../fixtures/accessibility.ts";
import { Calls } from "../fixtures/calls.ts";
import { setHeartbeatInterval } from "../fixtures/conditions.ts";
import { newGate } from "../fixtures/gate.ts";
import { expect, test } from "../fixtures/index.ts";
import { viewerCounter, widgetBody } from "../fixtures/widget.ts";

test("all elements of a page show live counts over one stream, without counting the page", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  const [one, two] = [`${channelId}-one`, `${channelId}-two`];
  await audience.join(one, 3);
  const calls = new Calls(page);
  await openWidget([one, two, one].map((name) => viewerCounter(name)).join(""));
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["3", "0", "3"]);
  await expect(badges.first()).toHaveAttribute("data-state", "live");
  await expect(badges.first()).toHaveAccessibleName("3 viewers");
  await expect(badges.first()).toHaveCSS("background-color", "rgb(220, 38, 38)");
  await audience.join(two, 1);
  await expect(badges).toHaveText(["3", "1", "3"]);
  expect(calls.streams).toHaveLength(1);
  expect(calls.joins).toEqual([]);
  expect(await audience.count(one)).toBe(3);
  expect(await violations(page, "main")).toEqual([]);
});

test("an element is hidden until the first count arrives", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  await audience.join(channelId, 4);
  const gate = newGate();
  await page.route("**/api/viewer/sse?**", async (route) => {
    await gate.opened;
    await route.continue();
  });
  await openWidget(viewerCounter(channelId, `locale="pt-BR"`));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toBeHidden();
  await expect(badge).toHaveText("");
  gate.open();
  await expect(badge).toBeVisible();
  await expect(badge).toHaveText("4");
  await expect(badge).toHaveAccessibleName("4 espectadores");
});

test("an element is unknown while the server returns errors, and live afterwards", async ({
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/503/);
  await audience.join(channelId, 2);
  // Responses with counts would replace the stream.
  const reads = /\/api\/viewer\/(sse|counts)/;
  await page.route(reads, (route) => route.fulfill({ status: 503 }));
  await openWidget(viewerCounter(channelId));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("—");
  await expect(badge).toHaveAttribute("data-state", "unknown");
  await page.unroute(reads);
  await expect(badge).toHaveText("2");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test.describe("on a touch screen", () => {
  test.use({ hasTouch: true });

  test("a tap on a stale or unknown number explains it, and the next one hides the explanation", async ({
    page,
    channelId,
    audience,
    openWidget,
    faults,
  }) => {
    faults.expect(/503|wrong channel/);
    await audience.join(channelId, 2);
    const reads = /\/api\/viewer\/(sse|counts)/;
    await page.route(reads, (route) => route.fulfill({ status: 503 }));
    await openWidget(viewerCounter(channelId, `count="12"`) + viewerCounter("No name"));
    const [stale, unknown] = [
      page.locator(".viewer-counter").first(),
      page.locator(".viewer-counter").last(),
    ];
    await expect(stale).toHaveAttribute("data-state", "stale");
    await stale.tap();
    await expect(stale).toHaveText("12 viewers (from a moment ago)");
    await expect(stale).toHaveAccessibleName("12 viewers (from a moment ago)");
    await stale.tap();
    await expect(stale).toHaveText("12");
    await unknown.tap();
    await expect(unknown).toHaveText("viewer count unavailable");
    await expect(unknown).toHaveAccessibleName("viewer count unavailable");
    expect(await violations(page, "main")).toEqual([]);
    await stale.tap();
    await page.unroute(reads);
    await expect(stale).toHaveAttribute("data-state", "live");
    await expect(stale).toHaveText("2");
    await stale.tap();
    await expect(stale).toHaveText("2");
  });
});

test("the Tab key reaches an unknown number, and Enter explains it; a live one is no stop", async ({
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/wrong channel/);
  await audience.join(channelId, 2);
  await openWidget(viewerCounter(channelId) + viewerCounter("No name"));
  const badges = page.locator(".viewer-counter");
  await expect(badges.first()).toHaveText("2");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(badges).toHaveText(["2", "viewer count unavailable"]);
  await page.keyboard.press("Enter");
  await expect(badges).toHaveText(["2", "—"]);
});

test("changing the channel attribute shows the count of the new channel", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  await audience.join(`${channelId}-b`, 2);
  await openWidget(viewerCounter(`${channelId}-a`));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  await page
    .locator("viewer-counter")
    .evaluate((element, name) => element.setAttribute("channel", name), `${channelId}-b`);
  await expect(badge).toHaveText("2");
});

test("a page that requires Trusted Types, and has the script twice, shows the count", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  await audience.join(channelId, 2);
  await page.route("**/host", (route) =>
    route.fulfill({
      contentType: "text/html",
      headers: { "content-security-policy": "require-trusted-types-for 'script'" },
      body:
        `<!doctype html><html lang="EN-US"><title>Host</title>${widgetBody(baseURL, viewerCounter(channelId))}` +
        `<script type="module" src="${baseURL}/widget.js?again"></script></html>`,
    }),
  );
  await page.goto("/host");
  await expect(page.locator(".viewer-counter")).toHaveText("2");
  await expect(page.locator(".viewer-counter")).toHaveAccessibleName("2 viewers");
});

test("a missing or invalid channel shows unknown with a warning, and does not affect other elements", async ({
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/wrong channel/);
  const warnings: string[] = [];
  page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  await audience.join(channelId, 2);
  const channels = ["No name", "z".repeat(65), channelId];
  await openWidget(
    "<viewer-counter></viewer-counter>" + channels.map((name) => viewerCounter(name)).join(""),
  );
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["—", "—", "—", "2"]);
  await expect(badges.first()).toHaveAttribute("data-state", "unknown");
  await expect(badges.last()).toHaveAttribute("data-state", "live");
  expect(warnings).toHaveLength(3);
  // Frameworks may set the attribute later.
  await page
    .locator("viewer-counter")
    .first()
    .evaluate((element, name) => element.setAttribute("channel", name), channelId);
  await expect(badges).toHaveText(["2", "—", "—", "2"]);
  await audience.join(channelId);
  await expect(badges).toHaveText(["3", "—", "—", "3"]);
  expect(warnings).toHaveLength(3);
});

test("more channels than the limit of a stream use several streams", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  const channels = Array.from({ length: 60 }, (_, nth) => `${channelId}-${nth}`);
  await audience.join(channels[0]!);
  await audience.join(channels[59]!, 2);
  const calls = new Calls(page);
  await openWidget(channels.map((name) => viewerCounter(name)).join(""));
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["1", ...Array.from({ length: 58 }, () => "0"), "2"]);
  await expect(page.locator(".viewer-counter[data-state=live]")).toHaveCount(60);
  expect(calls.openStreams).toBe(2);
});

test("a page that only reads loads one script of at most 2,048 bytes", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  const scripts: Request[] = [];
  page.on("request", (request) => request.resourceType() === "script" && scripts.push(request));
  await openWidget([1, 2].map((nth) => viewerCounter(`${channelId}-${nth}`)).join(""));
  const badges = page.locator(".viewer-counter");
  await expect(badges).toHaveText(["0", "0"]);
  await audience.join(`${channelId}-1`);
  await expect(badges).toHaveText(["1", "0"]);
  await expect(page.locator(".viewer-counter[data-state=live]")).toHaveCount(2);
  expect(scripts.map((script) => new URL(script.url()).pathname)).toEqual(["/widget.js"]);
  const { responseBodySize } = await scripts[0]!.sizes();
  expect(responseBodySize).toBeGreaterThan(1_000);
  expect(responseBodySize).toBeLessThanOrEqual(2_048);
  expect(await (await scripts[0]!.response())!.headerValue("content-encoding")).toBe("br");
});

test("the number aligns with the baseline of the surrounding text", async ({
  page,
  channelId,
  audience,
  openWidget,
}) => {
  await audience.join(channelId, 7);
  await openWidget(`<p>Now <b>watching</b> ${viewerCounter(channelId)} people</p>`);
  await expect(page.locator(".viewer-counter")).toHaveText("7");
  const baselines = await page.evaluate(() => {
    const baseline = (where: Element) => {
      const mark = document.createElement("span");
      mark.style.cssText = "display:inline-block;width:0;height:0;min-width:0;min-height:0";
      where.append(mark);
      const { bottom } = mark.getBoundingClientRect();
      mark.remove();
      return bottom;
    };
    const badge = document.querySelector("viewer-counter")!.shadowRoot!.querySelector(".viewer-counter")!;
    return [baseline(document.querySelector("b")!), baseline(badge.lastElementChild!)];
  });
  expect(Math.abs(baselines[0]! - baselines[1]!)).toBeLessThan(0.5);
});

/** The states that the style sheet tells apart. */
const STATES = ["live", "stale", "unknown"] as const;

test("in forced colors live, stale and unknown are told apart, and live stands out most", async ({
  page,
  channelId,
  openWidget,
}) => {
  await page.emulateMedia({ forcedColors: "active" });
  await openWidget(viewerCounter(channelId));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  const [live, stale, unknown] = await badge.evaluate(
    (badge, states) =>
      states.map((state) => {
        (badge as HTMLElement).dataset.state = state;
        const { outlineStyle, outlineWidth } = getComputedStyle(badge);
        const { visibility, borderTopWidth } = getComputedStyle(badge.querySelector("i")!);
        return {
          style: outlineStyle,
          width: parseFloat(outlineWidth),
          dot: `${visibility} ${borderTopWidth}`,
        };
      }),
    STATES,
  );
  expect(live).toMatchObject({ style: "solid", width: 2 });
  expect(new Set([live!.style, stale!.style, unknown!.style]).size).toBe(3);
  expect(new Set([live!.dot, stale!.dot, unknown!.dot]).size).toBe(3);
  expect(stale!.width).toBeLessThan(live!.width);
  expect(unknown!.width).toBeLessThanOrEqual(live!.width);
});

test("an element is accessible in every state", async ({ page, channelId, openWidget }) => {
  await openWidget(viewerCounter(channelId));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("0");
  for (const state of STATES) {
    await badge.evaluate((badge, state) => ((badge as HTMLElement).dataset.state = state), state);
    expect(await violations(page, "main"), state).toEqual([]);
  }
});

test("without a stream, an element requests the counts before its number is unknown", async ({
  page,
  channelId,
  audience,
  openWidget,
  faults,
}) => {
  faults.expect(/429/);
  await audience.join(channelId, 2);
  await page.clock.install();
  await page.route("**/api/viewer/sse?**", (route) => route.fulfill({ status: 429 }));
  let asked = 0;
  page.on("request", (request) => {
    if (request.url().includes("/api/viewer/counts?")) asked += 1;
  });
  await openWidget(viewerCounter(channelId, `count="1"`));
  const badge = page.locator(".viewer-counter");
  await expect(badge).toHaveText("1");
  // Requests take real time, between the steps of the fake clock.
  let seconds = 0;
  for (; seconds < 40 && !asked; seconds += 1) {
    await page.clock.runFor(1_000);
    await page.waitForTimeout(100);
    expect(await badge.textContent()).not.toBe("—");
  }
  expect(asked).toBeGreaterThan(0);
  await expect(badge).toHaveText("2");
  await expect(badge).toHaveAttribute("data-state", "live");
});

test.describe("with track", () => {
  test("a page of an origin that is not allowed is not counted", async ({
    page,
    channelId,
    audience,
    openWidget,
    faults,
  }) => {
    faults.expect(/403|CORS|ERR_FAILED/);
    await openWidget(viewerCounter(channelId, "track"));
    await expect(page.locator(".viewer-counter")).toHaveText("0");
    expect(await audience.count(channelId)).toBe(0);
  });

  test("a page of an allowed origin is one viewer until it closes", async ({
    page,
    channelId,
    audience,
    openWidget,
  }) => {
    const calls = new Calls(page);
    await openWidget(viewerCounter(channelId, "track"), "own");
    await expect(page.locator(".viewer-counter")).toHaveText("1");
    await audience.expectCount(channelId, 1);
    expect(calls.joins).toHaveLength(1);
    await page.close();
    await audience.expectCount(channelId, 0);
  });

  test("a join without a response times out and is retried", async ({
    page,
    channelId,
    audience,
    openWidget,
  }) => {
    await page.clock.install();
    let joins = 0;
    await page.route("**/api/viewer/join", (route) => {
      joins += 1;
      return joins === 1 ? undefined : route.continue();
    });
    await openWidget(viewerCounter(channelId, "track"), "own");
    await expect.poll(() => joins).toBe(1);
    await page.clock.runFor(18_000);
    await audience.expectCount(channelId, 1);
  });

  test("a Retry-After of an hour delays the next join by two minutes at most", async ({
    page,
    channelId,
    audience,
    openWidget,
    faults,
  }) => {
    faults.expect(/429/);
    await page.clock.install();
    await page.route(
      "**/api/viewer/join",
      (route) =>
        route.fulfill({ status: 429, headers: { "retry-after": "3600" }, json: { code: "limit-reached" } }),
      { times: 1 },
    );
    const refused = page.waitForResponse("**/api/viewer/join");
    await openWidget(viewerCounter(channelId, "track"), "own");
    await (await refused).finished();
    // With the answer to a later request, the page has handled this one.
    await page.evaluate(async () => (await fetch("/healthz")).text());
    await page.clock.runFor(121_000);
    await audience.expectCount(channelId, 1);
  });

  test("after an hour offline, heartbeats resume within a second", async ({
    context,
    page,
    channelId,
    audience,
    openWidget,
    faults,
  }) => {
    faults.expect(/ERR_INTERNET_DISCONNECTED/);
    await page.clock.install();
    await openWidget(viewerCounter(channelId, "track"), "own");
    await audience.expectCount(channelId, 1);
    await context.setOffline(true);
    // Requests fail in real time, between the steps of the fake clock.
    for (let minute = 0; minute < 60; minute += 1) {
      await page.clock.runFor(60_000);
      await page.waitForTimeout(20);
    }
    const beat = page.waitForResponse((response) => response.url().endsWith("/heartbeat") && response.ok());
    await context.setOffline(false);
    await page.clock.runFor(1_000);
    await beat;
  });

  test("an element removed before the response to its join leaves no viewer behind", async ({
    page,
    channelId,
    audience,
    openWidget,
  }) => {
    const joining = newGate();
    await page.route("**/api/viewer/join", (route) => {
      joining.open();
      setTimeout(() => void route.continue().catch(() => undefined), 2_000);
    });
    await openWidget(viewerCounter(channelId, "track"), "own");
    await joining.opened;
    await page.locator("viewer-counter").evaluate((element) => element.remove());
    await page.waitForTimeout(3_500);
    expect(await audience.count(channelId)).toBe(0);
  });

  test("an element of another origin that is removed during the preflight of its join leaves no viewer behind", async ({
    page,
    channelId,
    newServer,
    newHost,
  }) => {
    // Without routes: with one, Playwright answers preflights itself.
    const server = await newServer({ VIEWER_ALLOWED_ORIGINS: "*" });
    const host = await newHost(widgetBody(server.url, viewerCounter(channelId) + viewerCounter(channelId)));
    await page.goto(host.sameSite);
    const elements = page.locator("viewer-counter");
    await expect(page.locator(".viewer-counter")).toHaveText(["0", "0"]);
    // The element loads these scripts first, which the suspended server could not answer.
    await page.evaluate(async (url) => {
      for (const script of ["track", "stream"]) await import(`${url}/${script}.js`);
    }, server.url);
    const count = async () => {
      const response = await fetch(`${server.url}/api/viewer/count/${channelId}`);
      return ((await response.json()) as { count: number }).count;
    };
    server.suspend();
    // Browsers report a request to Playwright before its preflight or after it, so the page itself says when it joins.
    await elements.first().evaluate(
      (element) =>
        new Promise<void>((resolve) => {
          const { fetch } = window;
          window.fetch = (...request) => {
            if (String(request[0]).endsWith("/api/viewer/join")) resolve();
            return fetch(...request);
          };
          element.setAttribute("track", "");
        }),
    );
    await elements.first().evaluate((element) => element.remove());
    await page.waitForTimeout(200);
    server.resume();
    await page.waitForTimeout(2_000);
    expect(await count()).toBe(0);
    // The other element shows that the server counts pages of this origin.
    await elements.first().evaluate((element) => element.setAttribute("track", ""));
    await expect.poll(count).toBe(1);
  });

  test("an element tracks while it has the attribute, and moving it changes nothing", async ({
    page,
    channelId,
    audience,
    openWidget,
  }) => {
    const calls = new Calls(page);
    await openWidget(`${viewerCounter(channelId)}<p></p>`, "own");
    const element = page.locator("viewer-counter");
    await expect(page.locator(".viewer-counter")).toHaveText("0");
    await element.evaluate((element) => element.setAttribute("track", ""));
    await audience.expectCount(channelId, 1);
    await element.evaluate((element) => document.querySelector("p")!.append(element));
    await page.waitForTimeout(500);
    expect(calls.joins).toHaveLength(1);
    expect(calls.leaves).toHaveLength(0);
    await element.evaluate((element) => element.removeAttribute("track"));
    await audience.expectCount(channelId, 0);
    expect(calls.leaves).toHaveLength(1);
    await page.waitForTimeout(500);
    expect(await audience.count(channelId)).toBe(0);
  });

  test("an element continues its session after a freeze", async ({
    page,
    channelId,
    audience,
    openWidget,
  }) => {
    await setHeartbeatInterval(page, 500);
    const calls = new Calls(page);
    await openWidget(viewerCounter(channelId, "track"), "own");
    await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(0);
    await page.evaluate(() => {
      document.dispatchEvent(new Event("freeze"));
      document.dispatchEvent(new Event("resume"));
    });
    const before = calls.heartbeats.length;
    await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(before + 1);
    await audience.expectCount(channelId, 1);
    expect(calls.joins).toHaveLength(1);
    expect(calls.leaves).toHaveLength(0);
  });
});
