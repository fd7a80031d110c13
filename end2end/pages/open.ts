/**
 * Opens pages and returns the server's HTML, from which the DOM in the browser may differ.
 */

import type { Page } from "@playwright/test";

/** Opens a page and returns the server's HTML. */
export async function open(page: Page, path: string): Promise<string> {
  const response = await page.goto(path);
  return response ? response.text() : "";
}

/**
 * The same, and waits until the server has counted the page. (The page shows at least 1 before the server counts it.)
 */
export async function openAndJoin(page: Page, path: string): Promise<string> {
  const joined = page.waitForResponse("**/api/viewer/join");
  const html = await open(page, path);
  await joined;
  return html;
}
