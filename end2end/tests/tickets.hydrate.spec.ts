/**
 * Tickets: pages, frames and elements that say which account their viewer is.
 */

import type { Page } from "@playwright/test";

import { Calls } from "../fixtures/calls.ts";
import { expect, test } from "../fixtures/index.ts";
import { SHORT_LEASES } from "../fixtures/server.ts";
import { ticketOf, ticketSettings } from "../fixtures/tickets.ts";
import { viewerCounter, widgetBody } from "../fixtures/widget.ts";

/** Everything in which a page could leave a ticket behind. */
const traces = (page: Page) =>
  page.evaluate(() => [
    location.href,
    JSON.stringify(history.state),
    JSON.stringify({ ...localStorage, ...sessionStorage }),
    document.cookie,
    document.documentElement.outerHTML,
  ]);

test("a channel page counts the account of its ticket, on every device once", async ({
  page,
  newVisitor,
  channelId,
  newServer,
  openStream,
}) => {
  const server = await newServer(ticketSettings("require"));
  const stream = await openStream(channelId, server);
  const ticket = ticketOf("ana");
  const calls = new Calls(page);
  const response = await page.goto(`${server.url}/${channelId}?lang=es&ticket=${ticket}&x=1`);
  expect(await response?.text()).not.toContain(ticket);
  await stream.expectCount(1);
  expect(page.url()).toBe(`${server.url}/${channelId}?lang=es&x=1`);
  for (const trace of await traces(page)) expect(trace).not.toContain(ticket);
  expect(calls.joins.map((join) => join.ticket)).toEqual([ticket]);
  await expect(page.locator(".viewer-counter")).toHaveText("1");

  const laptop = await newVisitor();
  const joined = laptop.waitForResponse("**/api/viewer/join");
  await laptop.goto(`${server.url}/${channelId}?ticket=${ticketOf("ana")}`);
  await joined;
  const other = await newVisitor();
  await other.goto(`${server.url}/${channelId}?ticket=${ticketOf("eva")}`);
  await stream.expectCount(2);
  await page.close();
  await stream.expectToStay(2);
  await laptop.close();
  await stream.expectCount(1);
});

test("a page without a ticket shows the count, is not counted, and goes on asking", async ({
  page,
  channelId,
  newServer,
  openStream,
  faults,
}) => {
  faults.expect(/403/);
  const server = await newServer(ticketSettings("require"));
  const stream = await openStream(channelId, server);
  const calls = new Calls(page);
  await page.goto(`${server.url}/${channelId}`);
  await expect.poll(() => calls.joins.length).toBeGreaterThan(1);
  await expect(page.locator(".viewer-counter")).toHaveText("0");
  await expect(page.locator(".viewer-counter")).toHaveAttribute("data-state", "live");
  expect(stream.counts).toEqual([0]);
});

for (const [mode, counted, outcome] of [
  ["accept", 1, "is counted as a browser where tickets are accepted"],
  ["require", 0, "is not counted where tickets are required"],
] as const) {
  test(`a page whose ticket has expired ${outcome}`, async ({
    page,
    channelId,
    newServer,
    openStream,
    faults,
  }) => {
    faults.expect(/403/);
    const server = await newServer(ticketSettings(mode));
    const stream = await openStream(channelId, server);
    const calls = new Calls(page);
    const ticket = ticketOf("ana", -60);
    await page.goto(`${server.url}/${channelId}?ticket=${ticket}`);
    await expect.poll(() => calls.joins.length).toBeGreaterThan(1);
    expect(calls.joins.slice(0, 2).map((join) => join.ticket)).toEqual([ticket, undefined]);
    await stream.expectCount(counted);
    expect(page.url()).toBe(`${server.url}/${channelId}`);
    await page.close();
    await stream.expectCount(0);
  });
}

for (const place of ["sameSite", "otherSite"] as const) {
  test(`a frame in a page of another origin (${place}) counts the account of its ticket`, async ({
    page,
    channelId,
    newServer,
    openStream,
    newHost,
  }) => {
    const server = await newServer(ticketSettings("require"));
    const stream = await openStream(channelId, server);
    const frame = (account: string) =>
      `<iframe src="${server.url}/embed/${channelId}?counter=1&ticket=${ticketOf(account)}" title="Player" width="320" height="180"></iframe>`;
    const host = await newHost(frame("ana") + frame("ana") + frame("eva"));
    const calls = new Calls(page);
    await page.goto(host[place]);
    await expect.poll(() => calls.joins.length).toBe(3);
    await stream.expectCount(2);
    for (const frame of page.frames().slice(1)) {
      expect(frame.url()).toBe(`${server.url}/embed/${channelId}?counter=1`);
    }
    await page
      .locator("iframe")
      .first()
      .evaluate((frame) => frame.remove());
    await stream.expectToStay(2);
    await page
      .locator("iframe")
      .first()
      .evaluate((frame) => frame.remove());
    await stream.expectCount(1);
  });
}

