/**
 * A rolling restart with nodes of two builds behind one address: whichever node responds to a request, the page finally
 * has its styles, is counted and is live.
 */

import { balance, otherBuild, type Site } from "../fixtures/builds.ts";
import { expect, test as base } from "../fixtures/index.ts";
import { type Listening } from "../fixtures/proxy.ts";
import { site, type Server } from "../fixtures/server.ts";
import { ChannelPage } from "../pages/channel-page.ts";

const test = base.extend<{
  /** A node of the old build and a node of the new build. */
  nodes: { old: Server; next: Server; oldBuild: string };
  /** Starts a load balancer, which stops after the test. */
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
  // A node returns 404 for files of the other build. For a style sheet, the browser also reports the MIME type.
  faults.expect(/404|aforo\.css(\?\d)?' because its MIME type/);
});

test("a page loads files that the first node does not have from another node", async ({
  page,
  channelId,
  nodes,
  newBalancer,
}) => {
  const requests = new Map<string, number>();
  const { url } = await newBalancer((path) => {
    const file = path.split("?")[0] ?? path;
    const count = (requests.get(file) ?? 0) + 1;
    requests.set(file, count);
    return isFile(path) && count === 1 ? nodes.next.url : nodes.old.url;
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
  expect(documents, "the page was not reloaded").toHaveLength(1);
  expect([...requests.keys()].filter(isFile).every((path) => path.includes(nodes.oldBuild))).toBe(true);
});

test("a page whose build no longer exists reloads as the current build", async ({
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
  const oldFile = page.waitForRequest((request) => request.url().includes(`/pkg/${nodes.oldBuild}/`));
  const joined = page.waitForResponse("**/api/viewer/join");
  await page.goto(`${url}/${channelId}`);
  await oldFile;
  await joined;
  await expect(page.locator(`link[rel=modulepreload][href*="${nodes.oldBuild}"]`)).toHaveCount(0);
  await new ChannelPage(page).expectCount(1);
  expect(documents).toBe(2);
});

test("a page whose build stays unavailable reloads once, and then at most once a minute", async ({
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
  // Longer than the first page took to give up.
  await page.waitForTimeout(12_000);
  expect(documents).toBe(2);
});
