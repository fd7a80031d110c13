/**
 * Takes the picture of every state in its variants.
 */

import { test } from "./fixtures.ts";
import { fileOf } from "./sheet.ts";
import { STATES } from "./states.ts";
import { contextOf, VARIANTS } from "./variants.ts";

for (const state of STATES) {
  for (const variant of state.variants) {
    test(`${state.name} ${variant}`, async ({ browser, stage }) => {
      const url = await stage.url(state.server);
      const context = await browser.newContext(contextOf(variant, state.size));
      const page = await context.newPage();
      const hasScripts = variant !== "no-script";
      if (hasScripts) await state.prepare?.(page, url);
      await (state.open?.(page, url) ?? page.goto(url + state.path));
      if (hasScripts) await state.reach?.(page);
      if (VARIANTS[variant].print) await page.emulateMedia({ media: "print" });
      await page.screenshot({
        path: fileOf(state.name, variant),
        fullPage: !state.size,
        animations: "disabled",
      });
      await page.unrouteAll({ behavior: "ignoreErrors" });
      await context.close();
    });
  }
}
