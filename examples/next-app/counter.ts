/** The counter server, as this app's server knows it. Without AFORO_URL it is behind this app's own origin. */
export const counterUrl = () => process.env.AFORO_URL;

/** The number of viewers for the first HTML; `null` if the counter does not say it at once. */
export async function initialCount(channelId: string): Promise<number | null> {
  try {
    const url = `${counterUrl()}/api/viewer/count/${encodeURIComponent(channelId)}`;
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(500) });
    if (!response.ok) return null;
    return ((await response.json()) as { count: number | null }).count;
  } catch {
    return null;
  }
}
