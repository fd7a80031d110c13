/** The React hooks of the npm package, in strict mode. client/test.mjs runs this file with each supported version. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import {
  ACCOUNT,
  Stream,
  calls,
  counting,
  down,
  holdClock,
  pass,
  refusing,
  releaseClock,
  reset,
  setAnswer,
  setHidden,
  setReachable,
  type Call,
} from "./support/page.ts";

import { StrictMode, act, createElement, version, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";

import { useViewerCount, useViewerTracker } from "../src/npm/react.ts";

Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });

interface Props {
  channelId: string | undefined;
  enabled?: boolean;
  baseUrl?: string;
  initialCount?: number | null;
  ticket?: string | undefined;
}

const shown: string[] = [];
/** The states of the tracker that were rendered. */
const tracked: string[] = [];

/** A component with both hooks. */
function Viewers(props: Props) {
  const { isCounted, state, error } = useViewerTracker(props);
  const { viewerCount, isConnected, state: countState } = useViewerCount(props);
  shown.push(`${viewerCount} ${countState}`);
  tracked.push(state);
  return createElement(
    "p",
    null,
    [isCounted, state, error, viewerCount, isConnected, countState].map(String).join(" "),
  );
}

/** A component that only shows the count. */
function Count(props: Props) {
  const { viewerCount, isConnected, state } = useViewerCount(props);
  return createElement("p", null, [viewerCount, isConnected, state].map(String).join(" "));
}

const viewers = (props: Props, key?: string) => createElement(Viewers, { ...props, key });

let root: Root;
let place: HTMLElement;

/** Lets requests be answered, and renders what follows. */
const settle = (millis = 5) => act(() => pass(millis));
/** Renders these elements in place of the present ones. */
const render = async (...elements: ReactNode[]) => {
  await act(async () => root.render(createElement(StrictMode, null, ...elements)));
  await settle();
};
/** Delivers a count on the open stream. */
const send = (channelId: string, count: number) => act(async () => Stream.open[0]!.send(channelId, count));
const text = () => place.textContent;
const sent = () => calls.map(({ call, body }: Call) => `${call} ${body.channelId}`);

beforeEach(() => {
  holdClock();
  reset();
  shown.length = 0;
  place = document.createElement("div");
  root = createRoot(place);
});

afterEach(async () => {
  await act(async () => root.unmount());
  await settle();
  releaseClock();
  assert.equal(Stream.open.length, 0);
  const joined = new Set(calls.filter(({ call }) => call !== "leave").map(({ body }) => body.sessionId));
  const left = new Set(calls.filter(({ call }) => call === "leave").map(({ body }) => body.sessionId));
  assert.deepEqual(joined, left, "every session has left");
});

test(`React ${version}: the double mount of strict mode joins once, and an unmount leaves once`, async () => {
  await render(viewers({ channelId: "ana" }));
  assert.deepEqual(sent(), ["join ana"]);
  assert.equal(Stream.all.length, 1);
  await send("ana", 5);
  assert.equal(text(), "true counted null 5 true live");
  await render();
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
  assert.equal(Stream.open.length, 0);
});

test("a remount in one commit, as a fast refresh or a route with the same channel makes, sends nothing", async () => {
  await render(viewers({ channelId: "ana" }, "one"));
  await send("ana", 5);
  await render(viewers({ channelId: "ana" }, "two"));
  assert.equal(text(), "true counted null 5 true live");
  assert.deepEqual(sent(), ["join ana"]);
  assert.equal(Stream.all.length, 1);
});

test("another channel is left and joined, and shows nothing of the old one", async () => {
  await render(viewers({ channelId: "ana" }));
  await send("ana", 5);
  shown.length = 0;
  await render(viewers({ channelId: "eva", initialCount: 2 }));
  assert.deepEqual(sent().sort(), ["join ana", "join eva", "leave ana"]);
  const [joins] = [calls.filter(({ call }) => call === "join")];
  assert.notEqual(joins[0]!.body.sessionId, joins[1]!.body.sessionId);
  assert.equal(joins[0]!.body.viewerId, joins[1]!.body.viewerId);
  await send("eva", 3);
  assert.deepEqual([...new Set(shown)], ["2 connecting", "3 live"]);
  assert.equal(Stream.open.length, 1);
});

test("hooks that are not enabled, or have no channel yet, send nothing", async () => {
  await render(
    viewers({ channelId: "ana", enabled: false, initialCount: 4 }),
    viewers({ channelId: undefined }),
  );
  assert.equal(text(), "false idle null 4 false idle" + "false idle null null false idle");
  assert.deepEqual(sent(), []);
  assert.deepEqual(Stream.all, []);
  await render(viewers({ channelId: "ana", enabled: true }));
  assert.deepEqual(sent(), ["join ana"]);
  await render(viewers({ channelId: "ana", enabled: false }));
  assert.equal(text(), "false idle null null false idle");
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
});

