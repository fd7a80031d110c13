/**
 * `/{channel}/stats`: the statistics of a channel.
 */

import { createHmac } from "node:crypto";

import { expect, type Locator, type Page, type Request } from "@playwright/test";

import { Badge } from "./badge.ts";

/** A secret for the setting API_SECRET. */
export const SECRET = "a secret of 32 bytes or even more";

/** The token of a link to the statistics of a channel, as a backend signs it. */
export function linkToken(channel: string, validFor = 3_600): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { channel, exp: Math.floor(Date.now() / 1_000) + validFor };
  const message = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${message}.${createHmac("sha256", SECRET).update(message).digest("base64url")}`;
}

export class StatsPage {
  readonly page: Page;
  readonly badge: Badge;
  readonly viewers: Locator;
  readonly plot: Locator;
  readonly readout: Locator;
  readonly slider: Locator;
  readonly rows: Locator;
  /** Fetches of the page by its script. */
  readonly fetches: string[] = [];
  /** Those without an answer yet. */
  readonly #pending = new Set<Request>();

  constructor(page: Page) {
    this.page = page;
    this.badge = new Badge(page);
    this.viewers = page.locator('[data-part="viewers"]');
    this.plot = page.locator(".chart__plot");
    this.readout = page.locator(".chart__readout");
    this.slider = page.locator(".chart__slider");
    this.rows = page.locator("[data-rows] tr");
    page.on("request", (request) => {
      const isPage = new URL(request.url()).pathname.endsWith("/stats");
      if (!isPage || request.resourceType() !== "fetch") return;
      this.fetches.push(request.url());
      this.#pending.add(request);
    });
    page.on("requestfinished", (request) => this.#pending.delete(request));
    page.on("requestfailed", (request) => this.#pending.delete(request));
  }

  /** A figure of the newest broadcast: `peak`, `peakAt`, `average`, `uniques`, `watchSeconds`, `observed` or `joins`. */
  figure(name: string): Locator {
    return this.page.locator(`[data-figure="${name}"]`);
  }

  tab(range: "broadcast" | "24h" | "7d" | "30d"): Locator {
    return this.page.locator(`#tab-${range}`);
  }

  /**
   * Opens the page again and again until it shows the chart of a broadcast: it is written within seconds. `viewers`: how
   * many there are, if the test needs all of them. The first may be written before the last has joined.
   */
  async gotoWithChart(url: string, viewers?: number): Promise<void> {
    await expect(async () => {
      await this.page.goto(url);
      await expect(this.plot).toBeVisible({ timeout: 500 });
      await expect(this.figure("average")).not.toHaveText("—", { timeout: 500 });
      if (viewers !== undefined) {
        // The peak as the server has drawn it. The figures may come by the stream.
        await expect(this.plot).toHaveAccessibleName(new RegExp(`: ${viewers}, `), { timeout: 500 });
        await expect(this.figure("uniques")).toHaveText(String(viewers), { timeout: 500 });
      }
      for (const part of [".chart__line", ".chart__peak"]) {
        await expect(this.page.locator(part).first()).toBeAttached({ timeout: 500 });
      }
    }).toPass();
  }

  /** Lets the server draw the page by the page's fake clock: time passes for both alike. */
  async shareClock(): Promise<void> {
    await this.page.route(/\/stats\?/, async (route) => {
      const response = await route.fetch();
      const now = await this.page.evaluate(() => Date.now());
      const body = (await response.text()).replace(/data-as-of="\d+"/, `data-as-of="${now}"`);
      await route.fulfill({ response, body });
    });
  }

  /**
   * Lets time pass on the page's fake clock, in steps of a second. Each waits for the answers to what the page has fetched,
   * which arrive in real time.
   */
  async passTime(millis: number): Promise<void> {
    for (let passed = 0; passed < millis; passed += 1_000) {
      await this.page.clock.runFor(1_000);
      await this.expectAnswers();
    }
  }

  /** Waits for the answers to what the page has fetched. A test must not end before: its server would break them off. */
  async expectAnswers(): Promise<void> {
    await expect.poll(() => this.#pending.size, "fetches without an answer").toBe(0);
  }

  /** The middle of the first step with this highest count, as a share of the width. The newest steps have no count yet. */
  async middleOf(highest: string): Promise<number> {
    return this.viewers.evaluate((section, highest) => {
      const { starts, span } = (section as HTMLElement).dataset as Record<string, string>;
      const rows = [...section.querySelectorAll<HTMLTableRowElement>("[data-rows] tr")];
      const index = rows.findIndex(({ cells }) => cells[3]!.textContent === highest);
      const ends = [...starts!.split(" "), span!].map(Number);
      return (ends[index]! + ends[index + 1]!) / 2 / ends.at(-1)!;
    }, highest);
  }

  /** How far the content is wider than the screen. */
  async overflow(): Promise<number> {
    return this.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
  }
}
