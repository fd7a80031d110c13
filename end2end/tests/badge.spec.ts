/**
 * The badge as an SVG image, for pages without scripts.
 */

import { expect, test } from "../fixtures/index.ts";

test("the image loads on other sites with the size that its SVG declares", async ({
  page,
  channelId,
  audience,
  newHost,
  baseURL,
}) => {
  await audience.join(channelId, 2);
  const image = `${baseURL}/badge/${channelId}.svg?locale=en`;
  const host = await newHost(`<img src="${image}" alt="viewers">`);
  await page.goto(host.sameSite);
  const shown = page.locator("img");
  await expect(shown).toHaveJSProperty("naturalHeight", 36);
  const width = Number(/width="(\d+)"/.exec(await (await page.request.get(image)).text())?.[1]);
  await expect(shown).toHaveJSProperty("naturalWidth", width);
});

test("the text fits into the image with the browser's font", async ({
  page,
  channelId,
  audience,
  baseURL,
}) => {
  await audience.join(channelId, 12);
  for (const locale of ["es", "en", "pt"]) {
    await page.goto(`${baseURL}/badge/${channelId}.svg?locale=${locale}`);
    const text = await page.locator("text").boundingBox();
    const pill = await page.locator("rect").boundingBox();
    expect(pill!.width - (text!.x + text!.width)).toBeGreaterThan(8);
    expect(pill!.width - (text!.x + text!.width)).toBeLessThan(16);
  }
});
