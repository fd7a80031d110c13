/*! hls.js, https://github.com/video-dev/hls.js, Apache License 2.0: see /hls.js.LICENSE.txt */
import type Full from "hls.js";
// @ts-expect-error The light build has no types; its API is a subset of the full build's.
import Light from "hls.js/light";

export default Light as typeof Full;
