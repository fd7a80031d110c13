/** Reads the counts of a stream. */

/** A count as a stream delivers it. */
export interface Told {
  channelId: string;
  /** `null` if the server does not know it. */
  count: number | null;
  /** Whether the server could not confirm it. */
  stale: boolean;
  live?: boolean | null;
  /** Not checked. */
  asOf?: unknown;
}

/**
 * The count in the data of an event. `undefined` if the data is anything else than a count of one of these channels: it
 * is ignored, and does not prove that the stream works.
 */
export const readCount = (data: string, channels: string[]): Told | undefined => {
  try {
    const told = JSON.parse(data);
    const { count } = told;
    if (channels.includes(told.channelId) && (count === null || count >>> 0 === count)) return told;
  } catch {}
};
