/**
 * The viewer count badge, on a page or in a frame.
 */

import { expect, type FrameLocator, type Locator, type Page } from "@playwright/test";

export class Badge {
  readonly root: Locator;
  readonly dot: Locator;
  readonly eye: Locator;
  readonly number: Locator;

  constructor(where: Page | FrameLocator) {
    this.root = where.locator(".viewer-counter");
    this.dot = this.root.locator(".viewer-counter__dot");
    this.eye = this.root.locator(".viewer-counter__eye");
    this.number = this.root.locator(".viewer-counter__number");
  }

  /** The displayed number; `null` if the badge shows no number. */
  async count(): Promise<number | null> {
    const digits = (await this.root.innerText()).trim().replace(/[.,]/g, "");
    return /^\d+$/.test(digits) ? Number(digits) : null;
  }

  /** `live`, `stale` or `unknown`. */
  async state(): Promise<string | null> {
    return this.root.getAttribute("data-state");
  }

  /** Waits until the badge shows this count as live. */
  async expectCount(count: number): Promise<void> {
    const shown = async () => [await this.count(), await this.state()];
    await expect.poll(shown, "the badge").toEqual([count, "live"]);
  }
}
