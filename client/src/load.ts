/** Loads scripts. */

import { LATER_SPREAD, PAUSE } from "./rules/watchdog.ts";

/**
 * Loads a script, and retries until that succeeds, at the pace at which streams are reopened. Browsers may cache a failed
 * import by its URL, so each retry has one more question mark, which changes the URL but not what it names.
 */
export const load = <Module>(path: string): Promise<Module> =>
  import(path).catch(async () => {
    await new Promise((passed) => setTimeout(passed, PAUSE + LATER_SPREAD * Math.random()));
    return load(path + "?");
  });
