/**
 * `/overlay/{channel}`: the badge alone on a transparent page, for OBS. It counts nobody.
 */

import { expect, type Page } from "@playwright/test";

import { Badge } from "./badge.ts";
import { open } from "./open.ts";

export class OverlayPage {
  readonly page: Page;
  readonly badge: Badge;

  constructor(page: Page) {
    this.page = page;
    this.badge = new Badge(page);
  }

  /** Opens the overlay of a channel and returns the server's HTML. */
  async goto(channel: string, query = ""): Promise<string> {
    return open(this.page, `/overlay/${channel}${query}`);
  }

  /** The same, and waits until the overlay is connected: it has loaded its script, which has opened the stream. */
  async connect(channel: string, query = ""): Promise<string> {
    const stream = this.page.waitForResponse(`**/api/viewer/sse/${channel}`);
    const html = await this.goto(channel, query);
    await stream;
    return html;
  }

  async expectState(state: "live" | "stale" | "unknown"): Promise<void> {
    await expect(this.badge.root).toHaveAttribute("data-state", state);
  }

  /** Waits until the badge celebrates this milestone. */
  async expectCelebration(milestone: number): Promise<void> {
    await expect(this.badge.root).toHaveAttribute("data-milestone", String(milestone));
  }

  /** Adds a style sheet as OBS adds the *custom CSS* of a source. */
  async addCustomCss(css: string): Promise<void> {
    await this.page.evaluate((css) => {
      const style = document.createElement("style");
      style.append(css);
      document.head.append(style);
    }, css);
  }
}
