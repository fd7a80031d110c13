/** Attempts of the scripts inside of pages, which load everything else. */

/**
 * Makes attempts until one succeeds, or until `maxRetries` more have failed. The pauses double up to 16 s, and are spread so
 * that pages that opened together do not return together. Browsers may cache a failed request by its URL, and another node
 * behind a load balancer may have the file: `attempt` gets another query for each attempt, the first one "".
 */
export const retry = async <Result>(
  attempt: (query: string) => Promise<Result>,
  maxRetries = Infinity,
): Promise<Result> => {
  for (let retries = 0; ; retries += 1) {
    try {
      return await attempt(retries ? "?" + retries : "");
    } catch (error) {
      if (retries === maxRetries) throw error;
      await pause(2 ** Math.min(retries, 5) * (200 + 300 * Math.random()));
    }
  }
};

/** Resolves after this many milliseconds. */
export const pause = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis));
