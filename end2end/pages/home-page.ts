/**
 * `/`: the list of live channels, and the form that opens a channel.
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

  /** Submits the form with this channel name. */
  async openChannel(channel: string): Promise<void> {
    const input = this.page.locator('input[name="channel"]');
    await input.fill(channel);
    await input.press("Enter");
  }

  /** The link of a channel in the list. */
  row(channel: string): Locator {
    return this.page.locator(`.live__link[href="/${channel}"]`);
  }

  /** The badge of a channel in the list: the server's, or that of the element which replaced it. */
  badge(channel: string): Locator {
    return this.row(channel).locator(".viewer-counter:visible");
  }

  /** The channel names in the order of the list. */
  async names(): Promise<string[]> {
    return this.page.locator(".live__name").allInnerTexts();
  }
}
