/** Loads scripts. */

import { LATER_SPREAD, PAUSE } from "./rules/watchdog.ts";

/**
 * Tries once to load a script. `nth`: how many attempts failed before. Browsers may cache a failed import by its URL, so each
 * further attempt has its number as the query.
 */
export const loadOnce = <Module>(path: string, nth: number): Promise<Module> =>
  import(nth ? path + "?" + nth : path);

/**
 * Loads a script, and retries until that succeeds, at the pace at which streams are reopened. Browsers may cache a failed
 * import by its URL, so each retry has another query.
 */
export const load = <Module>(path: string, query = ""): Promise<Module> =>
  import(path + query).catch(async () => {
    await new Promise((passed) => setTimeout(passed, PAUSE + LATER_SPREAD * Math.random()));
    return load(path, "?" + Date.now());
  });