test("two trackers of a channel are one session, which the last one ends", async () => {
  await render(viewers({ channelId: "ana" }, "one"), viewers({ channelId: "ANA" }, "two"));
  assert.deepEqual(sent(), ["join ana"]);
  assert.ok(text()!.startsWith("true counted") && text()!.includes("connectingtrue counted"), text()!);
  await render(viewers({ channelId: "ANA" }, "two"));
  assert.deepEqual(sent(), ["join ana"]);
  await render();
  assert.deepEqual(sent(), ["join ana", "leave ana"]);
});

test("a page that opens hidden keeps the initial number, and takes the first count when it is shown", async () => {
  setHidden(true);
  await render(createElement(Count, { channelId: "ana", initialCount: 4 }));
  assert.equal(text(), "4 false stale");
  assert.equal(Stream.all.length, 0);
  await act(async () => setHidden(false));
  assert.equal(text(), "4 false stale");
  await send("ana", 5);
  assert.equal(text(), "5 true live");
});

test("an initial number is unknown after a minute without a server, and a new one changes nothing", async () => {
  setReachable(false);
  await render(createElement(Count, { channelId: "ana", initialCount: 4 }));
  assert.equal(text(), "4 false connecting");
  await act(async () => Stream.open[0]!.break());
  await render(createElement(Count, { channelId: "ana", initialCount: 9 }));
  await settle(1_100);
  assert.equal(text(), "4 false stale");
  assert.equal(Stream.all.length, 1);
  await settle(60_000);
  assert.equal(text(), "null false unknown");
});

test("a counted page never shows 0", async () => {
  await render(viewers({ channelId: "ana" }));
  await send("ana", 0);
  assert.equal(text(), "true counted null 1 true live");
});

test("a name that can't be a channel is an error, and nothing is sent", async () => {
  await render(viewers({ channelId: "no channel" }));
  assert.equal(text(), "false invalid invalid-channel null false invalid");
  assert.deepEqual(sent(), []);
  assert.deepEqual(Stream.all, []);
});

test("a server that can't be reached is an error until it can be", async () => {
  setAnswer(down);
  await render(viewers({ channelId: "ana", initialCount: 2 }));
  assert.equal(text(), "false retrying unreachable 2 false connecting");
  Stream.open[0]!.break();
  await settle(1_100);
  assert.equal(text(), "false retrying unreachable 2 false stale");
  setAnswer(counting);
  await settle(2_500);
  // The answer to the join replaces the stream.
  assert.equal(text(), "true counted null 1 true live");
});

test("a refusal has the code of the server's problem", async () => {
  setAnswer(refusing(429, "limit-reached"));
  await render(viewers({ channelId: "ana" }));
  assert.match(text()!, /^false retrying limit-reached /);
  await settle(1_100);
  assert.equal(calls.length, 1, "a retry waits for Retry-After");
});

test("a base URL names another server", async () => {
  await render(viewers({ channelId: "ana", baseUrl: "https://live.test/" }));
  assert.equal(calls[0]!.url, "https://live.test/api/viewer/join");
  assert.match(Stream.open[0]!.url, /^https:\/\/live\.test\/api\/viewer\/sse\?channels=ana$/);
});

test("a ticket is sent with the join, and a newer one keeps the viewer and the session", async () => {
  await render(viewers({ channelId: "ana", ticket: "one" }));
  tracked.length = 0;
  await render(viewers({ channelId: "ana", ticket: "two" }));
  assert.deepEqual([...new Set(tracked)], ["counted"]);
  await settle(30_000);
  assert.deepEqual(sent(), ["join ana", "heartbeat ana"], "there was no leave, and no other join");
  // A server that does not know the session any more wants the ticket: it gets the newer one.
  setAnswer((call) => (call.body.ticket ? counting(call) : refusing(403, "ticket-required")(call)));
  await settle(30_000);
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.ticket}`),
    ["join one", "heartbeat undefined", "heartbeat undefined", "heartbeat two"],
  );
  assert.equal(new Set(calls.map(({ body }) => body.sessionId)).size, 1);
  assert.deepEqual([...new Set(calls.slice(1).map(({ body }) => body.viewerId))], [ACCOUNT]);
  // A person who signs out is another viewer.
  setAnswer(counting);
  await render(viewers({ channelId: "ana" }));
  assert.deepEqual(
    calls.slice(4).map(({ call, body }) => `${call} ${body.ticket}`),
    ["leave undefined", "join undefined"],
  );
  assert.notEqual(calls.at(-1)!.body.viewerId, ACCOUNT);
});

test("the first ticket of a page that is counted makes it another viewer", async () => {
  await render(viewers({ channelId: "ana" }));
  await render(viewers({ channelId: "ana", ticket: "one" }));
  assert.deepEqual(
    calls.map(({ call, body }) => `${call} ${body.ticket}`),
    ["join undefined", "leave undefined", "join one"],
  );
});

test("another channel is joined with the present ticket", async () => {
  await render(viewers({ channelId: "ana", ticket: "one" }));
  await render(viewers({ channelId: "eva", ticket: "two" }));
  const joins = calls.filter(({ call }) => call === "join");
  assert.deepEqual(
    joins.map(({ body }) => `${body.channelId} ${body.ticket}`),
    ["ana one", "eva two"],
  );
});
