/** Scripts that load only after some attempts (src/load.ts), and hls.js among them (src/player/engine.ts). */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";

import { load, loadOnce } from "../src/load.ts";
import { hls } from "../src/player/engine.ts";

const folder = mkdtempSync(join(tmpdir(), "load-"));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);
const address = (name: string) => pathToFileURL(file(name)).href;

interface Script {
  url: string;
}
const SCRIPT = "export const url = import.meta.url;";

test("a script that is there is loaded by its own path", async () => {
  writeFileSync(file("present.mjs"), SCRIPT);
  assert.equal((await load<Script>(address("present.mjs"))).url, address("present.mjs"));
});

test("a single attempt fails if the script does not load", async () => {
  await assert.rejects(loadOnce(address("none.mjs"), 0));
  await assert.rejects(loadOnce(address("none.mjs"), 1));
});

test("hls.js that does not load fails the attempt, and the next one loads it by another address", async () => {
  Object.assign(globalThis, { HLS_SCRIPT: address("hls.mjs"), played: [] });
  const { played } = globalThis as unknown as { played: string[] };
  const video = {
    removeAttribute() {},
    load() {},
  } as unknown as HTMLVideoElement;
  const attempt = async () => {
    let failures = 0;
    const before = played.length;
    const engine = hls(video, "https://stream.test/ana/index.m3u8", () => (failures += 1));
    while (!failures && played.length === before) await new Promise(setImmediate);
    engine.stop();
    return failures;
  };
  assert.equal(await attempt(), 1);
  assert.equal(await attempt(), 1);
  writeFileSync(
    file("hls.mjs"),
    `export default class {
      static Events = {};
      static ErrorTypes = {};
      on() {}
      loadSource() {}
      attachMedia() { played.push(import.meta.url); }
      destroy() {}
    }`,
  );
  assert.equal(await attempt(), 0);
  // Once loaded, it stays.
  assert.equal(await attempt(), 0);
  assert.deepEqual(played, [`${address("hls.mjs")}?2`, `${address("hls.mjs")}?2`]);
});
