/** Loading what may not load at once. */

/** Loads a module. A browser may remember that an address could not be loaded, so each further try has another one. */
export const load = <Module>(path: string, nth: number): Promise<Module> =>
  import(nth ? `${path}?${nth}` : path) as Promise<Module>;

/** Tries until it works; `most`: how often at most. The pauses double from a second to half a minute, at random. */
export const persist = async <T>(attempt: (nth: number) => Promise<T>, most = Infinity): Promise<T> => {
  for (let nth = 0; ; nth += 1) {
    try {
      return await attempt(nth);
    } catch (error) {
      if (nth + 1 >= most) throw error;
      const pause = Math.min(1e3 * 2 ** nth, 30e3) * (0.5 + 0.5 * Math.random());
      await new Promise((passed) => setTimeout(passed, pause));
    }
  }
};
