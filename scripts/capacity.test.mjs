// The capacity model: what grows with what, where limits are, and which inputs are refused.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  BUSY,
  COSTS,
  INPUTS,
  estimate,
  parse,
  refresh,
  report,
} from "./capacity.mjs";

const take = (inputs, costs) => estimate(parse(inputs.split(" ")), costs);
const total = (parts) =>
  Object.values(parts).reduce((all, part) => all + part, 0);
const isNear = (actual, expected) =>
  assert.ok(
    Math.abs(actual - expected) <= 1e-6 * Math.abs(expected),
    `${actual} is not ${expected}`,
  );

test("a small site by hand", () => {
  const { beats, events, nodes, cores, memory, redis, bandwidth } = take(
    "VIEWERS=9000 CHANNELS=1 LARGEST=9000 SESSION=1800",
  );
  // A beat every 27 s, and a join and a leave each half hour; nearly every interval has a change.
  isNear(beats, 9000 / 27 + (2 * 9000) / 1800);
  assert.ok(events > 4499 && events <= 4500);
  assert.equal(nodes, 1);
  isNear(cores.beats, (beats * COSTS.nodeBeat) / 1e6);
  isNear(cores.events, (events * COSTS.nodeEvent) / 1e6);
  isNear(memory.process, COSTS.node + 9000 * (COSTS.stream + COSTS.nodeViewer));
  isNear(memory.kernel, 9000 * COSTS.socket);
  isNear(memory.redis, 9000 * COSTS.redisViewer);
  isNear(bandwidth, 8 * (events * COSTS.eventBytes + beats * COSTS.beatBytes));
  assert.equal(redis.servers, 1);
});

test("the measured run comes out as it was measured", () => {
  // So many viewers make the measured rate of beats at one node, in channels that are not large.
  const rate = COSTS.batch / (COSTS.writeCall / 1000);
  const viewers = Math.round(rate / (1 / 27 + 2 / 1800));
  const channels = Math.ceil(viewers / 500);
  const size = Math.ceil(viewers / channels);
  const result = take(
    `VIEWERS=${viewers} CHANNELS=${channels} LARGEST=${size} STREAMS=10000000 FILES=10000000 CORES=1000`,
    { ...COSTS, redisCount: 0, redisCountAlone: 0 },
  );
  assert.equal(result.nodes, 1);
  const expected = (result.beats * COSTS.redisBeat) / 1e6 / BUSY;
  assert.ok(Math.abs(result.uses.redis / expected - 1) < 0.01);
});

test("nodes and servers are never busier than they may be", () => {
  for (const viewers of [1, 1e3, 1e5, 1e6, 1e7, 1e8]) {
    for (const more of ["CORES=1", "CORES=64 WRITE=100", "CORES=4 POLL=5"]) {
      const { input, nodes, cores, redis, streamsPerNode, limits, uses } = take(
        `VIEWERS=${viewers} ${more}`,
      );
      assert.ok(total(cores) <= nodes * input.CORES * BUSY * (1 + 1e-9));
      assert.ok(total(redis.cores) <= redis.servers * BUSY * (1 + 1e-9));
      assert.ok(streamsPerNode <= Math.min(input.STREAMS, input.FILES));
      for (const { name, metAt } of limits) {
        // The limit is met where it says.
        const isOver = viewers > metAt * 1.01;
        if (isOver) assert.ok(uses[name] >= 1, `${viewers} ${more}: ${name}`);
        else if (viewers < metAt * 0.99) assert.ok(uses[name] <= 1);
      }
    }
  }
});

test("a channel is on one server, however many there are", () => {
  const { redis, largest, limits, largestPossible } = take(
    "VIEWERS=20000000 LARGEST=20000000 CHANNELS=1 CORES=64",
  );
  assert.ok(redis.servers > 1 && largest > BUSY);
  assert.ok(largestPossible < 20_000_000);
  assert.equal(limits.find(({ name }) => name === "largest").fits, false);
  const text = report(take("VIEWERS=20000000 LARGEST=20000000 CHANNELS=1"));
  assert.match(text, /\*\*This does not work\*\*: one Redis for the largest/);
  // A longer interval makes room.
  const slower = take(
    "VIEWERS=20000000 LARGEST=20000000 CHANNELS=1 CORES=64 HEARTBEAT=120000",
  );
  assert.ok(slower.largestPossible > 2 * largestPossible);
});

