/**
 * The heart and the number in one button. Without JavaScript it is a form.
 */

import { expect, type Locator, type Page } from "@playwright/test";

export class FollowButton {
  readonly root: Locator;
  readonly heart: Locator;
  readonly number: Locator;
  readonly #page: Page;

  constructor(page: Page) {
    this.#page = page;
    this.root = page.locator(".follow-button");
    this.heart = this.root.locator(".follow-button__heart");
    this.number = this.root.locator(".follow-button__number");
  }

  /** Presses it, and waits for the server's answer. */
  async press(): Promise<void> {
    const answer = this.#page.waitForResponse("**/api/channel/follow");
    await this.root.click();
    await answer;
  }

  /** Waits until it looks like this. */
  async expectToShow(following: boolean, followers: number): Promise<void> {
    await expect(this.number).toHaveText(String(followers));
    const filled = "rgb(220, 38, 38)";
    await (following
      ? expect(this.heart).toHaveCSS("fill", filled)
      : expect(this.heart).toHaveCSS("fill", "none"));
  }
}
