/**
 * <viewer-counter> (element.ts) with the counts of the server that served this script. Served as /widget.js.
 */

import { makeElement, type Tracker } from "./element.ts";
import { load, retry } from "./retry.ts";

/** Shared by all elements. A dynamic import, since a static one could not be retried. */
const stream = retry((nth) => load<typeof import("./stream.ts")>("./stream.js", nth));

customElements.define(
  "viewer-counter",
  makeElement(
    () => stream,
    (nth) => load<Tracker>("./tracker.js", nth),
  ),
);
