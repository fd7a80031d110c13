/**
 * Reads a channel's playlist, to tell a channel that is off air from a stream that can't be reached.
 */

export type Reading =
  /** There is a playlist. A stream that is on air changes it every few seconds. */
  | { kind: "found"; text: string }
  /** The server says that there is no stream. */
  | { kind: "absent" }
  /** No answer, or one that says nothing about the stream. */
  | { kind: "failed" };

/** How long an answer may take. */
const PATIENCE = 10_000;

/** Reads the playlist at this address; of one that only lists variants, the first variant. */
export async function readPlaylist(url: string): Promise<Reading> {
  try {
    let response = await get(url);
    let text = await response.text();
    const variant = /^#EXT-X-STREAM-INF:.*\s+^([^#\s].*)$/m.exec(text)?.[1];
    if (response.ok && variant) {
      response = await get(new URL(variant, response.url).href);
      text = await response.text();
    }
    if (response.ok) return { kind: "found", text };
    return { kind: response.status === 404 || response.status === 410 ? "absent" : "failed" };
  } catch {
    return { kind: "failed" };
  }
}

const get = (url: string) => fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });

/** Whether nothing will be added to it. */
export const isComplete = (text: string) => text.includes("#EXT-X-ENDLIST");

/** After how many seconds a playlist that has not changed belongs to a stream that is over. */
export function secondsToChange(text: string): number {
  const target = Number(/^#EXT-X-TARGETDURATION:(\d+)/m.exec(text)?.[1] ?? 0);
  return Math.min(Math.max(1.5 * target, 6), 30);
}
