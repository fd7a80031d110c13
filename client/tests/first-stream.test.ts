/** The stream of a page that is alone (src/first-stream.ts), and how the shared source takes over. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { JUNK, Stream, dispatch, holdClock, pass, releaseClock, reset, setHidden } from "./support/page.ts";
import { makeCounts, type Watcher } from "../src/counts.ts";
import { makeFirstStream } from "../src/first-stream.ts";
import { makeWatchdog } from "../src/rules/watchdog.ts";

type Granted = (lock: object | null) => unknown;

/** The lock of the tab that leads, as the browser keeps it. */
const locks = {
  isTaken: false,
  isRefused: false,
  async request(_name: string, options: object, granted: Granted) {
    assert.deepEqual(options, { ifAvailable: true });
    if (this.isRefused) throw new DOMException("refused", "SecurityError");
    if (this.isTaken) return granted(null);
    this.isTaken = true;
    await granted({});
    this.isTaken = false;
  },
};

class Tabs {
  static open: Tabs[] = [];
  onmessage?: () => void;
  constructor(readonly name: string) {
    Tabs.open.push(this);
  }
  close() {
    Tabs.open = Tabs.open.filter((each) => each !== this);
  }
}
Object.assign(globalThis, { BroadcastChannel: Tabs });
const { navigator } = globalThis as unknown as { navigator: { locks?: unknown } };

/** The watchers of the shared source. */
const shared = new Set<Watcher>();
let loads = 0;
let finishLoading = () => {};

const ends: (() => void)[] = [];
let makeWatch: ReturnType<typeof makeFirstStream>;

/** Watches a channel, and returns what is shown, as text. */
const watch = (channel: string) => {
  const seen: string[] = [];
  const end = makeWatch({
    channel,
    update(news, state) {
      const text = `${["live", "stale", "unknown"][state]} ${news?.count}`;
      if (text !== seen.at(-1)) seen.push(text);
    },
  });
  ends.push(end);
  return { seen, end };
};

/** Lets promises settle, of which the clock knows nothing. */
const settle = async () => {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
};

/** Opens a page, which watches a channel. */
const open = async (channel: string) => {
  const watching = watch(channel);
  await pass(1);
  await settle();
  return watching;
};

beforeEach(() => {
  holdClock();
  reset();
  Object.assign(locks, { isTaken: false, isRefused: false });
  navigator.locks = locks;
  loads = 0;
  makeWatch = makeFirstStream("/api/viewer/", "name", () => {
    loads += 1;
    return new Promise((loaded) => {
      finishLoading = () =>
        loaded({
          watch(watcher) {
            shared.add(watcher);
            return () => shared.delete(watcher);
          },
        });
    });
  });
});

afterEach(async () => {
  for (const end of ends.splice(0)) end();
  await pass(1);
  await settle();
  releaseClock();
  delete navigator.locks;
  assert.deepEqual([Stream.open.length, Tabs.open.length, shared.size], [0, 0, 0]);
});

/** The other source takes over. */
const takeOver = async () => {
  finishLoading();
  await settle();
};

test("a page that is alone has one stream and the lock, and loads nothing", async () => {
  const ana = watch("ana");
  const eva = await open("eva");
  assert.deepEqual(
    Stream.all.map(({ url }) => url),
    ["/api/viewer/sse?channels=ana,eva"],
  );
  assert.ok(locks.isTaken);
  Stream.open[0]!.send("ana", 3);
  Stream.open[0]!.tick();
  Stream.open[0]!.send("eva", null);
  Stream.open[0]!.send("ana", 4);
  assert.deepEqual(ana.seen, ["live 3", "live 4"]);
  assert.deepEqual(eva.seen, ["live undefined", "live null"]);
  assert.equal(loads, 0);
});

