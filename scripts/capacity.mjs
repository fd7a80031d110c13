// What a number of concurrent viewers takes, calculated from measured costs: processors, memory, bandwidth, nodes and
// Redis servers, and which limit is met first. docs/scale.md explains it.
//
//   node scripts/capacity.mjs VIEWERS=1000000 [NAME=VALUE …]     INPUTS, below; JSON=1 prints every figure
//   node scripts/capacity.mjs --write docs/scale.md              calculates the tables of a page again
//
// Every viewer has one page with one stream, which sends one beat per heartbeat interval, and a join and a leave per
// session. Not included: TLS, proxies, pages, their files, the database, the video.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The measured costs, and nothing else in this file is measured. Source: docs/performance.md as of 9fc3102, unless another
 * is named. The machine was slower then than for the present figures, so the results err on the safe side. */
export const COSTS = {
  /** µs of a node per beat over Redis ("Figures": 24,700 beats per CPU-second, 62 % of it in the node). */
  nodeBeat: 25,
  /** µs of a node per event on a stream ("Figures": 10,000 streams). */
  nodeEvent: 10.1,
  /** µs of a node per reading of a watched channel ("Store": 27 ms per second for 10,000 channels every 2 s). */
  nodeRead: 5.4,
  /** µs of Redis per beat with its network, at `batch` beats per call ("Figures": the other 38 %). */
  redisBeat: 15.3,
  /** Beats per call of Redis in that measurement ("Figures": 0.076 calls per heartbeat). */
  batch: 13.2,
  /** ms of such a call, in which the next beats gather (32,700 × 0.076 calls per second in that run, one at a time). */
  writeCall: 0.4,
  /** µs of Redis per beat that is a call of its own ("Figures": cluster of three, less `nodeBeat`). */
  redisBeatAlone: 46,
  /** µs more per beat for each doubling of a channel above 1,000 viewers (write.lua alone, 14 beats per call: 9 µs at
   * 1,000 viewers, 23 at 1,000,000; Redis 7.0.15, the machine of docs/performance.md). */
  redisBeatDoubling: 1.4,
  /** µs of Redis per count that is read in bulk, if it has changed ("What stands in the way": twice 1.2). */
  redisCount: 2.4,
  /** µs of Redis per count that is a call of its own, as on a cluster (counts.lua alone, 20 calls in a pipeline; same
   * machine). */
  redisCountAlone: 10,
  /** µs of Redis for a node's roll call and its share of the channels: for each call of both (`fixed`), and for each
   * node that they list (attend.lua and share.lua alone, 10 to 300 nodes; same machine). */
  rollCall: { fixed: 55, perNode: 2.3 },
  share: { fixed: 60, perNode: 0.45 },
  /** Bytes of a node for an open stream ("Figures"), and of its kernel for the socket ("Read it"). */
  stream: 1_270,
  socket: 4_000,
  /** Bytes of a node without viewers ("Soak"). */
  node: 20e6,
  /** Bytes per remembered viewer: in a node ("Store"), and in Redis ("Figures"). */
  nodeViewer: 176,
  redisViewer: 208,
  /** Bytes on the wire without TLS, with the headers of HTTP and TCP, counted by hand: an event (a frame of 107), and a
   * beat with its answer. */
  eventBytes: 180,
  beatBytes: 1_000,
};

/** The share of a processor that may be busy. */
export const BUSY = 0.6;

/** Behavior of the program: pages beat after 0.8 to 1 of the interval; a lease is two intervals; a silent stream gets a
 * tick after so many seconds; a write takes so many operations. */
const BEAT_AFTER = 0.9;
const LEASE_INTERVALS = 2;
const TICK_AFTER = 25;
const MAX_BATCH = 250;
/** The fewest servers of a Redis Cluster, and the most that its specification promises to work well. */
const MIN_CLUSTER = 3;
const MAX_CLUSTER = 1_000;

