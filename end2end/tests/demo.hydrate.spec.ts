/**
 * `make demo`: the release build with a video server, a crowd, another site and an hour of history. It says where to look,
 * and leaves nothing behind.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { expect, test as base } from "../fixtures/index.ts";
import { binary, site } from "../fixtures/server.ts";
import { Badge } from "../pages/badge.ts";
import { Player } from "../pages/player.ts";
import { StatsPage } from "../pages/stats-page.ts";

const script = resolve(import.meta.dirname, "../../scripts/demo/main.mjs");

/** A broadcast as the API has it. */
interface Kept {
  startedAt: number;
  endedAt: number | null;
  peak: number;
  uniques: number;
}

/** A running demo with a folder of its own for temporary files. */
class Demo {
  output = "";

  private constructor(
    readonly temporary: string,
    readonly process: ChildProcess,
  ) {
    process.stdout?.on("data", (text: Buffer) => (this.output += text.toString()));
  }

  /** Starts the demo, and waits until it has printed its links. */
  static async start(): Promise<Demo> {
    const temporary = await mkdtemp(join(tmpdir(), "aforo-demo-test-"));
    const env = {
      ...process.env,
      AFORO_BIN: binary,
      LEPTOS_SITE_ROOT: site,
      TMPDIR: temporary,
      DEMO_PORT: "0",
    };
    const child = spawn("node", [script], { env, stdio: ["ignore", "pipe", "inherit"] });
    const demo = new Demo(temporary, child);
    try {
      await expect
        .poll(() => [demo.output.includes("Ctrl+C ends the demo"), child.exitCode], { timeout: 60_000 })
        .toEqual([true, null]);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
    return demo;
  }

  /** The printed link with this description. */
  link(description: string): string {
    const found = new RegExp(`${description} +(http\\S+)`).exec(this.output)?.[1];
    if (!found) throw new Error(`no link "${description}" in ${this.output}`);
    return found;
  }

  /** The processes that use its temporary folder. */
  processes(): string[] {
    return readdirSync("/proc").filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        const variables = readFileSync(`/proc/${pid}/environ`, "utf8");
        return /^\d+$/.test(pid) && (words.includes(this.temporary) || variables.includes(this.temporary));
      } catch {
        return false;
      }
    });
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    const exit = once(this.process, "exit") as Promise<[number | null]>;
    this.process.kill(signal);
    return (await exit)[0];
  }

  async expectNothingLeft(): Promise<void> {
    await expect.poll(() => this.processes(), { timeout: 30_000 }).toEqual([]);
    expect(existsSync(this.temporary) ? readdirSync(this.temporary) : []).toEqual([]);
    await rm(this.temporary, { recursive: true, force: true });
  }
}

const test = base.extend<{ demo: Demo }>({
  demo: async ({}, use) => {
    const demo = await Demo.start();
    await use(demo);
    if (demo.process.exitCode === null && demo.process.signalCode === null) await demo.end("SIGKILL");
    await demo.expectNothingLeft();
  },
});

test("shows the site, a broadcast, another site, and an hour of history, and leaves nothing behind", async ({
  page,
  demo,
  faults,
}) => {
  test.setTimeout(240_000);
  // Segments may be missing while the broadcast starts.
  faults.expect(/404|502|ERR_ABORTED/);
  expect(demo.processes().length).toBeGreaterThanOrEqual(3);
  expect(demo.temporary).toBe(realpathSync(demo.temporary));

  await page.goto(demo.link("all channels"));
  await expect(page.getByRole("link", { name: /aurora/ })).toBeVisible();
  await expect(page.getByRole("link", { name: /boreal/ })).toBeVisible();

  await page.goto(demo.link("a channel"));
  await new Player(page).expectPicture(640);
  await expect(new Badge(page).root).toHaveAttribute("data-state", "live");

  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${demo.link("its statistics")}?tz=UTC`);
  // The broadcast of the history goes on.
  await expect(page.locator("[data-since]")).toBeVisible();
  const answer = await page.request.get(`${demo.link("all channels")}api/channel/aurora/broadcasts`);
  const { broadcasts } = (await answer.json()) as { broadcasts: Kept[] };
  expect(broadcasts.map(({ endedAt }) => endedAt === null)).toEqual([true, false]);
  for (const { peak, uniques } of broadcasts) {
    expect(peak).toBeGreaterThan(40);
    expect(uniques).toBeGreaterThan(peak);
  }
  const ages = broadcasts.map(({ startedAt }) => (Date.now() - startedAt) / 60_000);
  expect(ages[0]).toBeGreaterThan(40);
  expect(ages[1]).toBeGreaterThan(60);
  await expect(page.getByText("news.example").first()).toBeVisible();

  await page.goto(demo.link("on another site"));
  await expect(page.locator("viewer-counter")).toContainText(/\d/);
  await expect(page.frameLocator("iframe").locator(".player")).toHaveAttribute("data-state", "playing", {
    timeout: 60_000,
  });

  // A player that is still open would report each way in which a connection can fail.
  await page.goto("about:blank");
  expect(await demo.end("SIGINT")).toBe(0);
  await demo.expectNothingLeft();
});

test("leaves nothing behind even if it is killed", async ({ demo }) => {
  test.setTimeout(120_000);
  await demo.end("SIGKILL");
  await demo.expectNothingLeft();
});
