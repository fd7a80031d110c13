/**
 * Configuration of the suite. It starts the release server on a free port, or tests the deployment at BASE_URL. Tests
 * that don't need JavaScript (all but `*.hydrate.spec.ts`) run with and without it, except those with the tag `@js`: their
 * pages have JavaScript in both cases.
 */

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { defineConfig, devices, type PlaywrightTestProject } from "@playwright/test";

import type { Engine } from "./browsers/fixtures/browser.ts";
import { freePort } from "./fixtures/free-port.ts";
import { binary, site } from "./fixtures/server.ts";

const deployment = process.env.BASE_URL;

// Every worker evaluates this file again. The main process chooses the port, and the workers inherit its environment.
if (!deployment) {
  process.env.AFORO_PORT ??= String(await freePort());
}
const baseURL = deployment ?? `http://127.0.0.1:${process.env.AFORO_PORT}`;

// The browser without a window needs a third less time than the whole one, which draws its toolbars for every page. The
// tests of `real-chromium` have windows.
const chromiums = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];

const chromium: PlaywrightTestProject["use"] = {
  ...devices["Desktop Chrome"],
  launchOptions: {
    executablePath: chromiums.find((path) => existsSync(path)),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // A second name for this machine. Unlike 127.0.0.1, it is another site and not a secure context.
      "--host-resolver-rules=MAP viewer.test 127.0.0.1",
    ],
  },
};

// Unmodified browsers with windows, driven by WebDriver. Their fixtures start their own server.
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
  // A flaky test is a defect of the test or of the product.
  retries: 0,
  // The tests wait more than they work.
  workers: 3,
  reporter: "list",
  timeout: 90_000,
  // Two updates of a count take 4 s; the rest is for busy machines. The timeout must stay below the lease of 60 s, or a
  // viewer whose leave was lost could expire within it, and the test would miss the loss.
  expect: { timeout: 15_000 },
  use: { baseURL, locale: "es-ES" },
  projects: [
    { name: "chromium", use: chromium },
    {
      name: "chromium-nojs",
      use: { ...chromium, javaScriptEnabled: false },
      testIgnore: "**/*.hydrate.spec.ts",
      grepInvert: /@js/,
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
          // The tests have hundreds of viewers at one address.
          LIMIT_JOINS_BURST: "0",
          LIMIT_NEW_CHANNELS_PER_MINUTE: "0",
        },
        reuseExistingServer: false,
        gracefulShutdown: { signal: "SIGTERM", timeout: 5_000 },
      },
});
