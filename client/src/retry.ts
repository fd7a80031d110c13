/** Retries with backoff, and module loading that can be retried. */

/** Loads a module. Browsers may cache a failed import by its URL, so each retry adds another query. */
export const load = <Module>(path: string, nth: number): Promise<Module> =>
  import(nth ? `${path}?${nth}` : path) as Promise<Module>;

/** Retries until an attempt succeeds. The pauses double from 1 s to 30 s, with jitter. */
export const retry = async <T>(attempt: (nth: number) => Promise<T>): Promise<T> => {
  for (let nth = 0; ; nth += 1) {
    try {
      return await attempt(nth);
    } catch {
      const pause = Math.min(1e3 * 2 ** nth, 30e3) * (0.5 + 0.5 * Math.random());
      await new Promise((passed) => setTimeout(passed, pause));
    }
  }
};
