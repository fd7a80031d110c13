/**
 * The name of the lock and of the BroadcastChannel of the tabs that share the streams of this API. The site's own pages use
 * the short name, as the islands do.
 */
export const streamName = (api: string): string =>
  "aforo-stream" + api.replace(location.origin + "/api/viewer/", "");
