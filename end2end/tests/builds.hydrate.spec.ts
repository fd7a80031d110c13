/**
 * A rolling restart, in which two builds of the site are behind one address: whatever node a request meets, the page has
 * its styles, is counted and is live in the end.
 */

import { balance, otherBuild, type Site } from "../fixtures/builds.ts";
import { expect, test as base } from "../fixtures/index.ts";
import { type Listening } from "../fixtures/proxy.ts";
import { site, type Server } from "../fixtures/server.ts";
import { ChannelPage } from "../pages/channel-page.ts";

const test = base.extend<{
  /** Nodes of two builds. */
  nodes: { old: Server; next: Server; oldBuild: string };
  newBalancer: (choose: (path: string) => string) => Promise<Listening>;
}>({
  nodes: async ({ newServer }, use) => {
    const copy: Site = await otherBuild(site);
    await use({
      old: await newServer({ LEPTOS_SITE_ROOT: copy.root }),
      next: await newServer(),
      oldBuild: copy.build,
    });
    await copy.discard();
  },
  newBalancer: async ({ page }, use) => {
    const balancers: Listening[] = [];
    await use(async (choose) => {
      const balancer = await balance(choose);
      balancers.push(balancer);
      return balancer;
    });
    await page.close();
    await Promise.all(balancers.map((balancer) => balancer.close()));
  },
});

const isFile = (path: string) => path.startsWith("/pkg/");

test.beforeEach(({ faults }) => {
  // That a node doesn't have a file is what it is about. A browser also complains of the type of that answer.
  faults.expect(/404|aforo\.css(\?\d)?' because its MIME type/);
});

test("a page finds its files although each is at another node at first", async ({
  page,
  channelId,
  nodes,
  newBalancer,
}) => {
  const asked = new Map<string, number>();
  const { url } = await newBalancer((path) => {
    const file = path.split("?")[0] ?? path;
    const times = (asked.get(file) ?? 0) + 1;
    asked.set(file, times);
    return isFile(path) && times === 1 ? nodes.next.url : nodes.old.url;
  });
  const documents: string[] = [];
  page.on("request", (request) => {
    if (request.isNavigationRequest()) documents.push(request.url());
  });
  const joined = page.waitForResponse("**/api/viewer/join");
  await page.goto(`${url}/${channelId}`);
  await joined;
  await new ChannelPage(page).expectCount(1);
  await expect(page.locator(".viewer-counter")).toHaveCSS("border-radius", "8px");
  expect(documents, "it needed no other document").toHaveLength(1);
  expect([...asked.keys()].filter(isFile).every((path) => path.includes(nodes.oldBuild))).toBe(true);
});

test("a page whose build is gone becomes one of the current build", async ({
  page,
  channelId,
  nodes,
  newBalancer,
}) => {
  let documents = 0;
  const { url } = await newBalancer((path) => {
    if (path === `/${channelId}`) documents += 1;
    return path === `/${channelId}` && documents === 1 ? nodes.old.url : nodes.next.url;
  });
  await page.goto(`${url}/${channelId}`);
  await expect(page.locator(`link[rel=modulepreload][href*="${nodes.oldBuild}"]`)).toHaveCount(1);
  await page.waitForResponse("**/api/viewer/join", { timeout: 30_000 });
  await expect(page.locator(`link[rel=modulepreload][href*="${nodes.oldBuild}"]`)).toHaveCount(0);
  await new ChannelPage(page).expectCount(1);
  expect(documents).toBe(2);
});

test("a page whose build is gone loads again at once, and then once a minute at most", async ({
  page,
  channelId,
  nodes,
  newBalancer,
}) => {
  let documents = 0;
  const { url } = await newBalancer((path) => {
    if (path === `/${channelId}`) documents += 1;
    return isFile(path) ? nodes.next.url : nodes.old.url;
  });
  await page.goto(`${url}/${channelId}`);
  await expect.poll(() => documents, { timeout: 30_000 }).toBe(2);
  // As long as it took the first one to give up, and more.
  await page.waitForTimeout(12_000);
  expect(documents).toBe(2);
});
