/**
 * State machine of one tab that shares an event stream with the other tabs of the browser. A port of src/domain/relay,
 * which explains the rules. The sequences in tests/sequences keep both equal: tabs of either kind share one stream.
 */

import { isChannel } from "./channel.ts";
import { State, Verdict, makeWatchdog } from "./watchdog.ts";

const ROLL_CALL = 10e3;

/** An event of a tab. */
export const enum Event {
  /** The tab opened, came back, or changed the channels that it watches. Argument: `Watching`. */
  Watching,
  /** The tab became hidden or visible. Argument: whether it is hidden. */
  Seen,
  /** The tab is closing or being frozen. */
  Closed,
  /** The tab got the lock: it is the leader. */
  Granted,
  /** Another tab took the lock, or the browser refuses locks. */
  Taken,
  /** Another tab sent a message. Argument: its text. */
  Said,
  /** A count arrived on the stream. Argument: its text. */
  Count,
  /** A tick arrived on the stream. */
  Tick,
  /** The stream broke. */
  Broken,
  /** The request of `ask` ended, or that of `count` failed. Argument: whether the server responded. */
  Answered,
  /** A response contained counts. Argument: their text. */
  Told,
  /** The network came back. */
  Online,
  /** The network was lost. */
  Offline,
  /** A timer fired. */
  Woken,
}

/** What a tab watches, and how. */
export interface Watching {
  channels: string[];
  /** Whether tabs can share a stream. */
  shares: boolean;
  /** Whether the tab is hidden. */
  hidden: boolean;
  /** Whether the tab needs the stream while it is hidden. */
  needed: boolean;
}

/** A received count. */
export interface News {
  channel: string;
  /** `null` if unknown. */
  count: number | null;
  stale: boolean;
}

/** The commands to a tab. None of them may call back synchronously. */
export interface Host {
  /** Open a stream for these channels, in place of the present one. */
  open(channels: string[]): void;
  close(): void;
  /** Request the leader's lock. `steal`: take it from the present leader. */
  lead(steal: boolean): void;
  /** Release the lock, or withdraw the request for it. */
  resign(): void;
  /** Send a message to the other tabs. */
  say(text: string): void;
  /** Check that the server is reachable. */
  ask(): void;
  /** Request the counts of these channels from the server. */
  count(channels: string[]): void;
  show(news: News): void;
  /** The stream delivered something: send a beat if one is due. */
  wake(): void;
}

const enum Role {
  Out,
  Resting,
  Following,
  Leading,
}

interface Other {
  name: string;
  channels: string[];
  /** When the roll call started that the tab has not answered. */
  called?: number;
}

/** Parses "ana 5 live 1790000000123". */
const read = (text: string): News | undefined => {
  const [, channel, count, state] = /^([^ ]+) (-|\d{1,9}) (live|stale) \d{1,15}$/.exec(text) ?? [];
  return channel ? { channel, count: count === "-" ? null : +count!, stale: state === "stale" } : undefined;
};