test("an element on another origin counts the account of its ticket, and takes a newer one", async ({
  page,
  channelId,
  newServer,
  openStream,
  newHost,
  faults,
}) => {
  faults.expect(/403/);
  const server = await newServer({
    ...ticketSettings("require"),
    ...SHORT_LEASES,
    // Only heartbeats must come soon.
    VIEWER_TIMEOUT: "60",
    VIEWER_HIDDEN_TIMEOUT: "60",
    VIEWER_ALLOWED_ORIGINS: "*",
  });
  const stream = await openStream(channelId, server);
  const calls = new Calls(page);
  const ticket = ticketOf("ana");
  const host = await newHost(widgetBody(server.url, viewerCounter(channelId, `track ticket="${ticket}"`)));
  await page.goto(host.otherSite);
  await stream.expectCount(1);
  await expect.poll(() => calls.heartbeats.length).toBeGreaterThan(1);
  const [join] = calls.joins;
  expect(join!.ticket).toBe(ticket);
  for (const heartbeat of calls.heartbeats) {
    expect(heartbeat.ticket).toBeUndefined();
    expect(heartbeat.sessionId).toBe(join!.sessionId);
    expect(heartbeat.viewerId).not.toBe(join!.viewerId);
  }
  const element = page.locator("viewer-counter");
  const newer = ticketOf("ana", 900);
  await element.evaluate((element, ticket) => element.setAttribute("ticket", ticket), newer);
  expect(calls.joins).toHaveLength(1);
  expect(stream.counts).toEqual([0, 1]);

  // Its session ends elsewhere, and the page shows the newer ticket when it is asked to.
  const shown = page.waitForRequest((request) => request.postDataJSON()?.ticket === newer);
  await fetch(`${server.url}/api/viewer/leave`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...calls.heartbeats[0], hidden: undefined }),
  });
  expect((await shown).url()).toMatch(/heartbeat$/);
  await stream.expectCount(1);
  await page.close();
  await stream.expectCount(0);
});

test("a page shows its ticket again after the server has forgotten it", async ({
  page,
  channelId,
  newServer,
  faults,
}) => {
  faults.expect(/403|ERR_|Failed to load resource|incomplete/);
  const server = await newServer({ ...ticketSettings("require"), ...SHORT_LEASES });
  const count = async () => {
    const response = await fetch(`${server.url}/api/viewer/count/${channelId}`);
    return ((await response.json()) as { count: number }).count;
  };
  const calls = new Calls(page);
  await page.goto(`${server.url}/${channelId}?ticket=${ticketOf("ana")}`);
  await expect.poll(count).toBe(1);
  await server.stop("SIGKILL");
  await server.start();
  await expect.poll(count).toBe(1);
  expect(calls.joins).toHaveLength(1);
  expect(calls.heartbeats.filter((heartbeat) => heartbeat.ticket).length).toBeGreaterThan(0);
  await expect.poll(() => calls.heartbeats.at(-1)?.ticket, "asked once").toBeUndefined();
});

for (const path of ["", "embed/"]) {
  test(`without WebAssembly /${path} counts the account of its ticket`, async ({
    page,
    channelId,
    newServer,
    openStream,
    faults,
  }) => {
    faults.expect(/ERR_|WebAssembly|Failed to load resource|preload/);
    const server = await newServer(ticketSettings("require"));
    const stream = await openStream(channelId, server);
    await page.route("**/aforo.wasm*", (route) => route.abort());
    const calls = new Calls(page);
    await page.goto(`${server.url}/${path}${channelId}?ticket=${ticketOf("ana")}`);
    expect(page.url()).toBe(`${server.url}/${path}${channelId}`);
    await expect.poll(() => stream.last, { timeout: 60_000 }).toBe(1);
    expect(calls.joins[0]!.ticket).toBeTruthy();
  });
}

test("a frame without an origin counts the account of its ticket", async ({
  page,
  channelId,
  newServer,
  openStream,
  newHost,
}) => {
  const server = await newServer({ ...ticketSettings("require"), VIEWER_ALLOWED_ORIGINS: "null" });
  const stream = await openStream(channelId, server);
  const source = `${server.url}/embed/${channelId}?ticket=${ticketOf("ana")}`;
  const host = await newHost(
    `<iframe sandbox="allow-scripts" src="${source}" title="Player" width="640" height="360"></iframe>`,
  );
  await page.goto(host.otherSite);
  await stream.expectCount(1);
  await page.close();
  await stream.expectCount(0);
});

test("a page that reloads to get a newer build keeps its ticket", async ({
  page,
  channelId,
  newServer,
  openStream,
  faults,
}) => {
  faults.expect(/404|WebAssembly|Failed to load resource|preload/);
  const server = await newServer(ticketSettings("require"));
  const stream = await openStream(channelId, server);
  let isGone = true;
  await page.route("**/aforo.wasm*", (route) => (isGone ? route.fulfill({ status: 404 }) : route.continue()));
  const asked = page.waitForRequest((request) => request.method() === "HEAD");
  await page.goto(`${server.url}/${channelId}?ticket=${ticketOf("ana")}`);
  await asked;
  isGone = false;
  await expect.poll(() => stream.last, { timeout: 60_000 }).toBe(1);
  expect(page.url()).toBe(`${server.url}/${channelId}`);
});