test("one more channel opens another stream in place of the first", async () => {
  await open("ana");
  Stream.open[0]!.send("ana", 3);
  const { seen } = await open("eva");
  assert.deepEqual(
    Stream.open.map(({ url }) => url),
    ["/api/viewer/sse?channels=ana,eva"],
  );
  Stream.open[0]!.send("eva", 1);
  assert.deepEqual(seen, ["live 1"]);
  assert.equal(loads, 0);
});

test("a stream that breaks is stale within a second, reopened, and live again at the next count", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  Stream.open[0]!.break();
  assert.equal(Stream.open.length, 0);
  await pass(1_000);
  assert.equal(seen.at(-1), "stale 3");
  await pass(9_000);
  assert.equal(Stream.open.length, 1);
  Stream.open[0]!.send("ana", 3);
  assert.deepEqual(seen, ["live 3", "stale 3", "live 3"]);
  assert.equal(loads, 0);
});

test("a server that is down is asked for ever, with pauses, and the other source is loaded once", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  for (let second = 0; second < 120; second += 1) {
    for (const stream of Stream.open) stream.break();
    await pass(1_000);
  }
  assert.deepEqual(seen, ["live 3", "stale 3", "unknown 3"]);
  assert.ok(Stream.all.length > 15 && Stream.all.length < 30, `${Stream.all.length} attempts`);
  assert.equal(loads, 1);
  await pass(10_000);
  Stream.open[0]!.send("ana", 5);
  assert.equal(seen.at(-1), "live 5");
});

test("silence is stale and then unknown, and the other source takes over", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  await pass(29_000);
  assert.deepEqual(seen, ["live 3"]);
  assert.equal(loads, 0);
  await pass(1_000);
  assert.deepEqual(seen, ["live 3", "stale 3"]);
  assert.equal(loads, 1);
  await pass(30_000);
  assert.deepEqual(seen, ["live 3", "stale 3", "unknown 3"]);
  await takeOver();
  assert.equal(Stream.open.length, 0);
  assert.equal(shared.size, 1);
});

/** What is shown of the channel `ana` by this stream and then by the shared source, whose requests of counts are answered. */
const openWithShared = async (count: number | undefined) => {
  const { fetch } = globalThis;
  const asked: number[] = [];
  const begunAt = Date.now();
  globalThis.fetch = (async (url: string) => {
    if (!url.includes("/counts?")) return new Response(null, { status: 204 });
    asked.push(Date.now() - begunAt);
    if (count === undefined) return new Response(null, { status: 503 });
    return new Response(JSON.stringify({ counts: [{ channelId: "ana", count, stale: false, asOf: 1 }] }));
  }) as typeof globalThis.fetch;
  ends.push(() => (globalThis.fetch = fetch));
  delete navigator.locks;
  makeWatch = makeFirstStream("/api/viewer/", "name", async () =>
    makeCounts("https://site.test/api/viewer/"),
  );
  return { ...(await open("ana")), asked };
};

test("where every stream is refused, counts are requested long before the number is unknown", async () => {
  const { seen, asked } = await openWithShared(7);
  for (let second = 0; second < 180; second += 1) {
    for (const stream of Stream.open) stream.break();
    await pass(1_000);
  }
  assert.ok(asked[0]! <= 25_000, `asked after ${asked[0]} ms`);
  assert.ok(asked.length > 10 && asked.length < 30, `asked ${asked.length} times`);
  assert.equal(seen.at(-1), "live 7");
  assert.ok(!seen.some((text) => text.startsWith("unknown")), seen.join(", "));
});

test("where no stream delivers anything, counts are requested before the number is unknown", async () => {
  const { seen, asked } = await openWithShared(7);
  await pass(59_000);
  assert.ok(asked[0]! < 50_000, `asked after ${asked[0]} ms`);
  assert.equal(seen.at(-1), "live 7");
});

test("where nothing is answered, the number is unknown after a minute, whichever source shows it", async () => {
  const { seen } = await openWithShared(undefined);
  Stream.open[0]!.send("ana", 3);
  for (let second = 0; second < 60; second += 1) {
    for (const stream of Stream.open) stream.break();
    assert.notEqual(seen.at(-1), "unknown 3", `after ${second} s`);
    await pass(1_000);
  }
  assert.match(seen.at(-1)!, /^unknown/);
});

