/**
 * Takes pictures of some pages in real Chromium, Firefox and WebKit.
 */

import { writeFile } from "node:fs/promises";

import { expect, test } from "../browsers/fixtures/index.ts";
import { embedPath } from "../pages/embed-page.ts";
import { fileOf, folderOf } from "./sheet.ts";
import { Stage } from "./stage.ts";

const PAGES = {
  home: ["open", "/"],
  channel: ["open", "/iblups"],
  embed: ["open", embedPath("iblups", true)],
  overlay: ["open", "/overlay/iblups"],
  stats: ["past", "/aurora/stats"],
  million: ["past", "/million/stats?range=broadcast"],
} as const;

test("pictures", async ({ engine, newTab }) => {
  const stage = new Stage();
  try {
    const tab = await newTab();
    for (const [name, [server, path]] of Object.entries(PAGES)) {
      await tab.goto((await stage.url(server)) + path);
      const state = () => tab.run("return document.querySelector('.viewer-counter')?.dataset.state");
      await expect.poll(state).toBe("live");
      await folderOf(`engines/${name}`);
      await writeFile(fileOf(`engines/${name}`, engine), await tab.picture());
    }
  } finally {
    await stage.close();
  }
});