/** The inputs: the default, the smallest value, the meaning. */
export const INPUTS = {
  VIEWERS: [null, 1, "concurrent viewers"],
  CHANNELS: [
    ({ VIEWERS }) => Math.ceil(VIEWERS / 100),
    1,
    "live channels (a hundredth of the viewers)",
  ],
  LARGEST: [
    ({ VIEWERS, CHANNELS }) =>
      Math.ceil(Math.max(VIEWERS / 10, VIEWERS / CHANNELS)),
    1,
    "viewers of the largest channel (a tenth)",
  ],
  HEARTBEAT: [() => 30_000, 100, "VIEWER_HEARTBEAT_INTERVAL, ms"],
  INTERVAL: [() => 2_000, 50, "VIEWER_COUNT_UPDATE_INTERVAL, ms"],
  WRITE: [() => 0, 0, "VIEWER_WRITE_INTERVAL, ms"],
  PARTS: [() => 1, 1, "parts of the largest channel (REDIS_CHANNEL_PARTS)"],
  SESSION: [() => 1_800, 1, "length of a session, s"],
  CORES: [() => 2, 1, "processors of a node"],
  STREAMS: [() => 100_000, 1, "LIMIT_STREAMS of a node"],
  FILES: [() => 1_048_576, 1, "open files of a node"],
  POLL: [
    () => 0,
    0,
    "COUNT_MAX_AGE, s: pages have no streams and ask a CDN instead; 0: streams",
  ],
};

/** Reads `NAME=VALUE` arguments. Throws an error that names every mistake. */
export function parse(args) {
  const mistakes = [];
  const given = new Map();
  for (const arg of args) {
    const [name, value = ""] = arg.split("=");
    if (!Object.hasOwn(INPUTS, name)) mistakes.push(`there is no ${name}`);
    else if (value !== "") given.set(name, value);
  }
  const input = {};
  for (const [name, [initial, least]] of Object.entries(INPUTS)) {
    const text = given.get(name);
    input[name] =
      text === undefined ? (initial?.(input) ?? Number.NaN) : Number(text);
    const isFine =
      Number.isSafeInteger(input[name]) &&
      input[name] >= least &&
      input[name] <= 1e10;
    // A default that follows from a mistake is not another mistake.
    if (!isFine && (text !== undefined || initial === null))
      mistakes.push(`${name} is a whole number from ${least} to 10^10`);
  }
  const { VIEWERS, CHANNELS, LARGEST } = input;
  if (CHANNELS > VIEWERS) mistakes.push("CHANNELS is at most VIEWERS");
  else if (LARGEST * CHANNELS < VIEWERS || LARGEST > VIEWERS)
    mistakes.push("LARGEST is from VIEWERS / CHANNELS to VIEWERS");
  if (mistakes.length > 0) throw new Error(mistakes.join("; "));
  return input;
}

/** Groups of equal channels: the largest one, and all others. */
function groups({ VIEWERS, CHANNELS, LARGEST, PARTS }) {
  const others = CHANNELS - 1;
  const each = others > 0 ? (VIEWERS - LARGEST) / others : 0;
  return [
    { channels: 1, viewers: LARGEST, parts: PARTS },
    { channels: others, viewers: each, parts: 1 },
  ];
}

/** Beats per second of so many viewers, joins and leaves included. */
const beatsOf = (viewers, { HEARTBEAT, SESSION }) =>
  viewers * (1000 / (BEAT_AFTER * HEARTBEAT) + 2 / SESSION);

/** Events per second on a stream of a channel with so many viewers. A count changes with each join and leave, and goes
 * out once per update interval. */
function eventsOf(viewers, { INTERVAL, SESSION }) {
  const seconds = INTERVAL / 1000;
  const changes = (1 - Math.exp((-2 * viewers * seconds) / SESSION)) / seconds;
  return Math.max(changes, 1 / TICK_AFTER);
}

/** µs of Redis per beat in a channel of so many viewers, if calls gather from `rate` beats per second. Each part of the
 * channel is a call of its own. */
function redisBeat(rate, { viewers, parts }, { WRITE }, costs) {
  const seconds = Math.max(WRITE, costs.writeCall) / 1000;
  const batch = Math.min(Math.max(rate * seconds, 1), MAX_BATCH);
  // Two measurements give the cost of a call, and of a beat in it.
  const call = (costs.redisBeatAlone - costs.redisBeat) / (1 - 1 / costs.batch);
  const doublings = Math.max(Math.log2(viewers / parts / 1000), 0);
  return (
    costs.redisBeatAlone -
    call +
    (call * parts) / batch +
    doublings * costs.redisBeatDoubling
  );
}

/** Counts read per second by so many nodes: of watched channels, for the list of live channels (if it is open at every
 * node), and for the statistics. */
function readsOf(nodes, { VIEWERS, CHANNELS, INTERVAL, POLL }) {
  const perNode = (channels) =>
    POLL > 0 ? CHANNELS / POLL : (channels * 1000) / INTERVAL;
  return {
    watched: perNode(Math.min(nodes * CHANNELS, VIEWERS)),
    list: perNode(nodes * CHANNELS),
    statistics: CHANNELS,
  };
}

/** Cores of Redis by which so many nodes find each other. A roll call is every half of the update interval, a share of
 * the channels is claimed every second. */