test("what is no count changes nothing, and does not prove that the stream works", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  for (let second = 0; second < 59; second += 1) {
    await pass(1_000);
    for (const data of JUNK) Stream.open[0]!.deliver(data);
    assert.equal(seen.at(-1), second < 29 ? "live 3" : "stale 3", `after ${second + 1} s`);
  }
  await pass(1_000);
  assert.deepEqual(seen, ["live 3", "stale 3", "unknown 3"]);
});

test("junk from a stream that broke does not make its count live", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  Stream.open[0]!.break();
  await pass(9_000);
  for (const data of JUNK) Stream.open[0]!.deliver(data);
  await pass(1_000);
  assert.deepEqual(seen, ["live 3", "stale 3"]);
  Stream.open[0]!.tick();
  assert.equal(seen.at(-1), "live 3");
});

test("a channel that no element shows any more keeps the stream alive", async () => {
  const { end } = watch("eva");
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  end();
  for (let second = 0; second < 60; second += 1) {
    await pass(1_000);
    Stream.open[0]!.send("eva", second);
  }
  assert.deepEqual([seen.at(-1), seen.includes("stale 3")], ["live 3", false]);
});

test("whatever happens to the stream, the count is as current as the watchdog says, at most a second later", async () => {
  // The watchdog is held to the one in Rust by recorded sequences (sequences.test.ts).
  const watchdog = makeWatchdog();
  let seed = 7;
  /** Pseudorandom, below `end`. */
  const below = (end: number) => (seed = (seed * 48_271) % 2_147_483_647) % end;
  const shownStates = new Set<string>();
  const { seen } = await open("ana");
  watchdog.begun(Date.now(), false);
  let before = "live";
  for (let step = 0; step < 500; step += 1) {
    const [stream] = Stream.open;
    const event = below(8);
    if (stream && event < 2) {
      stream.break();
      watchdog.broke(Date.now(), 0.5);
    } else if (stream && event === 2) {
      stream.tick();
      watchdog.heard(Date.now());
    } else if (stream && event === 3) {
      stream.send("ana", below(9));
      watchdog.heard(Date.now());
    }
    const silence = [1, 1, 1, 5, 28, 29, 31, 61][below(8)]!;
    for (let second = 0; second < silence; second += 1) {
      await pass(1_000);
      const state = ["live", "stale", "unknown"][watchdog.state(Date.now())]!;
      const shown = seen.at(-1)!.split(" ")[0]!;
      assert.ok([state, before].includes(shown), `step ${step}: ${shown} instead of ${state}`);
      shownStates.add(shown);
      before = state;
    }
  }
  assert.equal(shownStates.size, 3);
});

test("ticks keep a quiet count live", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  for (let i = 0; i < 10; i += 1) {
    await pass(25_000);
    Stream.open[0]!.tick();
  }
  assert.deepEqual(seen, ["live 3"]);
});

test("a clock that was set back does not keep an old count live", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  const { now } = Date;
  Date.now = () => now() - 3_600_000;
  await pass(1_000);
  Date.now = now;
  assert.equal(seen.at(-1), "unknown 3");
});

test("a hidden page has neither the stream nor the lock, and is stale until the next count", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  setHidden(true);
  await settle();
  assert.deepEqual([Stream.open.length, Tabs.open.length, locks.isTaken], [0, 0, false]);
  await pass(300_000);
  setHidden(false);
  await settle();
  assert.deepEqual([Stream.open.length, Tabs.open.length, locks.isTaken], [1, 1, true]);
  await pass(5_000);
  Stream.open[0]!.send("ana", 4);
  assert.deepEqual(seen, ["live 3", "stale 3", "live 4"]);
  assert.equal(loads, 0);
});

