/** watchCount of the npm package, over a stream of the page's own. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import {
  JUNK,
  Stream,
  dispatch,
  holdClock,
  pass,
  releaseClock,
  reported,
  requests,
  reset,
  setHidden,
  setReachable,
} from "./support/page.ts";
import { watchCount, type CountUpdate } from "../src/npm/index.ts";

const stops: (() => void)[] = [];

/** Watches a channel, and returns what is reported, as text. */
const watch = (channelId: string, options = {}) => {
  const seen: string[] = [];
  const stop = watchCount(channelId, (update) => seen.push(text(update)), options);
  stops.push(stop);
  return { seen, stop };
};
const text = ({ count, state, isConnected }: CountUpdate) =>
  `${state} ${count}${isConnected ? " connected" : ""}`;

beforeEach(() => {
  holdClock();
  reset();
});

afterEach(async () => {
  for (const stop of stops.splice(0)) stop();
  await pass(1);
  releaseClock();
  assert.equal(Stream.open.length, 0);
});

test("a count is reported at once and at every change", async () => {
  const { seen } = watch("Ana.TV");
  await pass(1);
  const [stream] = Stream.open;
  assert.equal(stream!.url, "/api/viewer/sse?channels=ana.tv");
  stream!.send("ana.tv", 3);
  stream!.send("ana.tv", 3);
  stream!.tick();
  stream!.send("ana.tv", 4);
  stream!.send("ana.tv", 4, true);
  stream!.send("ana.tv", null);
  assert.deepEqual(seen, [
    "connecting null",
    "live 3 connected",
    "live 4 connected",
    "stale 4 connected",
    "unknown null connected",
  ]);
});

test("all channels of a page share one stream, and one more channel reopens it", async () => {
  const [ana, eva] = [watch("ana"), watch("eva")];
  await pass(1);
  assert.deepEqual(
    Stream.all.map(({ url }) => url),
    ["/api/viewer/sse?channels=ana,eva"],
  );
  Stream.open[0]!.send("ana", 1);
  watch("ana");
  await pass(1);
  assert.equal(Stream.all.length, 1);
  watch("leo");
  await pass(1);
  assert.deepEqual(
    Stream.open.map(({ url }) => url),
    ["/api/viewer/sse?channels=ana,eva,leo"],
  );
  Stream.open[0]!.send("eva", 2);
  assert.deepEqual(ana.seen.at(-1), "live 1 connected");
  assert.deepEqual(eva.seen.at(-1), "live 2 connected");
});

test("more than 50 channels take several streams", async () => {
  for (let nth = 0; nth < 60; nth += 1) watch(`c${nth}`);
  await pass(1);
  assert.deepEqual(
    Stream.open.map(({ url }) => url.split(",").length),
    [50, 10],
  );
});

test("a channel that is watched again later gets a new count, not its old one", async () => {
  watch("eva");
  const ana = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 7);
  ana.stop();
  watch("leo");
  await pass(1);
  const again = watch("ana");
  await pass(1);
  assert.deepEqual(again.seen, ["connecting null"]);
  assert.equal(Stream.open[0]!.url, "/api/viewer/sse?channels=eva,leo,ana");
});

test("another base URL is another server", async () => {
  watch("ana", { baseUrl: "https://live.test/counter/" });
  watch("ana", { baseUrl: "https://live.test" });
  await pass(1);
  assert.deepEqual(
    Stream.open.map(({ url }) => url),
    [
      "https://live.test/counter/api/viewer/sse?channels=ana",
      "https://live.test/api/viewer/sse?channels=ana",
    ],
  );
});

test("a stream that breaks is stale after a second, reopened, and live again at the next count", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  Stream.open[0]!.break();
  assert.equal(Stream.open.length, 0);
  await pass(1_100);
  assert.equal(seen.at(-1), "stale 3");
  await pass(2_000);
  assert.equal(Stream.open.length, 1);
  Stream.open[0]!.send("ana", 3);
  assert.equal(seen.at(-1), "live 3 connected");
});

