/** trackViewer of the npm package. client/tests/react.test.ts has more, by way of the hooks. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import {
  ACCOUNT,
  calls,
  counting,
  dispatch,
  down,
  holdClock,
  pass,
  refusing,
  releaseClock,
  reported,
  reset,
  setAnswer,
} from "./support/page.ts";
import { trackViewer } from "../src/npm/index.ts";

const sent = () => calls.map(({ call, body }) => `${call} ${body.channelId}`);

/** Tracks a channel, and returns the tracker and its events, as text. */
const follow = (channelId: string, options = {}) => {
  const tracker = trackViewer(channelId, options);
  const events: string[] = [];
  tracker.on("state", ({ state, error }) => events.push(error ? `${state} ${error}` : state));
  tracker.on("count", ({ count, isStale }) => events.push(`${count} ${isStale}`));
  return { tracker, events };
};

beforeEach(() => {
  holdClock();
  reset();
});

afterEach(releaseClock);

test("a tracker joins, beats within 30 s, and leaves when it is stopped", async () => {
  const { tracker, events } = follow("Ana");
  assert.deepEqual(tracker.status, { channelId: "Ana", state: "connecting", error: null });
  await pass(1);
  assert.deepEqual(sent(), ["join ana"]);
  await pass(30_000);
  assert.deepEqual(sent(), ["join ana", "heartbeat ana"]);
  tracker.stop();
  await pass(120_000);
  assert.deepEqual(sent(), ["join ana", "heartbeat ana", "leave ana"]);
  assert.deepEqual(events, ["counted", "1 false", "1 false", "stopped"]);
  const [join, ...rest] = calls;
  for (const { body } of rest) assert.equal(body.sessionId, join!.body.sessionId);
});

test("a page that closes leaves", async () => {
  const { tracker, events } = follow("ana");
  await pass(1);
  dispatch("pagehide");
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
  assert.equal(events.at(-1), "connecting");
  tracker.stop();
  await pass(1);
  assert.equal(calls.length, 2);
});

test("a failure is a state with its reason, until a retry succeeds", async () => {
  setAnswer(down);
  const { tracker, events } = follow("ana");
  await pass(1);
  assert.deepEqual(tracker.status, { channelId: "ana", state: "retrying", error: "unreachable" });
  setAnswer(refusing(503, "unavailable"));
  await pass(1_000);
  assert.equal(tracker.status.error, "unavailable");
  setAnswer(counting);
  await pass(6_000);
  assert.equal(calls.length, 2, "a retry waits for Retry-After");
  await pass(2_000);
  assert.deepEqual(events, ["retrying unreachable", "retrying unavailable", "counted", "1 false"]);
  tracker.stop();
  await pass(1);
});

test("a name that can't be a channel is invalid, and sends nothing", async () => {
  for (const name of ["", "no channel", undefined as unknown as string]) {
    const { tracker, events } = follow(name);
    await pass(1_000);
    assert.deepEqual(events, ["invalid invalid-channel"]);
    tracker.stop();
    assert.equal(tracker.status.state, "stopped");
  }
  assert.deepEqual(calls, []);
});

test("trackers of a channel are one session, and a late one learns that it is counted", async () => {
  const first = follow("ana");
  await pass(1);
  const second = follow("ANA");
  await pass(1);
  assert.equal(second.tracker.status.state, "counted");
  first.tracker.stop();
  first.tracker.stop();
  await pass(1_000);
  assert.deepEqual(sent(), ["join ana"]);
  second.tracker.stop();
  const third = follow("ana");
  await pass(1_000);
  assert.deepEqual(sent(), ["join ana"]);
  third.tracker.stop();
  await pass(1_000);
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
});

