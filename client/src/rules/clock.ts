/**
 * The server's time. The browser's clock may be wrong, or be set while the page is open. So the page goes by the instants
 * that the server tells, and by the time that has passed since.
 *
 * `elapsed`: milliseconds of a clock that is never set, which may stand still while the machine sleeps
 * (`performance.now()`).
 */

/** Instants of the server are below this. In milliseconds. */
const LAST = 1e15;

export const makeClock = () => {
  /** The server's time when `elapsed` was 0; `undefined` until the server has told its time. */
  let origin: number | undefined;
  const isInstant = (at: unknown): at is number => typeof at === "number" && at > 0 && at < LAST;

  return {
    /** The server has drawn the page just now, at this instant. */
    drawn(at: number, elapsed: number) {
      if (isInstant(at)) origin = at - elapsed;
    },
    /** The server has told an instant that is not in the future. */
    told(at: unknown, elapsed: number) {
      if (isInstant(at)) origin = Math.max(origin ?? 0, at - elapsed);
    },
    now: (elapsed: number): number | undefined => (origin === undefined ? origin : origin + elapsed),
  };
};
