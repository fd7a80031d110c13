/**
 * `/embed/{channel}`: the player alone, for frames of other pages; with `?counter=1` the badge is on it.
 */

import type { Locator, Page } from "@playwright/test";

import { Badge } from "./badge.ts";
import { open, openAndJoin } from "./open.ts";

/** Where the player of a channel is, for the `src` of a frame. */
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

  /** Opens the player of a channel; returns the server's HTML. */
  async goto(channel: string, counter = false): Promise<string> {
    return open(this.page, embedPath(channel, counter));
  }

  /** Opens the player and waits until the server has counted the page; returns the server's HTML. */
  async join(channel: string, counter = false): Promise<string> {
    return openAndJoin(this.page, embedPath(channel, counter));
  }
}
