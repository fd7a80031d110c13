/**
 * The player of a channel, on its page or in a frame.
 */

import { expect, type Locator, type Page } from "@playwright/test";

export class Player {
  readonly root: Locator;
  readonly video: Locator;
  /** What it says in place of a picture. */
  readonly message: Locator;
  readonly retry: Locator;

  constructor(page: Page) {
    this.root = page.locator(".player");
    this.video = page.locator("video");
    this.message = this.root.locator(".player__poster:visible");
    this.retry = this.root.getByRole("button", { name: "Reintentar ahora" });
  }

  /** Waits until it is in this state, however long a stream takes to come or go. */
  async expectState(state: string): Promise<void> {
    await expect(this.root).toHaveAttribute("data-state", state, { timeout: 60_000 });
  }

  /** Waits until there is a moving picture of this width. */
  async expectPicture(width: number): Promise<void> {
    const look = (video: HTMLVideoElement) => [
      video.currentTime > 0.2,
      video.videoWidth,
      video.error?.code ?? 0,
    ];
    await expect.poll(() => this.video.evaluate(look), { timeout: 60_000 }).toEqual([true, width, 0]);
  }
}
