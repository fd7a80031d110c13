/**
 * Starts the islands of a page: loads the browser's half, readies it, and hands each island to its function.
 *
 * A file that does not load is asked for again, by another address so that no failure is remembered: behind a balancer
 * another node may have it. If the build of this page is gone everywhere, the page is loaded again and becomes one of
 * the current build; once a minute at most. Otherwise, and where there is no WebAssembly, scripts that need none take the
 * place of the islands.
 */

const address = (selector) => document.querySelector(selector).href;
const pause = (ms) => new Promise((over) => setTimeout(over, ms));

const persist = async (load, most = 4) => {
  for (let tries = 0; ; tries += 1) {
    try {
      return await load(tries ? "?" + tries : "");
    } catch (fault) {
      if (tries === most) throw fault;
      await pause(2 ** Math.min(tries, 6) * (200 + 300 * Math.random()));
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

const without = async (island) => {
  const badge = island.querySelector("[data-state]");
  if (badge) badge.dataset.state = "stale";
  const { takeOver } = await persist((again) => import("/fallback.js" + again), Infinity);
  takeOver(island);
};

const idle = self.requestIdleCallback ?? setTimeout;
// A page that is never idle would otherwise stay dead.
await new Promise((done) => idle(done, { timeout: 2e3 }));
const [script, wasm] = ["link[rel=modulepreload]", "link[as=fetch]"].map(address);
const islands = document.querySelectorAll("leptos-island");
try {
  if (!self.WebAssembly) throw new TypeError("there is no WebAssembly");
  const half = await persist((again) => import(script + again));
  await persist((again) => half.default({ module_or_path: wasm + again }));
  half.hydrate();
  for (const island of islands) {
    try {
      half[island.dataset.component](island);
    } catch (fault) {
      reportError(fault);
      without(island);
    }
  }
} catch (fault) {
  const answer = await fetch(wasm + "?", { method: "HEAD", cache: "no-store" }).catch(() => {});
  if (answer?.status === 404) {
    const isSecond = performance.getEntriesByType("navigation")[0]?.type === "reload";
    await pause(isSecond ? 6e4 : 0);
    location.reload();
  } else {
    console.warn("The page goes on without WebAssembly:", fault);
    islands.forEach(without);
  }
}
