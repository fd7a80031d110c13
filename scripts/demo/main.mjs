// `make demo`: Aforo alive on one machine, until Ctrl+C. A video server with a test pattern, a crowd of simulated viewers,
// a site that embeds the player, and an hour of history, all in a temporary folder.
import { randomBytes } from "node:crypto";
import { join, resolve } from "node:path";

import { Crowd } from "./crowd.mjs";
import * as otherSite from "./other-site.mjs";
import { freePort } from "../free-port.mjs";
import { Processes, until } from "./processes.mjs";
import * as video from "./video.mjs";

const root = resolve(import.meta.dirname, "../..");
const program = process.env.AFORO_BIN ?? join(root, "target/release/aforo");
const site = process.env.LEPTOS_SITE_ROOT ?? join(root, "target/site");
const CHANNELS = ["aurora", "boreal"];

const processes = await Processes.start();
let ending;
/** Ends the demo. A message means that something went wrong. */
function end(message) {
  ending ??= (async () => {
    if (message) console.error(`demo: ${message}`);
    crowd?.end();
    await processes.end();
    process.exit(message ? 1 : 0);
  })();
}
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end());
let crowd;

async function start() {
  const database = join(processes.folder, "aforo.db");
  console.log("» writing an hour of history");
  const history = await processes.output(program, ["demo-history", database, ...CHANNELS]);
  const audiences = history.trim().split("\n").map((line) => line.split(" "));

  const preferred = (port) => freePort(Number(process.env.DEMO_PORT ?? port));
  const [sitePort, otherPort] = [await preferred(3000), await preferred(3080)];
  const [port, rtmpPort] = [await freePort(), await freePort()];
  const aforo = `http://127.0.0.1:${port}`;
  const front = `http://127.0.0.1:${sitePort}`;
  const secret = randomBytes(16).toString("hex");
  console.log("» starting the server, the video server and the crowd");
  processes.run("aforo", program, [], {
    env: {
      LEPTOS_SITE_ADDR: `127.0.0.1:${port}`,
      LEPTOS_SITE_ROOT: site,
      DATA_DIR: processes.folder,
      DATABASE_URL: `sqlite:${database}`,
      STREAM_URL_TEMPLATE: "/hls/{channel}/index.m3u8",
      TRUSTED_PROXIES: "127.0.0.1/32",
      LIVE: "signal",
      LIVE_HOOK_SECRET: secret,
      LIVE_SIGNAL_TIMEOUT: "90",
      STATS: "public",
      // The whole crowd has one address.
      LIMIT_JOINS_BURST: "0",
      RUST_LOG: "warn",
    },
    failed: end,
  });
  await until("the server responds", () => fetch(`${aforo}/healthz`).then(({ ok }) => ok, () => false));
  await video.start({
    processes,
    ports: { site: sitePort, rtmp: rtmpPort },
    aforo,
    hook: `${aforo}/api/hooks/nginx-rtmp?secret=${secret}`,
    channels: CHANNELS,
    failed: end,
  });
  crowd = new Crowd(aforo);
  for (const [channel, viewers] of audiences) void crowd.fill(channel, Math.max(1, Number(viewers)));
  await otherSite.start(otherPort, front, CHANNELS[0]);

  console.log(`
  all channels        ${front}/
  a channel           ${front}/${CHANNELS[0]}
  its statistics      ${front}/${CHANNELS[0]}/stats
  on another site     http://localhost:${otherPort}/
  its overlay         ${front}/overlay/${CHANNELS[0]}
  the API             ${front}/api/viewer/count/${CHANNELS[0]}

Ctrl+C ends the demo and removes all of it.`);
}

start().catch((error) => end(error.message));
