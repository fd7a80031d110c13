/**
 * <viewer-counter> (element.ts) with the counts of the server that served this script. Served as /widget.js.
 */

import { makeElement, type Source, type Tracker } from "./element.ts";
import { load, retry } from "./retry.ts";

/** Where counts come from: stream.js or poll.js, each shared by all elements. */
const sources: Record<string, Promise<Source>> = {};

/** Loads one of them. A dynamic import, since a static one could not be retried. */
const source = (name: string) => (sources[name] ??= retry((nth) => load<Source>(`./${name}.js`, nth)));

customElements.define(
  "viewer-counter",
  makeElement(
    (element) => source(element.hasAttribute("poll") ? "poll" : "stream"),
    (nth) => load<Tracker>("./tracker.js", nth),
  ),
);
