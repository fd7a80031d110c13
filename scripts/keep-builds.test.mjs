// The files of earlier builds that a new site keeps (keep-builds.mjs).
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

test("a site keeps the files of two earlier builds, and no more", () => {
  const folder = mkdtempSync(join(tmpdir(), "aforo-builds-"));
  const site = (nth) => join(folder, `site${nth}`);
  try {
    for (let nth = 1; nth <= 5; nth += 1) {
      const build = join(site(nth), "pkg", `build${nth}`);
      mkdirSync(build, { recursive: true });
      // Builds 2 and 3 have the same version of hls.js.
      const hls = `hls-V${nth === 3 ? 2 : nth}.js`;
      for (const path of [join(build, "aforo.js"), ...["", ".br", ".gz"].map((end) => join(site(nth), hls + end))]) {
        writeFileSync(path, "");
        utimesSync(path, nth, nth);
      }
      writeFileSync(join(site(nth), "player.js"), "");
      utimesSync(build, nth, nth);
      if (nth > 1) execFileSync(process.execPath, ["scripts/keep-builds.mjs", site(nth - 1), site(nth), "2"]);
    }
    assert.deepEqual(readdirSync(join(site(5), "pkg")).sort(), ["build3", "build4", "build5"]);
    const scripts = [2, 4, 5].flatMap((nth) => ["", ".br", ".gz"].map((end) => `hls-V${nth}.js${end}`));
    assert.deepEqual(readdirSync(site(5)).sort(), [...scripts, "pkg", "player.js"].sort());
  } finally {
    rmSync(folder, { recursive: true });
  }
});
