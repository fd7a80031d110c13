/**
 * Takes the pictures of the documents, with few colors so that the files are small.
 */

import { execFileSync } from "node:child_process";
import { resolve } from "node:path";

import { expect } from "@playwright/test";

import { Badge } from "../pages/badge.ts";
import { embedPath } from "../pages/embed-page.ts";
import { StatsPage } from "../pages/stats-page.ts";
import { test } from "./fixtures.ts";
import { contextOf } from "./variants.ts";

const FOLDER = resolve(import.meta.dirname, "../../docs");

const PICTURES = [
  { name: "channel-light", server: "open", path: "/iblups", size: [1000, 668], theme: "light" },
  { name: "channel-dark", server: "open", path: "/iblups", size: [1000, 668], theme: "dark" },
  { name: "home-light", server: "open", path: "/", size: [640, 587], theme: "light" },
  { name: "home-dark", server: "open", path: "/", size: [640, 587], theme: "dark" },
  { name: "embed", server: "open", path: embedPath("iblups", true), size: [640, 360], theme: "light" },
  { name: "stats-light", server: "past", path: "/aurora/stats", size: [1000, 775], theme: "light" },
  { name: "stats-dark", server: "past", path: "/aurora/stats", size: [1000, 775], theme: "dark" },
  { name: "stats-phone", server: "past", path: "/aurora/stats", size: [390, 844], theme: "light" },
] as const;

for (const { name, server, path, size, theme } of PICTURES) {
  test(name, async ({ browser, stage }) => {
    const url = await stage.url(server);
    const [width, height] = size;
    const context = await browser.newContext(contextOf(theme, { width, height }));
    const page = await context.newPage();
    await page.goto(url + path);
    if (server === "past") await expect(new StatsPage(page).plot).toBeVisible();
    // The page itself is counted, except the list.
    else if (path !== "/") await new Badge(page).expectCount(1_248);
    const file = resolve(FOLDER, `${name}.png`);
    await page.screenshot({ path: file, animations: "disabled" });
    execFileSync("pngquant", ["--force", "--strip", "--ext", ".png", "64", file]);
    await context.close();
  });
}
