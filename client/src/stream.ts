/**
 * Live counts of this page's channels from the server that served this script. Served as /stream.js, which is loaded on
 * first use.
 */

import { makeCounts } from "./counts.ts";

export const { api, watch, learn } = makeCounts(new URL("api/viewer/", import.meta.url).href);
