/**
 * How the suite runs: against the release server, which it starts on a free port of this machine, or against the
 * deployment that BASE_URL names. Each rule is tested with JavaScript and, where it holds there too, without.
 */

import { existsSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { defineConfig, devices, type PlaywrightTestProject } from "@playwright/test";

import type { Engine } from "./browsers/fixtures/browser.ts";

const freePort = () =>
  new Promise<number>((done, fail) => {
    const server = createServer();
    server.once("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });

const deployment = process.env.BASE_URL;

// This file is evaluated once more in every worker. The first one chooses, the others inherit its environment.
if (!deployment) {
  process.env.AFORO_PORT ??= String(await freePort());
}
const baseURL = deployment ?? `http://127.0.0.1:${process.env.AFORO_PORT}`;
const binary = process.env.AFORO_BIN ?? resolve(import.meta.dirname, "../target/release/aforo");
const site = process.env.AFORO_SITE ?? resolve(import.meta.dirname, "../target/site");

const chromium: PlaywrightTestProject["use"] = {
  ...devices["Desktop Chrome"],
  launchOptions: {
    executablePath: existsSync("/usr/bin/chromium") ? "/usr/bin/chromium" : undefined,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // A second name for this machine: unlike 127.0.0.1 it is no secure context, and another site.
      "--host-resolver-rules=MAP viewer.test 127.0.0.1",
    ],
  },
};

// Browsers as people have them, with windows and without what a test runner changes in them. They bring a server of their own.
const real = (["chromium", "firefox", "webkit"] as const).map((engine) => ({
  name: `real-${engine}`,
  testDir: "browsers",
  fullyParallel: false,
  use: { engine },
}));

export default defineConfig<object, { engine: Engine }>({
  testDir: "tests",
  fullyParallel: true,
  forbidOnly: Boolean(process.env.CI),
  // A test that passes at the second try is a defect of the test or of the product.
  retries: 0,
  workers: 2,
  reporter: "list",
  timeout: 90_000,
  // Two updates of a count take 4 s. The rest is for busy machines; it stays far under the minute after which a
  // viewer who doesn't say that it leaves is forgotten, so that a leave that got lost is noticed.
  expect: { timeout: 15_000 },
  use: { baseURL, locale: "es-ES" },
  projects: [
    { name: "chromium", use: chromium },
    {
      name: "chromium-nojs",
      use: { ...chromium, javaScriptEnabled: false },
      testIgnore: "**/*.hydrate.spec.ts",
    },
    ...(deployment ? [] : real),
  ],
  webServer: deployment
    ? undefined
    : {
        command: JSON.stringify(binary),
        url: `${baseURL}/healthz`,
        env: {
          LEPTOS_SITE_ADDR: new URL(baseURL).host,
          LEPTOS_SITE_ROOT: site,
          RUST_LOG: "warn",
          DATA_DIR: join(tmpdir(), `aforo-end2end-${process.env.AFORO_PORT}`),
          // The tests are hundreds of people at one address.
          LIMIT_JOINS_BURST: "0",
          LIMIT_NEW_CHANNELS_PER_MINUTE: "0",
        },
        reuseExistingServer: false,
        gracefulShutdown: { signal: "SIGTERM", timeout: 5_000 },
      },
});
