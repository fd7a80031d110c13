/**
 * Statistics of the past that no test could wait for: days, gaps, a million viewers. They are written into the rows of 5
 * and 15 minutes as the archive keeps them (src/server/history: tally, arrivals and sketch describe the bytes).
 */

import { execFileSync } from "node:child_process";

import { binary } from "../fixtures/server.ts";

const MINUTE = 60_000;

/** A broadcast that has ended. */
interface Broadcast {
  from: number;
  to: number;
  uniques: number;
}

export interface Past {
  channel: string;
  /** How long ago it begins, in minutes. */
  minutes: number;
  /** The viewers, some minutes after the beginning; undefined: not known. */
  count: (minute: number) => number | undefined;
  /** Hosts that embed the player, with their share of the new viewers in percent. */
  hosts?: Record<string, number>;
  /** The number of distinct viewers of each broadcast and, up to 1,024, of the whole time. */
  uniques: number;
}

/** Creates a database with the history of `make demo`. Returns the number of viewers of each channel at its end. */
export function demoHistory(file: string, channels: string[]): [channel: string, viewers: number][] {
  const output = execFileSync(binary, ["demo-history", file, ...channels], { encoding: "utf8" });
  const lines = output.trim().split("\n");
  return lines.map((line) => [line.split(" ")[0]!, Number(line.split(" ")[1])]);
}

/** Adds these pasts, up to now, to a database. */
export function addPast(file: string, pasts: Past[]): void {
  const now = Date.now();
  const statements = pasts.flatMap((past) => rows(past, now));
  execFileSync("sqlite3", [file], { input: ["BEGIN;", ...statements, "COMMIT;"].join("\n") });
}

function rows({ channel, minutes, count, hosts = {}, uniques }: Past, now: number): string[] {
  const start = Math.ceil((now - minutes * MINUTE) / (15 * MINUTE)) * 15 * MINUTE;
  const statements: string[] = [];
  for (const step of [5, 15]) {
    for (let at = start; at + step * MINUTE <= now; at += step * MINUTE) {
      const counts = Array.from({ length: step }, (_, nth) => count((at - start) / MINUTE + nth));
      const known = counts.filter((count) => count !== undefined);
      if (known.length === 0) continue;
      statements.push(
        `INSERT INTO history (channel, step, start, tally) VALUES ('${channel}', ${step * 60}, ${at}, ${tally(counts, at, hosts)});`,
      );
    }
  }
  for (const broadcast of broadcasts(start, now, count, uniques)) {
    const { from, to } = broadcast;
    const figures = JSON.stringify(figuresOf(broadcast, start, count));
    statements.push(
      `INSERT INTO broadcasts (channel, started_at, last_on_air, figures) VALUES ('${channel}', ${from}, ${to}, '${figures}');`,
    );
  }
  // The exact form of a sketch: sorted hashes, each as the difference to the one before.
  const viewers = Math.min(uniques, 1_024);
  const hashes = Array.from({ length: viewers }, () =>
    varint(200_000_000_000 + Math.floor(Math.random() * 1e9)),
  );
  statements.push(
    `INSERT INTO viewers (channel, start, node, data) VALUES ('${channel}', ${now - (now % (60 * MINUTE))}, 1, ${blob([1, 0, ...varint(viewers), ...hashes.flat()])});`,
  );
  return statements;
}

/** The spans with viewers that have ended. What is not known for a while is a part of them. */
function broadcasts(start: number, now: number, count: Past["count"], uniques: number): Broadcast[] {
  const found: Broadcast[] = [];
  let from: number | undefined;
  for (let at = start; at < now - 6 * MINUTE; at += MINUTE) {
    const viewers = count((at - start) / MINUTE);
    if (viewers) from ??= at;
    if (viewers === 0 && from !== undefined) {
      found.push({ from, to: at, uniques });
      from = undefined;
    }
  }
  return found;
}

function figuresOf({ from, to, uniques }: Broadcast, start: number, count: Past["count"]): object {
  const length = (to - from) / MINUTE;
  const counts = Array.from({ length }, (_, nth) => count((from - start) / MINUTE + nth));
  const known = counts.filter((count) => count !== undefined);
  const watched = known.reduce((sum, count) => sum + count, 0);
  const peak = Math.max(...known);
  return {
    startedAt: from,
    endedAt: to,
    peak,
    peakAt: from + counts.indexOf(peak) * MINUTE,
    average: watched / known.length,
    watchSeconds: watched * 60,
    uniques,
    observed: known.length / length,
  };
}

/** The stored form of a tally with the lowest and the highest count, and with new viewers. */
function tally(counts: (number | undefined)[], at: number, hosts: Record<string, number>): string {
  const known = counts.filter((count) => count !== undefined);
  const peak = Math.max(...known);
  const fresh = Math.ceil(peak / 20);
  const watched = known.reduce((sum, count) => sum + count * MINUTE, 0);
  const embeds = Object.entries(hosts).map(([host, percent]) => [
    ...text(host),
    ...varint(Math.ceil((fresh * percent) / 100)),
  ]);
  return blob([
    ...[1, 7, ...varint(known.length * MINUTE), ...varint(watched), ...varint(Math.min(...known))],
    ...[...varint(peak), ...varint(at + counts.indexOf(peak) * MINUTE)],
    ...[...varint(fresh), ...varint(embeds.length), ...embeds.flat()],
  ]);
}

const blob = (bytes: number[]) => `X'${Buffer.from(bytes).toString("hex")}'`;
const text = (text: string) => [...varint(text.length), ...Buffer.from(text)];

/** A number in 7-bit groups, the lowest first. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}
