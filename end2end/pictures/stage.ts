/**
 * The servers that the pictures are taken of, with their channels. A worker starts each one when it first needs it.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { request, type APIRequestContext } from "@playwright/test";

import { Audience } from "../fixtures/audience.ts";
import { Server } from "../fixtures/server.ts";
import { addPast, demoHistory, type Past } from "./past.ts";

/** Nobody who has joined leaves while the pictures are taken. */
const SETTINGS = {
  VIEWER_TIMEOUT: "7200",
  VIEWER_HIDDEN_TIMEOUT: "7200",
  LIMIT_JOINS_BURST: "0",
  LIMIT_NEW_CHANNELS_PER_MINUTE: "0",
  LIMIT_SESSIONS_PER_CHANNEL: "0",
  LIMIT_READS_PER_ADDRESS: "0",
  LIMIT_FIGURES_PER_ADDRESS: "0",
  STATS: "public",
};
export const TOKEN = "operator-token-0123456789";
export const LONG_NAME = "un-nombre-de-canal-tan-largo-como-se-puede.con_sesenta-y-cuatro.";

/** The viewers of the channels with an audience. */
const CHANNELS: Record<string, number> = {
  iblups: 1_247,
  "radio.lima": 86,
  "futbol-peruano": 32,
  musica: 3,
  [LONG_NAME]: 1,
};

/** An evening of three hours on most days: it rises, and comes and goes in waves. */
function evening(minute: number, height: number): number {
  const [day, at] = [Math.floor(minute / 1_440), minute % 1_440];
  if (day % 7 === 3 || at < 600 || at >= 780) return 0;
  const wave = Math.sin((at - 600) / 9) * 0.12 + Math.sin(minute / 700) * 0.15 + 0.73;
  return Math.max(1, Math.round(height * wave * Math.min(1, (at - 595) / 40)));
}

const PASTS: Past[] = [
  { channel: "month", minutes: 30 * 1_440, count: (minute) => evening(minute, 180), uniques: 1_024 },
  {
    channel: "gaps",
    minutes: 300,
    count: (minute) => {
      if (
        (minute > 40 && minute < 100) ||
        (minute >= 150 && minute < 160) ||
        (minute > 200 && minute % 5 < 2)
      )
        return undefined;
      return minute < 270 ? 20 + Math.round(8 * Math.sin(minute / 12)) : 0;
    },
    uniques: 61,
  },
  {
    channel: "million",
    minutes: 400,
    count: (minute) =>
      minute < 365 ? Math.round(1_234_567 * Math.sin(((minute + 2) / 372) * Math.PI)) + 1 : 0,
    hosts: {
      "news.example": 31,
      "forum.example": 12,
      "a-very-long-host-name-of-a-site.community.example": 4,
    },
    uniques: 3_456_789,
  },
];

type Start = (folder: string) => Promise<[server: Server, channels: Record<string, number>]>;

const withSettings =
  (settings: Record<string, string>, channels: Record<string, number> = {}): Start =>
  async () => [await Server.start({ ...SETTINGS, ...settings }), channels];

const STREAM_URL_TEMPLATE = "/hls/{channel}/index.m3u8";
const SERVERS = {
  empty: withSettings({}),
  open: withSettings({}, CHANNELS),
  crowded: withSettings(
    {},
    Object.fromEntries(
      Array.from({ length: 50 }, (_, nth) => [`canal-${nth + 1}`, Math.ceil(400 / (nth + 1) ** 1.4)]),
    ),
  ),
  video: withSettings({ STREAM_URL_TEMPLATE }, { iblups: 212 }),
  signal: withSettings({ LIVE: "signal", API_TOKEN: TOKEN, STREAM_URL_TEMPLATE }, { iblups: 12 }),
  private: withSettings({ STATS: "private" }),
  past: async (folder: string) => {
    const file = join(folder, "aforo.db");
    const channels = Object.fromEntries(demoHistory(file, ["aurora", "boreal"]));
    addPast(file, PASTS);
    return [await Server.start({ ...SETTINGS, DATABASE_URL: `sqlite:${file}` }), { ...channels, one: 1 }];
  },
} satisfies Record<string, Start>;

export type ServerName = keyof typeof SERVERS;

export class Stage {
  readonly #servers = new Map<ServerName, Promise<Server>>();
  readonly #requests: APIRequestContext[] = [];
  readonly #folder = mkdtemp(join(tmpdir(), "aforo-pictures-"));

  /** The address of a server with its audience. */
  async url(name: ServerName): Promise<string> {
    const known = this.#servers.get(name) ?? this.#start(name);
    this.#servers.set(name, known);
    return (await known).url;
  }

  async close(): Promise<void> {
    for (const server of this.#servers.values()) await (await server).discard();
    for (const request of this.#requests) await request.dispose();
    await rm(await this.#folder, { recursive: true });
  }

  async #start(name: ServerName): Promise<Server> {
    const start: Start = SERVERS[name];
    const [server, channels] = await start(await this.#folder);
    const context = await request.newContext({ baseURL: server.url });
    this.#requests.push(context);
    const audience = new Audience(context);
    await Promise.all(Object.entries(channels).map(([channel, viewers]) => audience.join(channel, viewers)));
    return server;
  }
}
