/**
 * Opening a page, with what the server has sent at hand: what it looks like afterwards is partly the browser's doing.
 */

import type { Page } from "@playwright/test";

/** Opens a page and returns the server's HTML. */
export async function open(page: Page, path: string): Promise<string> {
  const response = await page.goto(path);
  return response ? response.text() : "";
}

/** The same, and waits until the server has counted the page, which its number alone doesn't tell. */
export async function openAndJoin(page: Page, path: string): Promise<string> {
  const joined = page.waitForResponse("**/api/viewer/join");
  const html = await open(page, path);
  await joined;
  return html;
}
