/**
 * One event stream for all tabs of a browser. The same rules as in src/browser/tab_sync, which explains them;
 * tests/sequences holds both to the same behaviour, and tabs of either kind share one stream.
 */

import { isChannel } from "./channel.ts";
import { State, Verdict, makeWatchdog } from "./watchdog.ts";

const ROLL_CALL = 10e3;

/** What happens to a tab, with its argument. */
export const enum Event {
  /** It is there or back, or watches something else. */
  Watching,
  /** It went out of sight, or came back. */
  Seen,
  /** It is closing, or is being frozen. */
  Closed,
  /** It leads from now on. */
  Granted,
  /** Another tab leads from now on, or nobody can. */
  Taken,
  /** Another tab has said this. */
  Said,
  /** A count came in on its stream. */
  Count,
  /** A tick came in on its stream. */
  Tick,
  /** Its stream broke. */
  Broken,
  /** The server was asked, and has answered or not. */
  Answered,
  /** The server has answered something with counts. */
  Told,
  /** The network came back. */
  Online,
  /** The network is gone. */
  Offline,
  /** A timer fired. */
  Woken,
}

/** What a tab watches, and how. */
export interface Watching {
  channels: string[];
  /** Whether tabs can share a stream. */
  shares: boolean;
  /** Whether nobody sees it. */
  hidden: boolean;
  /** Whether it needs to hear also while nobody sees it. */
  needed: boolean;
}

export interface News {
  channel: string;
  /** Unknown is null. */
  count: number | null;
  stale: boolean;
}

/** What a tab has to do. None of it calls back before the event has been taken in. */
export interface Host {
  /** Have a stream for these channels, instead of the one it has. */
  open(channels: string[]): void;
  close(): void;
  /** Ask for the lock; when `steal`, also from who has it. */
  lead(steal: boolean): void;
  /** Have the lock no more, and don't ask for it. */
  resign(): void;
  say(text: string): void;
  /** Ask the server whether it is there. */
  ask(): void;
  /** Ask the server for the counts of these channels. */
  count(channels: string[]): void;
  show(news: News): void;
  /** Something came in: an occasion to beat. */
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
  /** Since when it owes an answer to a roll call. */
  called?: number;
}

/** Reads "ana 5 live 1790000000123", and nothing else. */
const read = (text: string): News | undefined => {
  const [, channel, count, state] = /^([^ ]+) (-|\d{1,9}) (live|stale) \d{1,15}$/.exec(text) ?? [];
  return channel ? { channel, count: count === "-" ? null : +count!, stale: state === "stale" } : undefined;
};

/** `me`: a name that no other tab has. */
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
  /** What came in last on this stream, by channel. */
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
    // The newest last.
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
      // Of two that lead, one is about to hear that it does no more.
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

  /** Takes in what has happened, and has the host do what is to be done. */
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
    /** In how many milliseconds to wake it; undefined if there is nothing to wake it for. */
    wait: (now: number) => (takesPart() ? watchdog.wait(now, isHidden) : undefined),
  };
};
