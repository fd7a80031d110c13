/** Loads modules. */

import { LATER_SPREAD, PAUSE } from "./rules/watchdog.ts";

/**
 * Loads a module, and retries until that succeeds, at the pace at which streams are reopened. Browsers may cache a failed
 * import by its URL, so each retry adds another query.
 */
export const load = async <Module>(path: string): Promise<Module> => {
  for (let nth = 0; ; nth += 1) {
    try {
      return (await import(nth ? `${path}?${nth}` : path)) as Module;
    } catch {
      await new Promise((passed) => setTimeout(passed, PAUSE + LATER_SPREAD * Math.random()));
    }
  }
};
