/**
 * Starts the islands of a page: loads and initializes the browser half, and hydrates each island.
 *
 * A file that fails to load is requested again with another query, because browsers cache failures and another node
 * behind a load balancer may have the file. If the WebAssembly file of this build is gone (404), the page reloads to get
 * the current build, at most once a minute. After any other failure, and without WebAssembly, `/fallback.js` replaces
 * the islands.
 *
 * A ticket in the address (`?ticket=`) is taken out of it before anything else, so that it gets into no history, copied
 * link or referrer. It is kept in memory only.
 */

const opened = location.href;
const url = new URL(opened);
const ticket = url.searchParams.get("ticket") ?? "";
const show = (url) => {
  try {
    history.replaceState(history.state, "", url);
  } catch {
    // A sandboxed frame may not change its address.
  }
};
if (url.searchParams.has("ticket")) {
  url.searchParams.delete("ticket");
  show(url);
}

const address = (selector) => document.querySelector(selector).href;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const retry = async (load, maxRetries = 4) => {
  for (let retries = 0; ; retries += 1) {
    try {
      return await load(retries ? "?" + retries : "");
    } catch (error) {
      if (retries === maxRetries) throw error;
      await pause(2 ** Math.min(retries, 6) * (200 + 300 * Math.random()));
    }
  }
};

const styles = document.querySelector("link[rel=stylesheet]");
const loadStyles = (query) =>
  new Promise((done, fail) => {
    styles.onload = done;
    styles.onerror = fail;
    styles.href = styles.href.split("?")[0] + query;
  });
const isStyled = () => {
  try {
    return styles.sheet.cssRules.length > 0;
  } catch {
    return false;
  }
};
if (!isStyled()) retry(loadStyles).catch(() => {});

const fallBack = async (island) => {
  const badge = island.querySelector("[data-state]");
  if (badge) badge.dataset.state = "stale";
  const { takeOver } = await retry((query) => import("/fallback.js" + query), Infinity);
  takeOver(island, ticket);
};

const idle = self.requestIdleCallback ?? setTimeout;
// Without the timeout, a page that is never idle would never start.
await new Promise((done) => idle(done, { timeout: 2e3 }));
const [script, wasm] = ["link[rel=modulepreload]", "link[as=fetch]"].map(address);
const islands = document.querySelectorAll("leptos-island");
try {
  if (!self.WebAssembly) throw new TypeError("WebAssembly is not available");
  const app = await retry((query) => import(script + query));
  await retry((query) => app.default({ module_or_path: wasm + query }));
  app.hydrate(ticket);
  for (const island of islands) {
    try {
      app[island.dataset.component](island);
    } catch (error) {
      reportError(error);
      fallBack(island);
    }
  }
} catch (error) {
  const response = await fetch(wasm + "?", { method: "HEAD", cache: "no-store" }).catch(() => {});
  if (response?.status === 404) {
    const wasReloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
    await pause(wasReloaded ? 6e4 : 0);
    show(opened);
    location.reload();
  } else {
    console.warn("The page continues without WebAssembly:", error);
    islands.forEach(fallBack);
  }
}
