/**
 * `/`: the form that leads to a channel.
 */

import type { Page } from "@playwright/test";

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
}
