/** The player (src/player.ts) with native HLS: what the visitor chose holds, and a stalled picture is noticed. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { holdClock, pass, releaseClock, reset } from "./support/page.ts";

// A bundle leaves out what is imported for its effects alone.
await import("../src/player.ts");

/** A live playlist, another one with each request. */
let segment = 0;
const servePlaylist = () => {
  globalThis.fetch = (async () =>
    new Response(
      `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n${(segment += 1)}.ts\n`,
    )) as unknown as typeof fetch;
};

Object.assign(globalThis, {
  MediaError: { MEDIA_ERR_DECODE: 3, MEDIA_ERR_SRC_NOT_SUPPORTED: 4 },
  HLS_SCRIPT: "./hls.js",
});

/** The monotonic clock. */
let elapsed = 0;
const passBoth = async (millis: number) => {
  for (let rest = millis; rest > 0; rest -= 500) {
    elapsed += Math.min(rest, 500);
    await pass(Math.min(rest, 500));
  }
};

/** Puts a player into the page. Its video plays when the test says so. */
const open = async () => {
  const video = document.createElement("video");
  let isPaused = true;
  const fire = (type: string) =>
    video.dispatchEvent(new (document.defaultView as typeof globalThis).Event(type));
  Object.defineProperties(video, {
    paused: { get: () => isPaused },
    ended: { value: false, writable: true },
    error: { value: null },
    src: { value: "", writable: true },
    currentTime: { value: 0, writable: true },
  });
  const plays = { count: 0 };
  Object.assign(video, {
    canPlayType: () => "maybe",
    load: () => (isPaused = true),
    pause() {
      isPaused = true;
      fire("pause");
    },
    async play() {
      plays.count += 1;
      isPaused = false;
      fire("play");
      fire("playing");
    },
  });
  const Player = customElements.get("stream-player")!;
  const create = mock.method(document, "createElement", () => video);
  const shown = new Player();
  create.mock.restore();
  shown.setAttribute("src", "/ana.m3u8");
  document.body.append(shown);
  await passBoth(500);
  fire("canplay");
  assert.equal(shown.dataset.state, "playing");
  /** The stream fails and comes back. */
  const interrupt = async () => {
    fire("error");
    assert.equal(shown.dataset.state, "loading");
    await passBoth(10_000);
    fire("canplay");
  };
  return { video, plays, fire, interrupt, state: () => shown.dataset.state };
};

beforeEach(() => {
  holdClock();
  reset();
  servePlaylist();
  mock.method(performance, "now", () => elapsed);
});

afterEach(() => {
  document.body.replaceChildren();
  releaseClock();
});

test("a stream that comes back plays again, muted or not as the visitor has it", async () => {
  const { video, plays, interrupt, state } = await open();
  assert.equal(video.muted, true);
  video.muted = false;
  await interrupt();
  assert.equal(state(), "playing");
  assert.deepEqual([plays.count, video.muted], [2, false]);
});

test("what the visitor has paused stays paused when the stream comes back, until the visitor plays it", async () => {
  const { video, plays, interrupt, state } = await open();
  video.muted = false;
  video.pause();
  await interrupt();
  assert.equal(state(), "ready");
  assert.deepEqual([plays.count, video.paused, video.muted], [1, true, false]);
  // Also after another interruption.
  await interrupt();
  assert.deepEqual([state(), plays.count], ["ready", 1]);
  await video.play();
  assert.equal(state(), "playing");
  await interrupt();
  assert.deepEqual([state(), plays.count], ["playing", 3]);
});

test("a video that has ended was not paused by the visitor", async () => {
  const { video, plays, fire, state } = await open();
  Object.assign(video, { ended: true });
  video.pause();
  Object.assign(video, { ended: false });
  fire("ended");
  await passBoth(8_000);
  fire("canplay");
  assert.deepEqual([state(), plays.count], ["playing", 2]);
});

test("a stalled picture is noticed also when the clock is set back, and a clock set forward stalls nothing", async () => {
  const { video, state } = await open();
  video.currentTime = 5;
  await passBoth(2_000);
  mock.timers.setTime(Date.now() + 3_600_000);
  await passBoth(2_000);
  assert.equal(state(), "playing");
  video.currentTime = 9;
  await passBoth(2_000);
  const { now } = Date;
  mock.method(Date, "now", () => now() - 3_600_000);
  await passBoth(11_000);
  assert.notEqual(state(), "playing");
});
