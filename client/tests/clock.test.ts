// The server's time as pages know it (src/rules/clock.ts).
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeClock } from "../src/rules/clock.ts";

const NOW = 1_790_000_000_000;

test("the server's time is unknown until the server has told it, and then goes on", () => {
  const clock = makeClock();
  assert.equal(clock.now(5_000), undefined);
  clock.drawn(0, 5_000);
  assert.equal(clock.now(5_000), undefined, "a page without a chart tells no time");
  clock.told(NOW, 5_000);
  assert.equal(clock.now(5_000), NOW);
  assert.equal(clock.now(65_000), NOW + 60_000);
});

test("an instant of the past sets nothing back, and a later one has passed", () => {
  const clock = makeClock();
  clock.drawn(NOW, 0);
  // A count that was read some time ago.
  clock.told(NOW - 30_000, 1_000);
  assert.equal(clock.now(1_000), NOW + 1_000);
  // The machine has slept, and its clock has stood still.
  clock.told(NOW + 3_600_000, 2_000);
  assert.equal(clock.now(3_000), NOW + 3_601_000);
});

test("a page that is drawn sets the time, also back: the server's clock was set", () => {
  const clock = makeClock();
  clock.drawn(NOW + 3_600_000, 0);
  clock.drawn(NOW, 60_000);
  assert.equal(clock.now(61_000), NOW + 1_000);
});

test("what is no instant tells nothing", () => {
  const clock = makeClock();
  for (const junk of [undefined, null, "1790000000000", [NOW], NaN, Infinity, -1, 0, 8.64e15]) {
    clock.told(junk, 0);
    clock.drawn(junk as number, 0);
  }
  assert.equal(clock.now(0), undefined);
});