/** `me`: the unique name of this tab. */
export const makeRelay = (me: string, host: Host) => {
  const watchdog = makeWatchdog();
  let role = Role.Out;
  let wasAway = false;
  let isHidden = false;
  let mine: string[] = [];
  let shares = false;
  let isNeeded = false;
  let others: Other[] = [];
  let open: string[] = [];
  /** The last count on this stream for each channel, as text. */
  const told = new Map<string, string>();

  const takesPart = () => role > Role.Resting;
  const mayRest = () => isHidden && !(isNeeded && shares);
  const sayWhatItWatches = (word: string) => host.say([word, me, mine].join(" "));

  const leave = () => {
    if (!takesPart()) return;
    wasAway = true;
    open = [];
    others = [];
    host.say("bye " + me);
    host.close();
    host.resign();
  };

  const rest = () => {
    leave();
    role = Role.Resting;
    wasAway = true;
  };

  const callRoll = (now: number) => {
    others = others.filter(({ called }) => called === undefined || now - called < ROLL_CALL);
    for (const other of others) other.called ??= now;
  };

  const watched = () => [...new Set([...mine, ...others.flatMap(({ channels }) => channels)])];

  const openStream = (now: number) => {
    callRoll(now);
    open = watched();
    told.clear();
    watchdog.opened(now);
    host.open(open);
    sayWhatItWatches("lead");
  };

  const openIfLacking = (now: number) => {
    if (watched().some((channel) => !open.includes(channel))) openStream(now);
  };

  const watch = (now: number, random: number) => {
    if (!mine.length) {
      leave();
      role = Role.Out;
      wasAway = false;
      return;
    }
    const joins = !takesPart();
    if (joins) watchdog.begun(now, wasAway);
    if (mayRest()) return rest();
    if (!shares) role = Role.Leading;
    if (role === Role.Leading) return openIfLacking(now);
    sayWhatItWatches("want");
    watchdog.asked(now, random);
    if (joins) {
      role = Role.Following;
      host.lead(false);
    }
  };

  const callLeader = (now: number, random: number) => {
    if (role === Role.Following) {
      watchdog.asked(now, random);
      host.say("ask");
    }
  };

  const reopen = (now: number, random: number) => {
    if (role === Role.Leading) {
      openStream(now);
      watchdog.reopened(now);
    } else if (watchdog.isBroken()) {
      watchdog.reopened(now);
      host.lead(true);
    } else {
      watchdog.broke(now, random);
    }
  };

  const check = (now: number, random: number) => {
    const verdict = watchdog.check(now, isHidden);
    if (verdict === Verdict.Fine) return;
    if (verdict === Verdict.Reopen) return reopen(now, random);
    if (verdict === Verdict.Ask) host.ask();
    else host.count(mine);
    callLeader(now, random);
  };

  const live = (now: number) => {
    watchdog.heard(now);
    host.wake();
  };

  const hear = (text: string, now: number) => {
    const news = read(text);
    if (!news) return;
    if (role === Role.Leading) host.say("news " + text);
    // Delete first, so that the map is ordered by age.
    told.delete(news.channel);
    told.set(news.channel, text);
    if (mine.includes(news.channel)) host.show(news);
    live(now);
  };

  const note = (text: string) => {
    const [, name, list] = /^(\S*) (.*)$/.exec(text) ?? [];
    if (name === undefined) return undefined;
    const channels = list!.split(",").filter(isChannel);
    others = [...others.filter((other) => other.name !== name), { name, channels }];
    return channels;
  };

  const hail = () => host.say(watchdog.isBroken() ? "broke" : "here");

  const state = (now: number): State => {
    const state = watchdog.state(now);
    return state === State.Live && !takesPart() ? State.Stale : state;
  };

  const listen = (text: string, now: number, random: number) => {
    const [, word, rest] = /^(\S*) ?(.*)$/.exec(text) ?? [];
    const leads = role === Role.Leading;
    if (word === "want") {
      const asked = note(rest!);
      if (!asked || !leads) return;
      openIfLacking(now);
      hail();
      if (state(now) !== State.Live) return;
      for (const [channel, text] of told) if (asked.includes(channel)) host.say("news " + text);
    } else if (word === "bye") {
      others = others.filter(({ name }) => name !== rest);
    } else if (leads) {
      // Ignore the messages of another leader: one of the two is about to get `Taken`.
      if (word === "ask") hail();
    } else if (word === "lead") {
      callRoll(now);
      note(rest!);
      watchdog.opened(now);
      sayWhatItWatches("want");
    } else if (word === "here") {
      watchdog.found();
    } else if (word === "broke") {
      watchdog.broke(now, random);
    } else if (word === "tick") {
      live(now);
    } else if (word === "news") {
      hear(rest!, now);
    }
  };

  const learn = (text: string, now: number, random: number) => {
    const answers = text.split(",").flatMap((each) => read(each) ?? []);
    if (!watchdog.isHeard(now)) {
      for (const news of answers) if (mine.includes(news.channel)) host.show(news);
    }
    if (mine.every((name) => answers.some(({ channel }) => channel === name))) watchdog.told(now, random);
    else watchdog.answered(now, true);
  };

  /** Handles an event and calls the host's commands. `now` and `random`: see rules/watchdog.ts. */
  const on = (event: Event, argument: unknown, now: number, random: number): void => {
    if (event === Event.Watching) {
      const watching = argument as Watching;
      mine = watching.channels.filter(isChannel);
      shares = watching.shares;
      isHidden = watching.hidden;
      isNeeded = watching.needed;
      return watch(now, random);
    }
    if (event === Event.Seen) {
      isHidden = argument as boolean;
      if (role === Role.Resting) return isHidden ? undefined : watch(now, random);
      if (!takesPart()) return;
      if (mayRest()) return rest();
      if (!isHidden) callLeader(now, random);
      return check(now, random);
    }
    if (event === Event.Closed) {
      leave();
      role = Role.Out;
      return;
    }
    if (!takesPart()) return;
    if (event === Event.Granted) {
      role = Role.Leading;
      openStream(now);
    } else if (event === Event.Taken) {
      if (role === Role.Leading) {
        role = Role.Following;
        open = [];
        watchdog.opened(now);
        host.close();
        host.lead(false);
        sayWhatItWatches("want");
      } else {
        shares = false;
        watch(now, random);
      }
    } else if (event === Event.Said) {
      listen(argument as string, now, random);
    } else if (event === Event.Count) {
      hear(argument as string, now);
    } else if (event === Event.Tick) {
      host.say("tick");
      live(now);
    } else if (event === Event.Broken) {
      watchdog.broke(now, random);
      host.close();
      host.say("broke");
    } else if (event === Event.Answered) {
      watchdog.answered(now, argument as boolean);
    } else if (event === Event.Told) {
      learn(argument as string, now, random);
    } else if (event === Event.Online) {
      if (state(now) !== State.Live) reopen(now, random);
    } else if (event === Event.Offline) {
      watchdog.cutOff(now);
    } else {
      check(now, random);
    }
  };

  return {
    on,
    state,
    /** The milliseconds until the next `Woken` is due; `undefined` if none is needed. */
    wait: (now: number) => (takesPart() ? watchdog.wait(now, isHidden) : undefined),
  };
};
