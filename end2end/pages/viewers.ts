/**
 * The viewers of a channel in the example of a Next.js app.
 */

import { expect, type Locator, type Page } from "@playwright/test";

export class Viewers {
  readonly root: Locator;
  readonly number: Locator;
  readonly error: Locator;

  constructor(page: Page, nth = 0) {
    this.root = page.locator(".viewers").nth(nth);
    this.number = this.root.locator("b");
    this.error = this.root.getByRole("alert");
  }

  /** Waits until this count is shown as live, on a page that is counted. */
  async expectCount(count: number): Promise<void> {
    await expect(this.number).toHaveText(String(count));
    await expect(this.root).toHaveAttribute("data-count", "live");
    await expect(this.root).toHaveAttribute("data-connected", "true");
    await expect(this.root).toHaveAttribute("data-tracker", "counted");
  }
}
