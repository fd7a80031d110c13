/** The stream of a page that is alone and shows one channel (src/own-stream.ts). */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { JUNK, Stream, dispatch, holdClock, pass, releaseClock, reset } from "./support/page.ts";
import { watchAlone } from "../src/own-stream.ts";
import { readFigures } from "../src/rules/figures.ts";

/** Watches the channel `ana`, and returns what is shown, as text, the figures, and the instants of counts. */
const watch = () => {
  const seen: string[] = [];
  const figures: unknown[] = [];
  const instants: unknown[] = [];
  watchAlone(
    "/api/viewer/",
    { channel: "ana", count: 1, stale: false, live: null },
    ({ count, live }, state) => {
      const text = `${["live", "stale", "unknown"][state]} ${count}${live === null ? "" : ` ${live}`}`;
      if (text !== seen.at(-1)) seen.push(text);
    },
    {
      query: "?stats=1",
      asOf: (instant) => instants.push(instant),
      figures(data) {
        const told = readFigures(data);
        if (told !== undefined) figures.push(told);
        return told !== undefined;
      },
    },
  );
  return { seen, figures, instants };
};

const FIGURES = {
  startedAt: 1,
  endedAt: null,
  peak: 2,
  peakAt: 3,
  average: 1.5,
  watchSeconds: 4,
  uniques: 5,
  observed: 1,
};

beforeEach(() => {
  holdClock();
  reset();
});

afterEach(() => {
  dispatch("pagehide");
  assert.equal(Stream.open.length, 0);
  releaseClock();
});

test("counts, ticks and figures keep the count live", async () => {
  const { seen, figures, instants } = watch();
  assert.equal(Stream.open[0]!.url, "/api/viewer/sse/ana?stats=1");
  Stream.open[0]!.deliver('{"channelId":"ana","count":4,"stale":false,"asOf":1,"live":false}');
  for (let i = 0; i < 4; i += 1) {
    await pass(25_000);
    Stream.open[0]!.tick();
    await pass(25_000);
    Stream.open[0]!.deliver(i ? JSON.stringify(FIGURES) : "null", "figures");
  }
  assert.deepEqual(seen, ["live 1", "live 4 false"]);
  assert.deepEqual(figures, [null, FIGURES, FIGURES, FIGURES]);
  assert.deepEqual(instants, [1]);
});

test("junk changes nothing, and does not prove that the stream works", async () => {
  const { seen, figures } = watch();
  Stream.open[0]!.send("ana", 3);
  const notFigures = [
    ...JUNK.filter((data) => data !== "null"),
    ...JUNK.map((junk) => `{"startedAt":${junk}}`),
  ];
  for (const [name, value] of Object.entries({
    startedAt: 1e300,
    peak: "many",
    average: -1,
    uniques: null,
  })) {
    notFigures.push(JSON.stringify({ ...FIGURES, [name]: value }));
  }
  for (let second = 0; second < 59; second += 1) {
    await pass(1_000);
    for (const data of JUNK) Stream.open[0]!.deliver(data);
    for (const data of notFigures) Stream.open[0]!.deliver(data, "figures");
  }
  assert.deepEqual(seen, ["live 1", "live 3", "stale 3"]);
  await pass(1_000);
  assert.equal(seen.at(-1), "unknown 3");
  assert.deepEqual(figures, []);
});
