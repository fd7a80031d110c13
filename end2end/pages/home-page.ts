/**
 * `/`: what is live now, and the form that leads to a channel.
 */

import type { Locator, Page } from "@playwright/test";

import { open } from "./open.ts";

export class HomePage {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  async goto(): Promise<string> {
    return open(this.page, "/");
  }

  /** Writes the name of a channel into the form and sends it off. */
  async openChannel(channel: string): Promise<void> {
    const input = this.page.locator('input[name="channel"]');
    await input.fill(channel);
    await input.press("Enter");
  }

  /** A channel in the list. */
  row(channel: string): Locator {
    return this.page.locator(`.live__link[href="/${channel}"]`);
  }

  /** The badge beside it: the server's, or the one that took over from it. */
  badge(channel: string): Locator {
    return this.row(channel).locator(".viewer-counter:visible");
  }

  /** The names in the list, in order. */
  async names(): Promise<string[]> {
    return this.page.locator(".live__name").allInnerTexts();
  }
}