function membership(nodes, { INTERVAL }, { rollCall, share }) {
  const calls = 1000 / Math.min(Math.max(INTERVAL / 2, 50), 1000);
  const each = (cost) => cost.fixed + cost.perNode * nodes;
  return (nodes * (calls * each(rollCall) + each(share))) / 1e6;
}

/** Cores of Redis for so many nodes, on one server or on a cluster, where each channel is a call of its own. */
function redisCores(nodes, input, costs, isCluster) {
  let beats = 0;
  for (const group of groups(input)) {
    const { channels, viewers } = group;
    const rate = beatsOf(isCluster ? viewers : input.VIEWERS, input) / nodes;
    beats +=
      channels * beatsOf(viewers, input) * redisBeat(rate, group, input, costs);
  }
  const count = isCluster ? costs.redisCountAlone : costs.redisCount;
  const reads = Object.entries(readsOf(nodes, input));
  const cores = reads.map(([name, rate]) => [name, (rate * count) / 1e6]);
  return {
    beats: beats / 1e6,
    ...Object.fromEntries(cores),
    "roll call": membership(nodes, input, costs),
  };
}

const sum = (parts) => Object.values(parts).reduce((all, part) => all + part);

/** The largest number that keeps `fits`, which holds for small ones only. */
function most(fits) {
  let [low, high] = [0, 1];
  while (fits(high) && high < 1e15) [low, high] = [high, high * 2];
  for (let step = 0; step < 50; step += 1) {
    const middle = (low + high) / 2;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** What the viewers take. Cores are those that are busy. */
function take(input, costs) {
  const { VIEWERS, LARGEST, CORES, STREAMS, FILES, POLL } = input;
  const beats = beatsOf(VIEWERS, input);
  const streams = POLL > 0 ? 0 : VIEWERS;
  const events = groups(input).reduce(
    (all, { channels, viewers }) =>
      all + (POLL > 0 ? 0 : channels * viewers * eventsOf(viewers, input)),
    0,
  );
  const coresOf = (nodes) => ({
    beats: (beats * costs.nodeBeat) / 1e6,
    events: (events * costs.nodeEvent) / 1e6,
    reads: (readsOf(nodes, input).watched * costs.nodeRead) / 1e6,
  });
  // More nodes read more, which may take more nodes. There is a bound to what is watched, so this ends.
  let nodes = 1;
  for (let last = 0; last !== nodes;) {
    last = nodes;
    const busy = sum(coresOf(nodes)) / (BUSY * CORES);
    const open = streams / Math.min(STREAMS, FILES);
    nodes = Math.max(nodes, Math.ceil(Math.max(busy, open)));
  }

  const single = redisCores(nodes, input, costs, false);
  const isCluster = sum(single) > BUSY;
  const redis = isCluster ? redisCores(nodes, input, costs, true) : single;
  const servers = isCluster
    ? Math.max(Math.ceil(sum(redis) / BUSY), MIN_CLUSTER)
    : 1;
  // All beats of a part of a channel run on one core of one server.
  const channelCores = (viewers) => {
    const rate = beatsOf(isCluster ? viewers : VIEWERS, input) / nodes;
    const parts = input.PARTS;
    const cost = redisBeat(rate, { viewers, parts }, input, costs);
    return (beatsOf(viewers, input) * cost) / parts / 1e6;
  };
  // A viewer is remembered by every node that got one of its beats during a lease.
  const copies = Math.min(nodes, LEASE_INTERVALS / BEAT_AFTER);
  return {
    beats,
    events,
    reads: sum(readsOf(nodes, input)),
    nodes,
    cores: coresOf(nodes),
    streamsPerNode: Math.ceil(streams / nodes),
    memory: {
      process:
        nodes * costs.node +
        streams * costs.stream +
        VIEWERS * copies * costs.nodeViewer,
      kernel: streams * costs.socket,
      redis: VIEWERS * costs.redisViewer,
    },
    bandwidth: (events * costs.eventBytes + beats * costs.beatBytes) * 8,
    // The streams of the largest channel on one node, written by all of its processors.
    lastStream:
      POLL > 0 ? 0 : (LARGEST / nodes) * (costs.nodeEvent / 1e6 / CORES),
    redis: { servers, isCluster, cores: redis },
    largest: channelCores(LARGEST),
    largestPossible: most((viewers) => channelCores(viewers) <= BUSY),
    // By name: what is used of each limit.
    uses: {
      node: sum(coresOf(1)) / (BUSY * CORES),
      streams: streams / STREAMS,
      files: streams / FILES,
      redis: sum(single) / BUSY,
      largest: channelCores(LARGEST) / BUSY,
      nodes: membership(nodes, input, costs) / BUSY,
      cluster: servers / MAX_CLUSTER,
    },
  };
}

/** What the viewers take, and the limits in the order in which a site that grows in proportion meets them. */
export function estimate(input, costs = COSTS) {
  const result = take(input, costs);
  const grown = (viewers) => {
    const factor = viewers / input.VIEWERS;
    const CHANNELS = Math.max(input.CHANNELS * factor, 1);
    const LARGEST = Math.max(input.LARGEST * factor, viewers / CHANNELS);
    return take({ ...input, VIEWERS: viewers, CHANNELS, LARGEST }, costs);
  };
  // What can't be helped with more nodes or servers.
  const final = ["largest", "nodes", "cluster"];
  const limits = Object.keys(result.uses).map((name) => ({
    name,
    metAt: most((viewers) => grown(viewers).uses[name] <= 1),
    fits: !final.includes(name) || result.uses[name] <= 1,
  }));
  limits.sort((a, b) => a.metAt - b.metAt);
  const mostNodes = Math.floor(
    most((nodes) => membership(nodes, input, costs) <= BUSY),
  );
  return { input, ...result, mostNodes, limits };
}

/** A number with three digits, and thousands in groups. */
function number(value) {
  if (value > 0 && value < 0.005) return "<0.01";
  const rounded = value >= 1000 ? Number(value.toPrecision(3)) : value;
  const digits = value >= 1000 ? 0 : value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return rounded.toLocaleString("en-US", { maximumFractionDigits: digits });
}
const scaled = (value, units) => {
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return `${number(value)} ${units[at]}`;
};
const bytes = (value) => scaled(value, ["B", "KB", "MB", "GB", "TB"]);
const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);
const seconds = (value) => scaled(value * 1000, ["ms", "s"]);
const count = (value, one, many = `${one}s`) =>
  `${value.toLocaleString("en-US")} ${value === 1 ? one : many}`;
const names = (parts) =>
  Object.entries(parts).map(([name, value]) => `${name} ${number(value)}`);

/** A limit in words: its name, what is taken of it here, and what to change. */
function describe(name, result) {
  const { input, cores, nodes, redis } = result;
  const gather = input.WRITE < 100 ? "`VIEWER_WRITE_INTERVAL=100`; " : "";
  const { beats, watched, list } = redis.cores;
  const route =
    watched + list > beats
      ? "; streams of a channel on few nodes, and the live list on one"
      : "";
  const perNode = `${result.streamsPerNode.toLocaleString("en-US")} a node`;
  return {
    node: [
      `processors of one node (${input.CORES})`,
      count(nodes, "node"),
      cores.events > cores.beats
        ? "more nodes; a longer `VIEWER_COUNT_UPDATE_INTERVAL`; `poll` with `COUNT_MAX_AGE` behind a CDN"
        : "more nodes; a longer `VIEWER_HEARTBEAT_INTERVAL`",
    ],
    streams: [
      `\`LIMIT_STREAMS\` of one node (${input.STREAMS.toLocaleString("en-US")})`,
      perNode,
      "more nodes, or a higher `LIMIT_STREAMS`",
    ],
    files: [
      `open files of one node (${input.FILES.toLocaleString("en-US")})`,
      perNode,
      "more nodes, or a higher `LimitNOFILE` and `fs.nr_open`",
    ],
    redis: [
      "one Redis",
      count(redis.servers, "server"),
      `${gather}a Redis Cluster${route}`,
    ],
    largest: [
      input.PARTS === 1
        ? "one Redis for the largest channel"
        : `one Redis for each of ${input.PARTS} parts of the largest channel`,
      `${number(result.largest)} of ${BUSY} core`,
      `${gather}a longer \`VIEWER_HEARTBEAT_INTERVAL\`; \`REDIS_CHANNEL_PARTS\` on a cluster`,
    ],
    nodes: [
      `number of nodes (${result.mostNodes})`,
      count(nodes, "node"),
      "fewer and larger nodes",
    ],
    cluster: [
      `servers of a Redis Cluster (${MAX_CLUSTER.toLocaleString("en-US")})`,
      count(redis.servers, "server"),
      `${gather}a longer \`VIEWER_HEARTBEAT_INTERVAL\`${route}`,
    ],
  }[name];
}

/** A table in Markdown. */
const table = (...rows) =>
  [rows[0], rows[0].map(() => "---"), ...rows.slice(1)]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");

/** The report: two tables in Markdown, and what follows from them. */
export function report(result, costs = COSTS) {
  const { input, cores, memory, redis, nodes } = result;
  const streams = input.POLL === 0;
  const per = (value) => `${number(value)} per second`;
  const busy = (parts) =>
    `${number(sum(parts))}: ${Object.entries(parts)
      .map(([name, value]) => `${name} ${number(value)}`)
      .join(", ")}`;
  const takes = [
    ["beats, joins and leaves", per(result.beats)],
    ...(streams ? [["events on streams", per(result.events)]] : []),
    ["counts that nodes read", per(result.reads)],
    [
      "nodes",
      `${count(nodes, "node")} of ${count(input.CORES, "core")}, and one to spare`,
    ],
    ["busy cores of all nodes", busy(cores)],
    [
      "memory of all nodes",
      bytes(memory.process) +
        (streams ? `, and ${bytes(memory.kernel)} of kernels for sockets` : ""),
    ],
    ["bandwidth of all nodes", bits(result.bandwidth)],
    [
      "one node",
      `${bytes((memory.process + memory.kernel) / nodes)}, ${bits(result.bandwidth / nodes)}` +
        (streams ? `, ${count(result.streamsPerNode, "open file")}` : ""),
    ],
    ...(streams
      ? [
          [
            "an update of the largest channel, to its last stream on a node",
            seconds(result.lastStream),
          ],
        ]
      : []),
    [
      "Redis",
      `${count(redis.servers, "server")}${redis.isCluster ? ", a cluster" : ""}`,
    ],
    ["busy cores of Redis", busy(redis.cores)],
    ["memory of Redis", bytes(memory.redis)],
    [
      "largest possible channel",
      count(Number(result.largestPossible.toPrecision(2)), "viewer"),
    ],
  ];
  const limits = result.limits
    .filter(({ metAt }) => metAt < 1e12)
    .map(({ name, metAt, fits }) => {
      const [title, here, change] = describe(name, result);
      const at = Number(metAt.toPrecision(2)).toLocaleString("en-US");
      return [title, at, fits ? here : `**${here}: too much**`, change];
    });
  const [[first, firstAt, , change]] = limits;
  const lost = limits.filter(([, , here]) => here.startsWith("**"));
  const reading =
    input.POLL > 0
      ? `pages poll, \`COUNT_MAX_AGE=${input.POLL}\``
      : `an update each ${input.INTERVAL / 1000} s`;
  const lines = [
    `${count(input.VIEWERS, "viewer")} in ${count(input.CHANNELS, "channel")}, ` +
      `${input.LARGEST.toLocaleString("en-US")} of them in the largest; a heartbeat each ` +
      `${number((BEAT_AFTER * input.HEARTBEAT) / 1000)} s, sessions of ${number(input.SESSION / 60)} min, ${reading}.`,
    table(["", "takes"], ...takes),
    `The first limit: ${first}, at ${firstAt} viewers. Change: ${change}.`,
    ...lost.map(([title]) => `**This does not work**: ${title}.`),
    "Limits of a site that grows in proportion:",
    table(["limit", "met at viewers", "here", "change"], ...limits),
  ];
  if (input.POLL === 0) {
    const poll = take({ ...input, POLL: 5 }, costs);
    lines.push(
      `With \`poll\` and \`COUNT_MAX_AGE=5\` behind a CDN instead of streams: ${count(poll.nodes, "node")}, ` +
        `${number(sum(poll.cores))} busy cores; ${count(poll.redis.servers, "Redis server")}, ${number(sum(poll.redis.cores))} busy cores.`,
    );
  }
  return lines.join("\n\n");
}

/** A page in which the text after each marker `<!-- make capacity … -->`, up to `<!-- end -->`, is calculated again. */
export const refresh = (page) =>
  page.replace(
    /(<!-- make capacity (.*) -->\n)[^]*?(<!-- end -->)/g,
    (_, start, inputs, end) =>
      `${start}\n${report(estimate(parse(inputs.split(" "))))}\n\n${end}`,
  );

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  try {
    if (args[0] === "--write") {
      const page = readFileSync(args[1], "utf8");
      writeFileSync(args[1], refresh(page));
    } else {
      const inputs = args.filter((arg) => !arg.startsWith("JSON="));
      const result = estimate(parse(inputs));
      const isJson = args.includes("JSON=1");
      console.log(isJson ? JSON.stringify(result, null, 2) : report(result));
    }
  } catch (error) {
    const help = Object.entries(INPUTS).map(
      ([name, [, , meaning]]) => `  ${name.padEnd(10)}${meaning}`,
    );
    console.error(
      [error.message, ...help, "  JSON=1    every figure, as JSON"].join("\n"),
    );
    process.exitCode = 2;
  }
}
