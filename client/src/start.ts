/**
 * Starts the islands of a page: loads and initializes the browser half, and hydrates each island. It is a part of the page's
 * HTML (src/pages/browser_scripts.rs).
 *
 * A file that fails to load is requested again (retry.ts). If the WebAssembly file of this build is gone (404), the page
 * reloads to get the current build, at most once a minute. After any other failure, and without WebAssembly, `/fallback.js`
 * replaces the islands.
 *
 * A ticket in the address (`?ticket=`) is taken out of it before anything else, so that it gets into no history, copied
 * link or referrer. It is kept in memory only.
 */

import { pause, retry } from "./retry.ts";

/** The browser half: the bindings of the WebAssembly, with a function for each island. */
interface App {
  default(options: { module_or_path: string }): Promise<void>;
  hydrate(ticket: string): void;
  [island: string]: unknown;
}
type Fallback = typeof import("./fallback.ts");

/** The shortest time between two reloads, in milliseconds. */
const RELOAD_PAUSE = 60e3;

const opened = location.href;
const url = new URL(opened);
const ticket = url.searchParams.get("ticket") ?? "";
const show = (url: string | URL) => {
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

const address = (selector: string) => document.querySelector<HTMLLinkElement>(selector)!.href;

const styles = document.querySelector<HTMLLinkElement>("link[rel=stylesheet]")!;
const loadStyles = (query: string) =>
  new Promise((done, fail) => {
    styles.onload = done;
    styles.onerror = fail;
    styles.href = styles.href.split("?")[0] + query;
  });
const isStyled = () => {
  try {
    return styles.sheet!.cssRules.length > 0;
  } catch {
    return false;
  }
};
if (!isStyled()) retry(loadStyles, 4).catch(() => {});

const fallBack = async (island: HTMLElement) => {
  const badge = island.querySelector<HTMLElement>("[data-state]");
  if (badge) badge.dataset.state = "stale";
  const { takeOver } = await retry<Fallback>((query) => import("/fallback.js" + query));
  takeOver(island, ticket);
};

const idle = self.requestIdleCallback ?? setTimeout;
// Without the timeout, a page that is never idle would never start.
await new Promise<unknown>((done) => idle(done, { timeout: 2e3 }));
const script = address("link[rel=modulepreload]");
const wasm = address("link[as=fetch]");
const islands = document.querySelectorAll<HTMLElement>("leptos-island");
try {
  if (!self.WebAssembly) throw new TypeError("WebAssembly is not available");
  const app = await retry<App>((query) => import(script + query), 4);
  await retry((query) => app.default({ module_or_path: wasm + query }), 4);
  app.hydrate(ticket);
  for (const island of islands) {
    try {
      (app[island.dataset.component!] as (island: HTMLElement) => void)(island);
    } catch (error) {
      reportError(error);
      void fallBack(island);
    }
  }
} catch (error) {
  const response = await fetch(wasm + "?", { method: "HEAD", cache: "no-store" }).catch(() => {});
  if (response?.status === 404) {
    const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
    await pause(navigation?.type === "reload" ? RELOAD_PAUSE : 0);
    show(opened);
    location.reload();
  } else {
    console.warn("The page continues without WebAssembly:", error);
    islands.forEach(fallBack);
  }
}
