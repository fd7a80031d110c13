// How figures are written: as the server writes them (tests/sequences/figures.json), and instants of any day.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeWriter, type Figures } from "../src/rules/figures.ts";

interface Case {
  kind: "number" | "mean" | "percent" | "length";
  value: number;
  es: string;
  en: string;
  pt: string;
}

const MONTHS = {
  es: "ene feb mar abr may jun jul ago sept oct nov dic",
  en: "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
};

test("figures are written as the server writes them", () => {
  const cases: Case[] = JSON.parse(readFileSync("tests/sequences/figures.json", "utf8"));
  assert.ok(cases.length > 30);
  for (const locale of ["es", "en", "pt"] as const) {
    const writer = makeWriter(locale, MONTHS.es, "UTC");
    for (const { kind, value, [locale]: expected } of cases) {
      assert.equal(writer[kind](value), expected, `${kind} ${value} in ${locale}`);
    }
  }
});

test("a length is never negative", () => {
  const writer = makeWriter("en", MONTHS.en, "UTC");
  for (const seconds of [-0.5, -60, -3_700]) assert.equal(writer.length(seconds), "0\xa0s");
});

// The same instants as in the tests of src/pages/stats/times.rs.
const NOW = 1_774_746_000_000;
const HOUR = 3_600_000;

test("instants have a date unless they are of today", () => {
  const madrid = makeWriter("es", MONTHS.es, "Europe/Madrid");
  assert.equal(madrid.instant(NOW - HOUR, NOW), "01:00");
  assert.equal(madrid.instant(NOW - 3 * HOUR, NOW), "28\xa0mar, 23:00");
  assert.equal(madrid.span(NOW - HOUR, NOW, NOW), "29\xa0mar, 01:00 – 03:00");
  assert.equal(madrid.span(NOW - 3 * HOUR, NOW, NOW), "28\xa0mar, 23:00 – 29\xa0mar, 03:00");
  const lima = makeWriter("en", MONTHS.en, "America/Lima");
  assert.equal(lima.instant(NOW - HOUR, NOW), "19:00");
  assert.equal(lima.dateAndTime(0, NOW), "Dec\xa031, 1969, 19:00");
});

test("a zone that the browser does not know is UTC", () => {
  assert.equal(makeWriter("es", MONTHS.es, "Moon/Tranquility").instant(NOW, NOW), "01:00");
});

test("unknown figures are dashes, and estimates are marked", () => {
  const writer = makeWriter("en", MONTHS.en, "UTC");
  const nothing: Figures = {
    startedAt: NOW,
    endedAt: null,
    peak: null,
    peakAt: null,
    average: null,
    watchSeconds: 0,
    uniques: 0,
    observed: 0,
  };
  const { peak, peakAt, watchSeconds } = writer.figures(nothing, 1024, NOW);
  assert.deepEqual([peak, peakAt, watchSeconds], ["—", "", "—"]);
  assert.equal(writer.figures(null, 1024, NOW).observed, "—");
  assert.equal(writer.figures({ ...nothing, uniques: 1024 }, 1024, NOW).uniques, "1,024");
  assert.equal(writer.figures({ ...nothing, uniques: 1025 }, 1024, NOW).uniques, "≈\xa01,025");
  assert.equal(writer.figures(nothing, 1024, NOW).joins, "—");
  const joins = { withTicket: 1025, withoutTicket: 0 };
  assert.equal(writer.figures({ ...nothing, joins }, 1024, NOW).joins, "1,025 / 0");
});
