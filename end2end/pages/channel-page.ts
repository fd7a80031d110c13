/**
 * `/{channel}`: the player, the badge and the follow button. With JavaScript, the page is counted as a viewer.
 */

import type { Page } from "@playwright/test";

import { Badge } from "./badge.ts";
import { FollowButton } from "./follow-button.ts";
import { open, openAndJoin } from "./open.ts";

export class ChannelPage {
  readonly page: Page;
  readonly badge: Badge;
  readonly follow: FollowButton;

  constructor(page: Page) {
    this.page = page;
    this.badge = new Badge(page);
    this.follow = new FollowButton(page);
  }

  /** Opens a channel and returns the server's HTML. */
  async goto(channel: string): Promise<string> {
    return open(this.page, `/${channel}`);
  }

  /** Opens a channel, waits until the server has counted the page, and returns the server's HTML. */
  async join(channel: string): Promise<string> {
    return openAndJoin(this.page, `/${channel}`);
  }

  async expectCount(count: number): Promise<void> {
    await this.badge.expectCount(count);
  }
}
