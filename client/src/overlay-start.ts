/**
 * Loads `/overlay.js` (overlay.ts), and tries again until it succeeds: an overlay is open for days. Until then the number is
 * the one in the HTML, so it turns stale when loading fails or takes long, and then unknown. It is a part of the page's HTML
 * (src/pages/overlay.rs).
 */

import { retry } from "./retry.ts";
import { STALE_AFTER, UNKNOWN_AFTER } from "./rules/watchdog.ts";

const badge = document.querySelector<HTMLElement>("[data-state]")!;
const age = (state: "stale" | "unknown") => {
  badge.dataset.state = state;
  if (state === "unknown") badge.lastElementChild!.textContent = "—";
};
const aging = [setTimeout(age, STALE_AFTER, "stale"), setTimeout(age, UNKNOWN_AFTER, "unknown")];
await retry((query) =>
  import("/overlay.js" + query).catch((error) => {
    if (badge.dataset.state === "live") age("stale");
    throw error;
  }),
);
for (const timer of aging) clearTimeout(timer);
