/** What src/browser.ts passes on to the WebAssembly, whatever a server, another tab or a broken page hands over. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { JUNK, Stream, calls, holdClock, pass, releaseClock, reset, setAnswer } from "./support/page.ts";
import { beat, counts, openEvents, openStream, type Callback } from "../src/browser.ts";

/** What is no text, or no number, in JSON. */
const VALUES = ["14", "null", "true", "[]", '["ana"]', "{}", '{"length":5}', "1e999", "-1", '"x"', '""'];

/** The arguments of every callback. */
let called: unknown[][] = [];
const callback: Callback = (...args) => called.push(args);

/** Fails unless each callback got a kind, a number and a text. */
const expectTypes = (what: string) => {
  for (const args of called) {
    assert.deepEqual(
      args.map((argument) => typeof argument),
      ["number", "number", "string"],
      what,
    );
    assert.ok(Number.isFinite(args[1]), what);
  }
};

const send = (session = "s") => beat("/api/viewer/join", "ana", session, false, "", callback);

beforeEach(() => {
  holdClock();
  reset();
  called = [];
});
afterEach(releaseClock);

test("a refusal in the JSON of a gateway is a failure without a code", async () => {
  for (const status of [400, 403, 429, 503]) {
    for (const body of [...JUNK, ...VALUES, ...VALUES.map((value) => `{"code":${value}}`)]) {
      called = [];
      setAnswer(() => new Response(body, { status }));
      send();
      await pass(1);
      assert.equal(called.length, 1, body);
      expectTypes(`${status} ${body}`);
      assert.equal(called[0]![2], body === '{"code":"x"}' ? "x" : "", body);
    }
  }
});

test("an answer to a beat has an interval and a count of the right types, or none", async () => {
  const fields = ["heartbeatIntervalMs", "count", "stale", "live", "active", "channelId", "asOf"];
  for (const body of [...JUNK, ...fields.flatMap((name) => VALUES.map((value) => `{"${name}":${value}}`))]) {
    called = [];
    setAnswer(() => new Response(body));
    send();
    await pass(1);
    assert.equal(called.length, 1, body);
    expectTypes(body);
  }
});

test("a viewer id that is no text is ignored", async () => {
  for (const value of VALUES.filter((value) => value !== '"x"')) {
    setAnswer(() => new Response(`{"viewerId":${value},"count":1}`));
    send(value);
    await pass(1);
    send(value);
    await pass(1);
    assert.match(calls.at(-1)!.body.viewerId, /^[\da-f-]{36}$/, value);
  }
});

test("counts and events are texts", async () => {
  const junk = [...JUNK, ...VALUES, ...VALUES.map((value) => `{"channelId":${value},"count":${value}}`)];
  const { fetch } = globalThis;
  for (const body of [
    ...junk,
    ...junk.map((item) => `{"counts":[${item}]}`),
    ...junk.map((item) => `{"counts":${item}}`),
  ]) {
    globalThis.fetch = async () => new Response(body);
    counts("/api/viewer/counts", 1_000, callback);
    await pass(1);
  }
  globalThis.fetch = fetch;
  openStream("/api/viewer/sse", callback);
  openEvents("/api/viewer/sse", callback);
  for (const stream of Stream.all) {
    for (const data of [...junk, 14, undefined, null, {}]) {
      stream.deliver(data as string);
      stream.deliver(data as string, "tick");
    }
    stream.break();
  }
  assert.ok(called.length > 100);
  expectTypes("counts and events");
});
