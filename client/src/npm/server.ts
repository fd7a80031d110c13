/** Which server an import talks to, and where it runs. */

/** Options of everything that talks to a counter server. */
export interface ServerOptions {
  /**
   * The base URL of the counter server, such as `https://live.example`. By default the page's own origin. The server
   * must list the page's origin in `VIEWER_ALLOWED_ORIGINS` if the page counts as a viewer from another origin.
   */
  baseUrl?: string | undefined;
}

/** How to reach the server, and who the viewer is. */
export interface TrackerOptions extends ServerOptions {
  /** The ticket that says who the viewer is, signed by the site's backend. It is kept in memory only. */
  ticket?: string | null | undefined;
}

/** The base URL of the server's API, with a trailing slash. */
export const apiOf = (baseUrl = ""): string => baseUrl.replace(/\/$/, "") + "/api/viewer/";

/** Whether this runs in a page. On a server nothing is done. */
export const isPage = (): boolean => typeof document !== "undefined";
