/**
 * Starts the islands of a page: loads the browser's half, readies it, and hands each island to its function.
 *
 * A file that does not load is asked for again, by another address so that no failure is remembered: behind a balancer
 * another node may have it. If the build of this page is gone everywhere, the page is loaded again and becomes one of
 * the current build; once a minute at most.
 */

const address = (selector) => document.querySelector(selector).href;
const pause = (ms) => new Promise((over) => setTimeout(over, ms));

const persist = async (load) => {
  for (let tries = 0; ; tries += 1) {
    try {
      return await load(tries ? "?" + tries : "");
    } catch (fault) {
      if (tries === 4) throw fault;
      await pause(2 ** tries * (200 + 300 * Math.random()));
    }
  }
};

const styles = document.querySelector("link[rel=stylesheet]");
const restyle = (again) =>
  new Promise((done, fail) => {
    styles.onload = done;
    styles.onerror = fail;
    styles.href = styles.href.split("?")[0] + again;
  });
const isStyled = () => {
  try {
    return styles.sheet.cssRules.length > 0;
  } catch {
    return false;
  }
};
if (!isStyled()) persist(restyle).catch(() => {});

const idle = self.requestIdleCallback ?? setTimeout;
await new Promise((done) => idle(done));
const [script, wasm] = ["link[rel=modulepreload]", "link[as=fetch]"].map(address);
try {
  const half = await persist((again) => import(script + again));
  await persist((again) => half.default({ module_or_path: wasm + again }));
  half.hydrate();
  for (const island of document.querySelectorAll("leptos-island")) {
    try {
      half[island.dataset.component](island);
    } catch (fault) {
      reportError(fault);
    }
  }
} catch (fault) {
  const { status } = await fetch(wasm + "?", { method: "HEAD", cache: "no-store" });
  if (status !== 404) throw fault;
  const isSecond = performance.getEntriesByType("navigation")[0]?.type === "reload";
  await pause(isSecond ? 6e4 : 0);
  location.reload();
}
