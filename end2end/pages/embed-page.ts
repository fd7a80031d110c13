/**
 * `/embed/{channel}`: only the player, for frames of other pages. `?counter=1` adds the badge.
 */

import type { Locator, Page } from "@playwright/test";

import { Badge } from "./badge.ts";
import { open, openAndJoin } from "./open.ts";

/** The path of a channel's player, for the `src` of a frame. */
export const embedPath = (channel: string, counter = false) =>
  `/embed/${channel}${counter ? "?counter=1" : ""}`;

export class EmbedPage {
  readonly page: Page;
  readonly badge: Badge;
  readonly player: Locator;

  constructor(page: Page) {
    this.page = page;
    this.badge = new Badge(page);
    this.player = page.locator(".player");
  }

  /** Opens the player of a channel and returns the server's HTML. */
  async goto(channel: string, counter = false): Promise<string> {
    return open(this.page, embedPath(channel, counter));
  }

  /** Opens the player, waits until the server has counted the page, and returns the server's HTML. */
  async join(channel: string, counter = false): Promise<string> {
    return openAndJoin(this.page, embedPath(channel, counter));
  }
}
