/**
 * Opening a page, with the server's answer at hand.
 */

import type { Page, Response } from "@playwright/test";

export async function open(page: Page, path: string): Promise<Response> {
  const response = await page.goto(path);
  if (!response) {
    throw new Error(`${path} was not answered`);
  }
  return response;
}
