/**
 * Configuration of `make pictures`: screenshots of the pages in their states, to look at. Nothing is compared. With
 * DOCS=1, only the pictures in docs/ are taken.
 */

import { defineConfig } from "@playwright/test";

import type { Engine } from "../browsers/fixtures/browser.ts";
import suite from "../playwright.config.ts";

const projects = (suite.projects ?? []).filter(({ name }) => name !== "chromium-nojs");
const docs = projects
  .filter(({ name }) => name === "chromium")
  .map(({ use }) => ({ name: "docs", use, testMatch: "docs.spec.ts" }));

export default defineConfig<object, { engine: Engine }>({
  testDir: ".",
  outputDir: "../test-results",
  globalTeardown: "./sheet.ts",
  workers: 2,
  fullyParallel: true,
  reporter: "line",
  timeout: 90_000,
  expect: { timeout: 15_000 },
  use: { locale: "es-ES" },
  projects: process.env.DOCS
    ? docs
    : projects.map(({ name, use }) => ({
        name,
        use,
        testMatch: `${name === "chromium" ? "pages" : "engines"}.spec.ts`,
      })),
});
