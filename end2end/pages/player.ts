/**
 * The player of a channel, on the channel page or on the embed page.
 */

import { expect, type Locator, type Page } from "@playwright/test";

export class Player {
  readonly root: Locator;
  readonly video: Locator;
  /** The message in place of a picture. */
  readonly message: Locator;
  readonly retry: Locator;

  constructor(page: Page) {
    this.root = page.locator(".player");
    this.video = page.locator("video");
    this.message = this.root.locator(".player__poster:visible");
    this.retry = this.root.getByRole("button", { name: "Reintentar ahora" });
  }

  /** Waits for this state, for up to a minute, since a stream may take long to start or to end. */
  async expectState(state: string): Promise<void> {
    await expect(this.root).toHaveAttribute("data-state", state, { timeout: 60_000 });
  }

  /** Waits until a picture of this width is playing. */
  async expectPicture(width: number): Promise<void> {
    const inspect = (video: HTMLVideoElement) => [
      video.currentTime > 0.2,
      video.videoWidth,
      video.error?.code ?? 0,
    ];
    await expect.poll(() => this.video.evaluate(inspect), { timeout: 60_000 }).toEqual([true, width, 0]);
  }
}
