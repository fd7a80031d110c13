import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { platform } from "../build.mjs";

test("src/platform/browser.js is up to date with client/src/browser.ts", () => {
  assert.equal(readFileSync("src/platform/browser.js", "utf8"), platform(), "run: node client/build.mjs");
});