test("a page that opens hidden has no stream until it is shown", async () => {
  setHidden(true);
  const { seen } = await open("ana");
  assert.deepEqual(Stream.all, []);
  assert.deepEqual(seen, ["stale undefined"]);
  setHidden(false);
  assert.equal(Stream.open.length, 1);
});

test("without a network the count is stale, and the stream is reopened at once when the network is back", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  dispatch("offline");
  assert.equal(Stream.open.length, 0);
  await pass(1_000);
  dispatch("online");
  assert.deepEqual([Stream.all.length, Stream.open.length], [2, 1]);
  await pass(20_000);
  assert.equal(Stream.all.length, 2);
  Stream.open[0]!.send("ana", 3);
  assert.deepEqual(seen, ["live 3", "stale 3", "live 3"]);
});

test("a page that loses its stream and then the network, or is hidden without one, loads nothing", async () => {
  await open("ana");
  Stream.open[0]!.send("ana", 3);
  Stream.open[0]!.break();
  dispatch("offline");
  await settle();
  assert.equal(loads, 0);
  dispatch("online");
  Stream.open[0]!.send("ana", 3);
  setHidden(true);
  dispatch("offline");
  await pass(20_000);
  assert.equal(loads, 0);
});

test("a page that stays after a navigation has begun opens its stream again", async () => {
  const { seen } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  dispatch("beforeunload");
  await pass(2_000);
  assert.deepEqual([Stream.all.length, Stream.open.length], [2, 1]);
  assert.deepEqual(seen, ["live 3"]);
});

test("if another tab has the lock, the other source takes over, and no count is lost meanwhile", async () => {
  locks.isTaken = true;
  const { seen } = await open("ana");
  assert.equal(loads, 1);
  Stream.open[0]!.send("ana", 3);
  assert.deepEqual(seen, ["live 3"]);
  await takeOver();
  assert.equal(Stream.open.length, 0);
  assert.deepEqual(
    [...shared].map(({ channel }) => channel),
    ["ana"],
  );
  await open("eva");
  assert.deepEqual(
    [...shared].map(({ channel }) => channel),
    ["ana", "eva"],
  );
  setHidden(true);
  setHidden(false);
  dispatch("online");
  assert.equal(Stream.open.length, 0);
});

test("at the first message of another tab the lock is free, and the other source takes over", async () => {
  await open("ana");
  Tabs.open[0]!.onmessage!();
  await settle();
  assert.deepEqual([locks.isTaken, Tabs.open.length, Stream.open.length, loads], [false, 0, 1, 1]);
  await takeOver();
  assert.deepEqual([locks.isTaken, Stream.open.length, shared.size], [false, 0, 1]);
});

test("an element that is gone before the other source has taken over is not watched there", async () => {
  locks.isTaken = true;
  const { end } = await open("ana");
  end();
  await takeOver();
  assert.equal(shared.size, 0);
});

test("where locks are refused, the other source takes over", async () => {
  locks.isRefused = true;
  await open("ana");
  assert.equal(loads, 1);
  await takeOver();
});

test("where tabs can't share, the page keeps its stream", async () => {
  delete navigator.locks;
  await open("ana");
  await pass(20_000);
  assert.deepEqual([Stream.open.length, loads], [1, 0]);
});

test("more channels than one stream carries are for the other source", async () => {
  for (let nth = 0; nth < 50; nth += 1) watch(`c${nth}`);
  await open("ana");
  assert.deepEqual([Stream.all.length, loads], [0, 1]);
  await takeOver();
  assert.equal(shared.size, 51);
});

test("after the last element nothing is left, and a later one begins anew", async () => {
  const { end } = await open("ana");
  Stream.open[0]!.send("ana", 3);
  end();
  await pass(1);
  await settle();
  assert.deepEqual([Stream.open.length, locks.isTaken], [0, false]);
  await pass(300_000);
  assert.deepEqual([Stream.all.length, loads], [1, 0]);
  const { seen } = await open("ana");
  await pass(1_000);
  assert.deepEqual(seen, ["live undefined"]);
  assert.equal(loads, 0);
});
