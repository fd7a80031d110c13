/** The rules of polling: when to request, and how current the last count is. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { makePoll, parseInterval } from "../src/rules/poll.ts";
import { State } from "../src/rules/watchdog.ts";

const NOW = 1_790_000_000_000;

test("the interval is 1 to 60 s, and 10 s without a number", () => {
  for (const [text, millis] of [
    ["5", 5_000],
    ["0.2", 1_000],
    ["2.5", 2_500],
    ["-3", 1_000],
    ["3600", 60_000],
    ["", 10_000],
    ["0", 10_000],
    ["soon", 10_000],
  ] as const) {
    assert.equal(parseInterval(text), millis, text);
  }
});

test("requests are an interval apart, with jitter", () => {
  const poll = makePoll(10_000, NOW);
  assert.ok(poll.isDue(NOW), "the first request is sent at once");
  for (const [random, wait] of [
    [0, 9_000],
    [0.5, 10_000],
    [1, 11_000],
  ] as const) {
    poll.answered(NOW, random, NOW, 0);
    assert.equal(poll.wait(NOW, false), wait);
    assert.ok(!poll.isDue(NOW + wait - 1));
    assert.ok(poll.isDue(NOW + wait));
  }
});

test("a count is stale 30 s after the last answer, and unknown after a minute", () => {
  const poll = makePoll(10_000, NOW);
  poll.answered(NOW, 0, 1, 0);
  for (const [after, state] of [
    [29_999, State.Live],
    [30_000, State.Stale],
    [59_999, State.Stale],
    [60_000, State.Unknown],
  ] as const) {
    assert.equal(poll.state(NOW + after), state, `after ${after} ms`);
  }
  poll.answered(NOW + 60_000, 0, 2, 0);
  assert.equal(poll.state(NOW + 60_000), State.Live);
});

test("a failed request makes the count stale at once, and unknown a minute after the last answer", () => {
  const poll = makePoll(10_000, NOW);
  poll.answered(NOW, 0, 1, 0);
  poll.failed(NOW + 10_000, 1, 0);
  assert.equal(poll.state(NOW + 10_000), State.Stale);
  assert.equal(poll.state(NOW + 59_999), State.Stale);
  assert.equal(poll.state(NOW + 60_000), State.Unknown);
  poll.answered(NOW + 70_000, 0, 2, 0);
  assert.equal(poll.state(NOW + 70_000), State.Live);
});

test("a copy of the last answer confirms nothing", () => {
  const poll = makePoll(10_000, NOW);
  for (let after = 0; after < 60_000; after += 10_000) {
    poll.answered(NOW + after, 0, 1, 0);
    assert.equal(poll.state(NOW + after), after < 30_000 ? State.Live : State.Stale, `after ${after} ms`);
  }
  poll.answered(NOW + 60_000, 0, 1, 0);
  assert.equal(poll.state(NOW + 60_000), State.Unknown);
  // Also where the clock of the store was set back.
  poll.answered(NOW + 70_000, 0, 0, 0);
  assert.equal(poll.state(NOW + 70_000), State.Live);
});

test("where caches keep answers for longer, and with long intervals, a count lasts longer", () => {
  for (const [interval, maxAge, lasts] of [
    [1_000, 5, 30_000],
    [10_000, 10, 55_000],
    [10_000, 60, 255_000],
    [60_000, 0, 65_000],
  ] as const) {
    const poll = makePoll(interval, NOW);
    poll.answered(NOW, 0, 1, maxAge);
    assert.equal(poll.state(NOW + lasts - 1), State.Live, `${interval} ${maxAge}`);
    assert.equal(poll.state(NOW + lasts), State.Stale, `${interval} ${maxAge}`);
    assert.equal(poll.state(NOW + lasts + 30_000), State.Unknown, `${interval} ${maxAge}`);
  }
});

test("pauses after failures grow to 30 s, or to what the server asks for", () => {
  const poll = makePoll(1_000, NOW);
  const pauses = Array.from({ length: 8 }, () => {
    poll.failed(NOW, 1, 0);
    // The state changes earlier than that.
    let wait = 0;
    while (!poll.isDue(NOW + wait)) wait += 1_000;
    return wait;
  });
  assert.deepEqual(pauses, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000]);
  poll.failed(NOW, 1, 45);
  assert.ok(!poll.isDue(NOW + 44_999));
  assert.ok(poll.isDue(NOW + 45_000));
  poll.failed(NOW, 1, 86_400);
  assert.ok(poll.isDue(NOW + 120_000), "an hour is not waited for");
  poll.answered(NOW, 0.5, 1, 0);
  assert.equal(poll.wait(NOW, false), 1_000);
});

test("a page or a network that is back requests at once", () => {
  const poll = makePoll(10_000, NOW);
  poll.answered(NOW, 0.5, 1, 0);
  poll.hurry(NOW + 5_000);
  assert.ok(!poll.isDue(NOW + 5_000), "nothing was missed");
  poll.cutOff();
  assert.equal(poll.state(NOW + 5_000), State.Stale);
  poll.hurry(NOW + 6_000);
  assert.ok(poll.isDue(NOW + 6_000));
});

test("a hidden page waits for changes of the state only", () => {
  const poll = makePoll(10_000, NOW);
  poll.answered(NOW, 0.5, 1, 0);
  assert.equal(poll.wait(NOW, true), 30_000);
  assert.equal(poll.wait(NOW + 30_000, true), 30_000);
  assert.ok(poll.wait(NOW + 60_000, true) > 0);
});

test("the answer to a beat confirms a count", () => {
  const poll = makePoll(10_000, NOW);
  poll.failed(NOW + 1_000, 0, 0);
  poll.told(NOW + 2_000);
  assert.equal(poll.state(NOW + 2_000), State.Live);
});

test("a clock that is set back keeps the count live no longer than usual, and requests at once", () => {
  const poll = makePoll(10_000, NOW);
  poll.answered(NOW, 0, 1, 0);
  assert.ok(poll.isDue(NOW - 3_600_000));
  assert.equal(poll.wait(NOW - 3_600_000, false), 0);
  assert.equal(poll.state(NOW - 3_600_000), State.Live);
  assert.equal(poll.state(NOW - 3_600_000 + 30_000), State.Stale);
});
