import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { platform } from "../build.mjs";

test("what the islands are linked with is made from what is here", () => {
  assert.equal(readFileSync("src/platform/browser.js", "utf8"), platform(), "node client/build.mjs makes it");
});
