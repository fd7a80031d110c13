/**
 * The follow button with a heart and the number of followers. Without JavaScript, it submits a form.
 */

import { expect, type Locator, type Page } from "@playwright/test";

export class FollowButton {
  readonly root: Locator;
  readonly heart: Locator;
  readonly number: Locator;
  readonly #page: Page;
  readonly #image: Locator;

  constructor(page: Page) {
    this.#page = page;
    this.root = page.locator(".follow-button");
    this.heart = this.root.locator(".follow-button__heart");
    this.#image = this.root.locator("img");
    this.number = this.root.locator(".follow-button__number");
  }

  /** Clicks the button and waits for the server's response. */
  async press(): Promise<void> {
    const response = this.#page.waitForResponse("**/api/channel/follow");
    await this.root.click();
    await response;
  }

  /** Waits until the button shows this state and this number. */
  async expectToShow(following: boolean, followers: number): Promise<void> {
    await expect(this.number).toHaveText(String(followers));
    if (await this.#image.count()) {
      // Without scripts, an image of the server shows the state. The filled heart is 24 px wide, the empty image 1 px.
      const width = () => this.#image.evaluate((image: HTMLImageElement) => image.naturalWidth);
      await expect.poll(width).toBe(following ? 24 : 1);
      return;
    }
    const filled = "rgb(220, 38, 38)";
    await (following
      ? expect(this.heart).toHaveCSS("fill", filled)
      : expect(this.heart).toHaveCSS("fill", "none"));
  }
}
