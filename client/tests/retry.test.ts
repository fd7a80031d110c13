/** The attempts of the scripts inside of pages (src/retry.ts). */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { holdClock, pass, releaseClock } from "./support/page.ts";
import { retry } from "../src/retry.ts";

beforeEach(holdClock);
afterEach(releaseClock);

/** Attempts that fail until the returned function `succeed` is called. */
const attempts = (maxRetries?: number) => {
  const queries: string[] = [];
  let isThere = false;
  const result = retry(async (query) => {
    queries.push(query);
    if (!isThere) throw new Error("gone");
    return "here";
  }, maxRetries);
  return { queries, result, succeed: () => (isThere = true) };
};

test("each attempt has another query, until one succeeds", async () => {
  const { queries, result, succeed } = attempts();
  await pass(3_000);
  assert.deepEqual(queries.slice(0, 2), ["", "?1"]);
  succeed();
  await pass(5_000);
  assert.equal(await result, "here");
  assert.equal(new Set(queries).size, queries.length);
});

test("attempts never end by themselves, with pauses of at most 16 seconds", async () => {
  const { queries, result, succeed } = attempts();
  await pass(30_000);
  const before = queries.length;
  await pass(160_000);
  assert.ok(queries.length - before >= 9 && queries.length - before <= 26, `${queries.length - before}`);
  succeed();
  await pass(17_000);
  assert.equal(await result, "here");
});

test("attempts with a limit fail with the last error", async () => {
  const { queries, result } = attempts(4);
  const failed = assert.rejects(result, /gone/);
  await pass(10_000);
  await failed;
  assert.deepEqual(queries, ["", "?1", "?2", "?3", "?4"]);
});
