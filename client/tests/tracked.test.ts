/** The counts of an element with the attribute `track` (src/tracked.ts). */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { calls, down, holdClock, pass, releaseClock, reset, setAnswer } from "./support/page.ts";
import type { Watcher } from "../src/counts.ts";
import { State } from "../src/rules/watchdog.ts";
import { watchTracked } from "../src/tracked.ts";
import { track } from "../src/tracker.ts";

let end: () => void;
let shown: (number | null | undefined)[];
let source: Watcher;

/** Watches for an element with these attributes. */
const open = (attributes: Record<string, string>) => {
  const element = document.createElement("p") as HTMLElement;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  shown = [];
  end = watchTracked(
    { channel: "ana", update: (news) => shown.push(news?.count) },
    element,
    {
      api: "/api/viewer/",
      watch(watcher) {
        source = watcher;
        return () => {};
      },
      learn() {},
    },
    track,
  );
  return element;
};
const sent = () => calls.map(({ call, body }) => `${call} ${body.ticket}`);

beforeEach(() => {
  holdClock();
  reset();
});
afterEach(async () => {
  end();
  await pass(1);
  releaseClock();
});

test("an element of another site shows 0 until its page is counted", async () => {
  open({ track: "" });
  source.update({ count: 0, stale: false }, State.Live);
  await pass(1);
  assert.deepEqual(shown, [0, 1]);
});

test("on a page of the site the first viewer is never shown as 0, whatever becomes of its join", async () => {
  setAnswer(down);
  for (const role of ["viewer", "counted-elsewhere"]) {
    calls.length = 0;
    open({ track: role });
    source.update({ count: 0, stale: false }, State.Live);
    await pass(1);
    source.update({ count: 0, stale: true }, State.Stale);
    assert.deepEqual(new Set(shown), new Set([1]), role);
    source.update({ count: 5, stale: false }, State.Live);
    assert.equal(shown.at(-1), 5);
    source.update({ count: null, stale: true }, State.Live);
    assert.equal(shown.at(-1), null);
    assert.equal(calls.length, role === "viewer" ? 1 : 0);
    end();
  }
});

test("a page of the site that needs a ticket is 0 until it is counted", async () => {
  open({ track: "ticket-viewer", ticket: "one" });
  source.update({ count: 0, stale: false }, State.Live);
  await pass(1);
  assert.deepEqual(shown, [0, 1]);
  assert.deepEqual(sent(), ["join one"]);
});

test("an element whose ticket is removed is another viewer", async () => {
  const element = open({ track: "", ticket: "one" });
  await pass(1);
  element.setAttribute("ticket", "two");
  await pass(1);
  assert.deepEqual(sent(), ["join one"]);
  element.removeAttribute("ticket");
  await pass(1);
  assert.deepEqual(sent(), ["join one", "leave undefined", "join undefined"]);
});
