/**
 * The program is the only file to deploy: in an empty folder, without a folder of the site, it serves pages that come to
 * life.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort } from "../fixtures/free-port.ts";
import { expect, test as base } from "../fixtures/index.ts";
import { binary } from "../fixtures/server.ts";
import { ChannelPage } from "../pages/channel-page.ts";

const test = base.extend<{ lonely: string }>({
  /** The URL of a server that has only its program. */
  lonely: async ({}, use) => {
    const folder = await mkdtemp(join(tmpdir(), "aforo-lonely-"));
    const addr = `127.0.0.1:${await freePort()}`;
    const server = spawn(binary, {
      cwd: folder,
      env: { LEPTOS_SITE_ADDR: addr, RUST_LOG: "warn" },
      stdio: ["ignore", "ignore", "inherit"],
    });
    const exit = once(server, "exit");
    await expect
      .poll(async () => (await fetch(`http://${addr}/healthz`).catch(() => undefined))?.status, {
        timeout: 30_000,
      })
      .toBe(200);
    await use(`http://${addr}`);
    server.kill("SIGTERM");
    await exit;
    await rm(folder, { recursive: true });
  },
});

test("the program alone serves a page that counts, with its styles and scripts", async ({
  page,
  channelId,
  lonely,
}) => {
  const joined = page.waitForResponse("**/api/viewer/join");
  await page.goto(`${lonely}/${channelId}`);
  await joined;
  await new ChannelPage(page).expectCount(1);
  await expect(page.locator(".viewer-counter")).toHaveCSS("border-radius", "8px");
  // The rules of caches are those of a folder.
  const build = (await (await fetch(`${lonely}/build.txt`)).text()).trim();
  const file = await fetch(`${lonely}/pkg/${build}/aforo.wasm`, { headers: { "accept-encoding": "br" } });
  expect(file.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
  expect(file.headers.get("content-encoding")).toBe("br");
  expect((await fetch(`${lonely}/pkg/${build}/none.js`)).headers.get("cache-control")).toBe("no-store");
});
