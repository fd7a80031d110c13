/** <viewer-counter> (src/element.ts), with a source of counts that the test plays. client/README.md has its attributes. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { holdClock, pass, releaseClock, reset } from "./support/page.ts";
import type { Watcher } from "../src/counts.ts";
import { makeElement } from "../src/element.ts";
import { State } from "../src/rules/watchdog.ts";

// As in a page that requires Trusted Types.
for (const start of [
  document.createElement("p"),
  document.createElement("p").attachShadow({ mode: "open" }),
]) {
  let owner: object | null = start;
  while (owner && !Object.hasOwn(owner, "innerHTML")) owner = Object.getPrototypeOf(owner) as object | null;
  Object.defineProperty(owner, "innerHTML", {
    set() {
      throw new TypeError("This document requires 'TrustedHTML' assignment.");
    },
  });
}

/** What is watched now. */
const watched = new Set<Watcher>();
let begun = 0;
customElements.define(
  "viewer-counter",
  makeElement((watcher) => {
    begun += 1;
    watched.add(watcher);
    return () => watched.delete(watcher);
  }) as never,
);

/** Opens a page with an element that has these attributes. */
const open = (attributes: Record<string, string>) => {
  const element = document.createElement("viewer-counter") as HTMLElement;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  document.body.append(element);
  const badge = element.shadowRoot!.querySelector<HTMLElement>(".viewer-counter")!;
  const shown = () => `${badge.dataset.state} ${badge.lastChild!.textContent!.trim()}`;
  return { element, badge, shown };
};
/** Tells a count of what is watched. */
const tell = (count: number, state = State.Live) => {
  for (const { update } of watched) update({ count, stale: false }, state);
};
const channels = () => [...watched].map(({ channel }) => channel);

beforeEach(() => {
  holdClock();
  reset();
  begun = 0;
});
afterEach(async () => {
  document.body.replaceChildren();
  await pass(1);
  assert.equal(watched.size, 0);
  releaseClock();
});

test("an element needs no HTML from a text, which a page may forbid", () => {
  const { badge, shown } = open({ channel: "ana" });
  assert.equal(shown(), " ");
  assert.equal(badge.getAttribute("role"), "img");
  tell(3);
  assert.equal(shown(), "live 3");
});

test("another channel is unknown until its first count", async () => {
  const { element, shown } = open({ channel: "ana" });
  tell(3);
  element.setAttribute("channel", "eva");
  assert.equal(shown(), "unknown —");
  await pass(1);
  assert.deepEqual(channels(), ["eva"]);
  for (const { update } of watched) update(undefined, State.Live);
  assert.equal(shown(), "unknown —");
  tell(5);
  assert.equal(shown(), "live 5");
});

test("another channel does not take the initial count of the one before, but one that comes with it", async () => {
  const { element, shown } = open({ channel: "ana", count: "12" });
  assert.equal(shown(), "live 12");
  element.setAttribute("channel", "eva");
  await pass(1);
  assert.equal(shown(), "unknown —");
  // Frameworks set attributes one by one, in any order.
  element.setAttribute("channel", "luz");
  element.setAttribute("count", "7");
  await pass(1);
  assert.equal(shown(), "live 7");
  element.setAttribute("count", "8");
  element.setAttribute("channel", "sol");
  await pass(1);
  assert.equal(shown(), "live 8");
  assert.deepEqual(channels(), ["sol"]);
});

test("an element that is counted from now on keeps its number", async () => {
  const { element, shown } = open({ channel: "ana", count: "12" });
  tell(3);
  element.setAttribute("track", "");
  await pass(1);
  assert.equal(shown(), "live 3");
  assert.equal(begun, 2);
});

test("an element that changes its channel and is removed watches nothing", async () => {
  const { element } = open({ channel: "ana" });
  element.setAttribute("channel", "eva");
  element.remove();
  await pass(1);
  assert.equal(watched.size, 0);
});

test("an initial count that is no number is none", () => {
  for (const count of ["null", "undefined", "NaN", "", " ", "many", "-1", "[object Object]"]) {
    assert.equal(open({ channel: "ana", count }).shown(), " ", count);
  }
  assert.equal(open({ channel: "ana", count: "0" }).shown(), "live 0");
});

test("the case of a language does not matter", () => {
  for (const [locale, title] of [
    ["EN-US", "2 viewers"],
    ["en", "2 viewers"],
    ["PT", "2 espectadores"],
    ["fr", "2 espectadores"],
  ]) {
    const { badge } = open({ channel: "ana", locale: locale! });
    tell(2);
    assert.equal(badge.title, title, locale);
  }
  document.documentElement.lang = "EN-GB";
  const { badge } = open({ channel: "ana" });
  tell(2);
  document.documentElement.lang = "";
  assert.equal(badge.title, "2 viewers");
});
