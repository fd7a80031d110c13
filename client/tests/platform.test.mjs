import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { crateScripts } from "../build.mjs";

test("the scripts in the crate are up to date with client/src", () => {
  const scripts = Object.entries(crateScripts());
  assert.equal(scripts.length, 3);
  for (const [path, script] of scripts) {
    assert.equal(readFileSync(path, "utf8"), script, `${path} is outdated; run: node client/build.mjs`);
  }
});

test("a script in a page ends no element, and only its comment is in front of it", () => {
  for (const [path, script] of Object.entries(crateScripts())) {
    if (!path.startsWith("src/pages/")) continue;
    assert.doesNotMatch(script, /<\/script|<!--/i);
    assert.equal(script.split("*/").length, 2, path);
  }
});
