/**
 * How figures, lengths of time and instants are written. A port of src/i18n/figures.rs and src/pages/stats/times.rs; the
 * cases in tests/sequences/figures.json keep both equal.
 */

/** A space that does not break. */
const SPACE = "\xa0";
const DASH = "—";

/** Figures of a broadcast, as the API gives them. */
export interface Figures {
  startedAt: number;
  endedAt: number | null;
  peak: number | null;
  peakAt: number | null;
  average: number | null;
  watchSeconds: number;
  uniques: number;
  observed: number;
  /** Absent if no join was recorded while tickets were accepted. */
  joins?: { withTicket: number; withoutTicket: number };
}

/** The last instant that a `Date` can hold, in milliseconds. */
const LAST_INSTANT = 8.64e15;

/** The figures in the data of an event; `null` before the first broadcast. `undefined` if the data is anything else. */
export const readFigures = (data: string): Figures | null | undefined => {
  try {
    const told = JSON.parse(data);
    if (told === null) return told;
    const { startedAt, endedAt, peak, peakAt, average, watchSeconds, uniques, observed, joins } = told;
    const needed = [startedAt, watchSeconds, uniques, observed];
    if (joins != null) needed.push(joins.withTicket, joins.withoutTicket);
    const optional = [endedAt, peak, peakAt, average].filter((value) => value !== null);
    const isFigure = (value: unknown) => typeof value === "number" && value >= 0 && value <= LAST_INSTANT;
    if (needed.every(isFigure) && optional.every(isFigure)) return told;
  } catch {}
};

/** `months`: the short names of the months, separated by spaces. */
export const makeWriter = (locale: string, months: string, timeZone: string) => {
  const comma = locale === "en" ? "." : ",";
  const numbers = new Intl.NumberFormat(locale);
  const number = (value: number) => numbers.format(value);

  const options = {
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
  } as const;
  const makeClock = (timeZone: string) => new Intl.DateTimeFormat("en-US", { ...options, timeZone });
  let clock: Intl.DateTimeFormat;
  try {
    clock = makeClock(timeZone);
  } catch {
    // The server knows a zone that this browser does not know.
    clock = makeClock("UTC");
  }

  /** The year, the date and the time. The date has the year if it is not this one. */
  const wall = (at: number, now: number): [date: string, time: string] => {
    const part = (at: number) =>
      Object.fromEntries(clock.formatToParts(at).map(({ type, value }) => [type, value]));
    const { year, month, day, hour, minute } = part(at);
    const name = months.split(" ")[+month! - 1]!;
    const isOther = part(now).year !== year;
    const date =
      locale === "en"
        ? name + SPACE + day + (isOther ? ", " + year : "")
        : day + SPACE + name + (isOther ? SPACE + year : "");
    return [date, hour + ":" + minute];
  };

  const writer = {
    number,
    /** A mean: with one decimal below 100, else without. */
    mean(mean: number): string {
      const tenths = Math.round(mean * 10);
      if (tenths >= 1e3 || !(tenths % 10)) return number(Math.round(mean));
      return Math.floor(tenths / 10) + comma + (tenths % 10);
    },
    /** A share of a whole, rounded down, so that only all of it is 100 %. */
    percent(share: number): string {
      const tenths = Math.floor(Math.min(Math.max(share, 0), 1) * 1e3);
      const written =
        tenths < 10 && share > 0
          ? "<1"
          : tenths > 990 && tenths < 1e3
            ? "99" + comma + (tenths - 990)
            : Math.floor(tenths / 10);
      return written + (locale === "es" ? SPACE : "") + "%";
    },
    /** A length of time; none if it is negative. */
    length(seconds: number): string {
      seconds = Math.max(seconds, 0);
      const hours = Math.floor(seconds / 3600);
      const minutes = Math.floor(seconds / 60) % 60;
      if (!hours && !minutes) return Math.floor(seconds) + SPACE + "s";
      if (!hours) return minutes + SPACE + "min";
      return number(hours) + SPACE + "h" + (hours < 100 && minutes ? " " + minutes + SPACE + "min" : "");
    },
    dateAndTime: (at: number, now: number): string => wall(at, now).join(", "),
    /** The time of today, or the date and the time. */
    instant(at: number, now: number): string {
      const [date, time] = wall(at, now);
      return date === wall(now, now)[0] ? time : date + ", " + time;
    },
    /** From one instant to another. The date of the second one is written if it differs. */
    span(from: number, to: number, now: number): string {
      const [start, end] = [wall(from, now), wall(to, now)];
      return start.join(", ") + " – " + (start[0] === end[0] ? end[1] : end.join(", "));
    },
    /** The figures of a broadcast by their names. `exact`: the most distinct viewers that are not an estimate. */
    figures: (figures: Figures | null, exact: number, now: number): Record<string, string> => {
      const of = <T>(value: T | null | undefined, write: (value: T) => string) =>
        value == null ? DASH : write(value);
      return {
        peak: of(figures?.peak, number),
        peakAt: figures?.peakAt == null ? "" : writer.instant(figures.peakAt, now),
        average: of(figures?.average, writer.mean),
        uniques: of(figures?.uniques, (uniques) => (uniques > exact ? "≈" + SPACE : "") + number(uniques)),
        // Where nothing was observed, what was watched is not known either.
        watchSeconds: of(figures?.average == null ? null : figures.watchSeconds, writer.length),
        observed: of(figures?.observed, writer.percent),
        joins: of(figures?.joins, (joins) => number(joins.withTicket) + " / " + number(joins.withoutTicket)),
      };
    },
  };
  return writer;
};