test("two channels, and two servers, are sessions of their own", async () => {
  const trackers = [follow("ana"), follow("eva"), follow("ana", { baseUrl: "https://live.test" })];
  await pass(1);
  assert.deepEqual(
    calls.map(({ url, body }) => `${url} ${body.channelId}`),
    ["/api/viewer/join ana", "/api/viewer/join eva", "https://live.test/api/viewer/join ana"],
  );
  assert.equal(new Set(calls.map(({ body }) => body.sessionId)).size, 3);
  assert.equal(new Set(calls.map(({ body }) => body.viewerId)).size, 1);
  for (const { tracker } of trackers) tracker.stop();
  await pass(1);
});

test("a session that ends before its join is answered leaves again, as the viewer of the answer", async () => {
  let respond: (() => void) | undefined;
  for (const end of ["answer", "failure"]) {
    reset();
    setAnswer(
      (call) =>
        new Promise((resolve, reject) => {
          respond = () =>
            end === "answer" ? resolve(counting(call)) : reject(new TypeError("Failed to fetch"));
        }),
    );
    const { tracker, events } = follow("ana", { ticket: "one" });
    await pass(1);
    tracker.stop();
    await pass(1);
    assert.deepEqual(sent(), ["join ana", "leave ana"]);
    respond!();
    await pass(1);
    assert.deepEqual(sent(), ["join ana", "leave ana", "leave ana"]);
    assert.deepEqual(events, ["stopped"]);
    if (end === "answer") assert.equal(calls.at(-1)!.body.viewerId, ACCOUNT);
    await pass(60_000);
    assert.equal(calls.length, 3);
  }
});

test("a page that goes away before its join is answered sends one leave", async () => {
  let respond: (() => void) | undefined;
  setAnswer((call) => new Promise((resolve) => (respond = () => resolve(counting(call)))));
  const { tracker } = follow("ana");
  await pass(1);
  dispatch("pagehide");
  respond!();
  await pass(1);
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
  tracker.stop();
  await pass(1);
});

test("tabs that opened at once, and made an id each, become one viewer", async () => {
  const trackers = [follow("ana"), follow("eva")];
  await pass(1);
  const made = calls[0]!.body.viewerId;
  const stored = "6f1c9f0e-1f0a-4c57-9a43-0c1de6b5a001";
  localStorage.setItem("aforo.viewer", stored);
  assert.equal(calls.length, 2);
  dispatch("storage");
  await pass(1_000);
  assert.deepEqual(
    calls.slice(2).map(({ call, body }) => `${call} ${body.channelId} ${body.viewerId}`),
    [`leave ana ${made}`, `leave eva ${made}`, `join ana ${stored}`, `join eva ${stored}`],
  );
  dispatch("storage");
  await pass(31_000);
  for (const { tracker } of trackers) tracker.stop();
  await pass(1);
  assert.deepEqual(
    calls.slice(6).map(({ call, body }) => `${call} ${body.channelId} ${body.viewerId}`),
    ["heartbeat", "leave"].flatMap((call) => [`${call} ana ${stored}`, `${call} eva ${stored}`]),
  );
});

test("a join that is under way when another tab stores an id is left again when it has ended", async () => {
  let answerFirst = () => {};
  setAnswer((call) => {
    setAnswer(counting);
    return new Promise((resolve) => (answerFirst = () => resolve(counting(call))));
  });
  const { tracker } = follow("ana");
  await pass(1);
  const made = calls[0]!.body.viewerId;
  const stored = "6f1c9f0e-1f0a-4c57-9a43-0c1de6b5a005";
  localStorage.setItem("aforo.viewer", stored);
  dispatch("storage");
  await pass(1_000);
  answerFirst();
  await pass(1);
  tracker.stop();
  await pass(1);
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.viewerId}`),
    [`join ${made}`, `leave ${made}`, `join ${stored}`, `leave ${made}`, `leave ${stored}`],
  );
});

test("an id that another tab stored before the join is that of the join", async () => {
  const stored = "6f1c9f0e-1f0a-4c57-9a43-0c1de6b5a002";
  const { tracker } = follow("ana");
  localStorage.setItem("aforo.viewer", stored);
  await pass(1);
  tracker.stop();
  await pass(1);
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.viewerId}`),
    [`join ${stored}`, `leave ${stored}`],
  );
});

