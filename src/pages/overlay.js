/**
 * Loads `/overlay.js`, and tries again until it succeeds: an overlay is open for days. Until then the number is the one
 * in the HTML, so it turns stale when loading fails or takes 30 s, and unknown after a minute.
 */

const badge = document.querySelector("[data-state]");
const age = (state) => {
  badge.dataset.state = state;
  if (state === "unknown") badge.lastElementChild.textContent = "—";
};
const aging = [setTimeout(age, 3e4, "stale"), setTimeout(age, 6e4, "unknown")];
for (let nth = 0; ; nth += 1) {
  try {
    await import("/overlay.js" + (nth ? "?" + nth : ""));
    aging.forEach(clearTimeout);
    break;
  } catch {
    if (badge.dataset.state === "live") age("stale");
    await new Promise((done) => setTimeout(done, Math.min(1e3 * 2 ** nth, 1e4) * (0.5 + Math.random() / 2)));
  }
}