test("what the report recommends helps", () => {
  const base = take("VIEWERS=1000000 CORES=4");
  const helps = (inputs, of) =>
    assert.ok(of(take(`VIEWERS=1000000 CORES=4 ${inputs}`)) < of(base), inputs);
  helps("WRITE=100", ({ uses }) => uses.redis);
  helps("WRITE=100", ({ uses }) => uses.largest);
  helps("HEARTBEAT=60000", ({ uses }) => uses.largest);
  helps("INTERVAL=10000", ({ cores }) => cores.events);
  helps("POLL=5", ({ nodes }) => nodes);
  helps("STREAMS=500000", ({ nodes }) => nodes);
});

test("the first limit is the one that is met first", () => {
  const { limits } = take("VIEWERS=100000");
  const met = limits.map(({ metAt }) => metAt);
  assert.deepEqual(
    met,
    met.toSorted((a, b) => a - b),
  );
  assert.match(
    report(take("VIEWERS=1000 STREAMS=500")),
    /The first limit: `LIMIT_STREAMS` of one node \(500\), at 500 /,
  );
  assert.match(
    report(take("VIEWERS=1000 FILES=500")),
    /The first limit: open files of one node \(500\), at 500 /,
  );
});

test("every input has a meaning, and wrong ones are named together", () => {
  const input = parse(["VIEWERS=1000", "CORES="]);
  assert.deepEqual(Object.keys(input), Object.keys(INPUTS));
  assert.equal(input.CORES, 2);
  const refused = (inputs, message) =>
    assert.throws(() => parse(inputs.split(" ")), message);
  refused("", /VIEWERS is a whole number/);
  refused(
    "VIEWERS=1e3x CORS=2",
    /^Error: there is no CORS; VIEWERS is a whole number from 1 to 10\^10$/,
  );
  refused("VIEWERS=10 CHANNELS=11", /CHANNELS is at most VIEWERS/);
  refused(
    "VIEWERS=10 CHANNELS=2 LARGEST=4",
    /LARGEST is from VIEWERS \/ CHANNELS/,
  );
  refused("VIEWERS=10 LARGEST=11", /LARGEST/);
  refused("VIEWERS=-1", /VIEWERS/);
  refused("VIEWERS=1.5", /VIEWERS/);
  refused("VIEWERS=10 INTERVAL=0", /INTERVAL is a whole number from 50/);
  refused("VIEWERS=10 toString=1", /there is no toString/);
});

test("a channel in parts may be larger, and takes more of Redis", () => {
  const of = (PARTS) =>
    estimate(parse(["VIEWERS=10000000", "WRITE=100", `PARTS=${PARTS}`]));
  const [whole, parts] = [of(1), of(8)];
  const gain = parts.largestPossible / whole.largestPossible;
  assert.ok(gain > 6 && gain < 10, `${gain}`);
  assert.ok(parts.redis.cores.beats > 0.9 * whole.redis.cores.beats);
  assert.match(report(parts), /each of 8 parts of the largest channel/);
});

test("one viewer in one channel has figures, too", () => {
  const text = report(take("VIEWERS=1"));
  assert.doesNotMatch(text, /NaN|undefined|Infinity/);
  assert.match(text, /1 viewer in 1 channel/);
});

test("a page is calculated again, and again is the same", () => {
  const page =
    "a\n<!-- make capacity VIEWERS=1000 -->\nold\n<!-- end -->\nb\n<!-- make capacity VIEWERS=5 -->\n<!-- end -->\n";
  const once = refresh(page);
  assert.doesNotMatch(once, /old/);
  assert.ok(
    once.startsWith(
      "a\n<!-- make capacity VIEWERS=1000 -->\n\n1,000 viewers in",
    ),
  );
  assert.equal(refresh(once), once);
  assert.ok(once.includes("\nb\n"));
});

test("docs/scale.md is what the costs give", () => {
  const page = readFileSync("docs/scale.md", "utf8");
  assert.equal(page.split("<!-- make capacity ").length, 6);
  assert.equal(refresh(page), page);
});

test("the command prints a report, JSON, or what can be given", () => {
  const run = (...args) =>
    spawnSync(process.execPath, ["scripts/capacity.mjs", ...args], {
      encoding: "utf8",
    });
  const args = ["VIEWERS=1000", "CORES=4"];
  assert.equal(run(...args).stdout, `${report(take(args.join(" ")))}\n`);
  assert.equal(JSON.parse(run(...args, "JSON=1").stdout).input.CORES, 4);
  const { status, stderr } = run();
  assert.equal(status, 2);
  for (const name of Object.keys(INPUTS)) assert.ok(stderr.includes(name));
});