test("a session leaves as the viewer as which it joined, and one of an account stays with it", async () => {
  const id = (last: number) => "6f1c9f0e-1f0a-4c57-9a43-0c1de6b5a00" + last;
  localStorage.setItem("aforo.viewer", id(3));
  const browser = follow("ana");
  const account = follow("eva", { ticket: "one" });
  await pass(1);
  localStorage.setItem("aforo.viewer", id(4));
  browser.tracker.stop();
  await pass(1);
  assert.equal(calls.at(-1)!.body.viewerId, id(3));
  dispatch("storage");
  await pass(31_000);
  assert.deepEqual(sent(), ["join ana", "join eva", "leave ana", "heartbeat eva"]);
  account.tracker.stop();
  await pass(1);
  assert.equal(calls.at(-1)!.body.viewerId, ACCOUNT);
});

test("a newer ticket keeps the session, whoever gives it", async () => {
  const { tracker } = follow("ana", { ticket: "one" });
  await pass(1);
  tracker.renewTicket("two");
  const second = follow("ana", { ticket: "three" });
  await pass(1);
  assert.deepEqual(sent(), ["join ana"]);
  // The server has forgotten the session.
  setAnswer((call) => (call.body.ticket ? counting(call) : refusing(403, "ticket-required")(call)));
  await pass(31_000);
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.ticket}`),
    ["join one", "heartbeat undefined", "heartbeat three"],
  );
  assert.equal(new Set(calls.map(({ body }) => body.sessionId)).size, 1);
  assert.ok(calls.slice(1).every(({ body }) => body.viewerId === ACCOUNT));
  tracker.stop();
  tracker.renewTicket("four");
  second.tracker.stop();
  await pass(1);
  assert.equal(calls.at(-1)!.call, "leave");
});

test("a ticket of another account, or none any more, ends the session and begins another one", async () => {
  const ticket = (sub: string, exp: number) =>
    `e30.${Buffer.from(JSON.stringify({ sub, channel: "ana", exp })).toString("base64url")}.c2lnbmVk`;
  const [ana, newer, eva] = [ticket("añá?>", 1), ticket("añá?>", 2), ticket("eva", 1)];
  const { tracker } = follow("ana", { ticket: ana });
  await pass(1);
  for (const next of [newer, eva, null, null, undefined, newer]) {
    tracker.renewTicket(next);
    await pass(1);
  }
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.ticket ?? ""}`.trim()),
    [`join ${ana}`, "leave", `join ${eva}`, "leave", "join", "leave", `join ${newer}`],
  );
  assert.equal(new Set(calls.map(({ body }) => body.sessionId)).size, 4);
  tracker.stop();
  await pass(1);
});

test("a second tracker brings the first ticket", async () => {
  const first = follow("ana");
  await pass(1);
  const second = follow("ana", { ticket: "one" });
  await pass(1);
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.ticket}`),
    ["join undefined", "leave undefined", "join one"],
  );
  first.tracker.stop();
  second.tracker.stop();
  await pass(1);
});

test("a tracker that replaces one with a ticket, but has none, is another viewer", async () => {
  const { tracker } = follow("ana", { ticket: "one" });
  await pass(1);
  tracker.stop();
  const next = follow("ana");
  await pass(1);
  assert.deepEqual(calls.map(({ call, body }) => `${call} ${body.ticket}`).sort(), [
    "join one",
    "join undefined",
    "leave undefined",
  ]);
  assert.deepEqual(new Set(calls.map(({ body }) => body.sessionId)).size, 2);
  next.tracker.stop();
  await pass(1);
});

test("a listener can be removed, and an exception in it ends nothing", async () => {
  const tracker = trackViewer("ana");
  const seen: string[] = [];
  tracker.on("state", () => {
    throw new Error("of the page");
  });
  const end = tracker.on("state", ({ state }) => seen.push(state));
  await pass(1);
  end();
  tracker.stop();
  assert.deepEqual(seen, ["counted"]);
  assert.equal(reported.length, 2);
  await pass(1);
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
});