test("a server that is down is asked for ever, with pauses, and its count is unknown after a minute", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  setReachable(false);
  for (let second = 0; second < 120; second += 1) {
    for (const stream of Stream.open) stream.break();
    await pass(1_000);
  }
  assert.deepEqual(seen.slice(2), ["stale 3", "unknown null"]);
  assert.ok(Stream.all.length > 15 && Stream.all.length < 30, `${Stream.all.length} attempts`);
  setReachable(true);
  await pass(10_000);
  Stream.open[0]!.send("ana", 5);
  assert.equal(seen.at(-1), "live 5 connected");
});

test("a silent stream is live while the server answers, and reopened after a minute", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  await pass(29_000);
  assert.equal(seen.at(-1), "live 3 connected");
  assert.deepEqual([...new Set(requests)], ["ping"]);
  await pass(32_000);
  assert.equal(seen.at(-1), "unknown null");
  assert.equal(Stream.all.length, 2);
  assert.equal(Stream.open.length, 1);
});

test("a silent stream is stale as soon as the server does not answer", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  setReachable(false);
  await pass(14_000);
  assert.equal(seen.at(-1), "stale 3");
  setReachable(true);
  Stream.open[0]!.tick();
  assert.equal(seen.at(-1), "live 3 connected");
});

test("without a network the count is stale at once, and the stream is reopened when the network is back", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  dispatch("offline");
  assert.equal(seen.at(-1), "stale 3");
  dispatch("online");
  assert.equal(Stream.all.length, 2);
  Stream.open[0]!.send("ana", 4);
  assert.equal(seen.at(-1), "live 4 connected");
});

test("a hidden page has no stream, and the count is stale until the next one", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  setHidden(true);
  assert.equal(Stream.open.length, 0);
  assert.equal(seen.at(-1), "stale 3");
  watch("eva");
  await pass(300_000);
  assert.equal(Stream.open.length, 0);
  setHidden(false);
  assert.equal(Stream.open[0]!.url, "/api/viewer/sse?channels=ana,eva");
  assert.equal(seen.at(-1), "stale 3");
  Stream.open[0]!.send("ana", 4);
  assert.equal(seen.at(-1), "live 4 connected");
});

test("junk changes nothing, throws nothing, and does not prove that the stream works", async () => {
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  for (let second = 0; second < 59; second += 1) {
    await pass(1_000);
    for (const data of JUNK) for (const stream of Stream.open) stream.deliver(data);
  }
  assert.deepEqual(seen, ["connecting null", "live 3 connected", "stale 3"]);
  await pass(1_000);
  assert.equal(seen.at(-1), "unknown null");
  assert.deepEqual(reported, []);
});

test("after the last stop nothing is left", async () => {
  const { seen, stop } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  stop();
  await pass(1);
  assert.equal(Stream.open.length, 0);
  await pass(120_000);
  assert.equal(seen.length, 2);
  assert.equal(Stream.all.length, 1);
  assert.deepEqual(requests, []);
});

test("a stop within the same turn requests nothing", async () => {
  const { seen, stop } = watch("ana");
  stop();
  watch("no channel").stop();
  await pass(1_000);
  assert.deepEqual(Stream.all, []);
  assert.deepEqual(seen, []);
});

test("a name that can't be a channel is invalid, and requests nothing", async () => {
  for (const name of ["", "no channel", "z".repeat(65), undefined as unknown as string]) {
    const { seen } = watch(name);
    assert.deepEqual(seen, []);
    await pass(1);
    assert.deepEqual(seen, ["invalid null"]);
  }
  assert.deepEqual(Stream.all, []);
});

test("an address that is none is like a server that is down", async () => {
  const { seen } = watch("ana", { baseUrl: "http://[" });
  await pass(5_000);
  assert.deepEqual(seen, ["connecting null", "unknown null"]);
});

test("an exception in a listener is reported and does not affect others", async () => {
  stops.push(
    watchCount("ana", () => {
      throw new Error("of the page");
    }),
  );
  const { seen } = watch("ana");
  await pass(1);
  Stream.open[0]!.send("ana", 3);
  assert.equal(seen.at(-1), "live 3 connected");
  assert.equal(reported.length, 2);
});
