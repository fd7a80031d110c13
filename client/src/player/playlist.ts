/**
 * Reads a channel's playlist and tells a channel that is off air from a stream that can't be reached.
 */

export type Reading =
  /** The playlist. While the channel is on air it changes every few seconds. */
  | { kind: "found"; text: string }
  /** Status 404 or 410: there is no stream. */
  | { kind: "absent" }
  /** A network error, a timeout or any other error status. */
  | { kind: "failed" };

/** The timeout of a request, in milliseconds. */
const TIMEOUT = 10_000;

/** Reads the playlist at this URL. For a multivariant playlist, reads its first variant. */
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

const get = (url: string) => fetch(url, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });

/** Whether the playlist is final: a recording, or a broadcast that has ended. */
export const isComplete = (text: string) => text.includes("#EXT-X-ENDLIST");

/** The number of seconds after which an unchanged playlist means that the stream is over. */
export function secondsToChange(text: string): number {
  const target = Number(/^#EXT-X-TARGETDURATION:(\d+)/m.exec(text)?.[1] ?? 0);
  return Math.min(Math.max(1.5 * target, 6), 30);
}
