/** The follow button (src/follow-button.ts) of a page that was in the back/forward cache. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { reset } from "./support/page.ts";

// A bundle leaves out what is imported for its effects alone.
await import("../src/follow-button.ts");

document.documentElement.lang = "en";

let answer = { following: false, followers: 4 };
let requests: string[] = [];
/** Lets the held requests go on. */
let release = () => {};
let held: Promise<void> | undefined;

const open = () => {
  const around = document.createElement("div");
  around.innerHTML = `
    <follow-button followers="4">
      <form action="https://site.test/api/channel/follow">
        <input name="channelId" value="ana"><button><span class="follow-button__number">4</span></button>
      </form>
    </follow-button>`;
  document.body.append(around);
  const button = document.querySelector("button")!;
  return () => `${button.getAttribute("aria-pressed")} ${button.textContent}`;
};

const settle = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
};

const show = (persisted: boolean) => {
  const { Event } = document.defaultView as typeof globalThis;
  dispatchEvent(Object.assign(new Event("pageshow"), { persisted }));
};

beforeEach(() => {
  reset();
  localStorage.clear();
  requests = [];
  held = undefined;
  answer = { following: false, followers: 4 };
  globalThis.fetch = (async (_url: string, { method = "GET" }: RequestInit = {}) => {
    requests.push(method);
    await held;
    return Response.json(answer);
  }) as typeof fetch;
});

afterEach(() => document.body.replaceChildren());

test("a page that comes back shows what another page has changed", async () => {
  const state = open();
  await settle();
  assert.equal(state(), "false 4");
  // On the next page of the tab, the visitor follows the channel.
  localStorage.setItem("aforo.follows.ana", "1");
  answer = { following: true, followers: 5 };
  show(true);
  assert.equal(state(), "true 4", "at once what this browser knows");
  await settle();
  assert.equal(state(), "true 5");
  assert.deepEqual(requests, ["GET", "GET"]);
});

test("a page that opens asks once, and one without the button not at all", async () => {
  open();
  show(false);
  await settle();
  assert.deepEqual(requests, ["GET"]);
  document.body.replaceChildren();
  show(true);
  await settle();
  assert.deepEqual(requests, ["GET"]);
});

test("a click whose request is under way stays", async () => {
  const state = open();
  await settle();
  held = new Promise((go) => (release = go));
  const { Event } = document.defaultView as typeof globalThis;
  document.querySelector("form")!.dispatchEvent(new Event("submit", { cancelable: true }));
  assert.equal(state(), "true 5");
  show(true);
  assert.equal(state(), "true 5");
  answer = { following: true, followers: 5 };
  release();
  await settle();
  assert.equal(state(), "true 5");
  assert.deepEqual(requests, ["GET", "POST"]);
});
