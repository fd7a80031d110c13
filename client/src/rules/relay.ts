/**
 * State machine of one tab that shares an event stream with the other tabs of the browser. A port of src/browser/tab_sync,
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
  /** When the shown counts were last current, if they are old and of another source; else 0 or missing. */
  since?: number;
}

/** A received count. */
export interface News {
  channel: string;
  /** `null` if unknown. */
  count: number | null;
  stale: boolean;
  /** Whether the channel is on air; `null` if that is not known. */
  live: boolean | null;
}

/** What is known of a channel's count. */
export type Known = Pick<News, "count" | "stale"> & Partial<Pick<News, "live">>;

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

/** Parses "ana 5 live 1790000000123 on". The last word says whether the channel is on air. */
export const readNews = (text: string): News | undefined => {
  const [, channel, count, state, live] =
    /^([^ ]+) (-|\d{1,9}) (live|stale) \d{1,15}(?: (on|off))?$/.exec(text) ?? [];
  return channel
    ? {
        channel,
        count: count === "-" ? null : +count!,
        stale: state === "stale",
        live: live ? live === "on" : null,
      }
    : undefined;
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
  const latest = new Map<string, string>();

  const isActive = () => role > Role.Resting;
  const canRest = () => isHidden && !(isNeeded && shares);
  /** Sends the names of this tab and of its channels to the other tabs. */
  const announce = (word: string) => host.say([word, me, mine].join(" "));

  const leave = () => {
    if (!isActive()) return;
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
    latest.clear();
    watchdog.opened(now);
    host.open(open);
    announce("lead");
  };

  const openIfIncomplete = (now: number) => {
    if (watched().some((channel) => !open.includes(channel))) openStream(now);
  };

  const watch = (now: number, random: number, since?: number) => {
    if (!mine.length) {
      leave();
      role = Role.Out;
      wasAway = false;
      return;
    }
    const joins = !isActive();
    if (joins) watchdog.begun(now, wasAway || !!since, since);
    if (canRest()) return rest();
    if (!shares) role = Role.Leading;
    if (role === Role.Leading) return openIfIncomplete(now);
    announce("want");
    watchdog.asked(now, random);
    if (joins) {
      role = Role.Following;
      host.lead(false);
    }
  };

  const askLeader = (now: number, random: number) => {
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
    askLeader(now, random);
  };

  const onActivity = (now: number) => {
    watchdog.heard(now);
    host.wake();
  };

  const onCount = (text: string, now: number) => {
    const news = readNews(text);
    if (!news) return;
    if (role === Role.Leading) host.say("news " + text);
    // Delete first, so that the map is ordered by age.
    latest.delete(news.channel);
    latest.set(news.channel, text);
    if (mine.includes(news.channel)) host.show(news);
    onActivity(now);
  };

  /** Records the channels of another tab from its message, and returns them. */
  const recordChannels = (text: string) => {
    const [, name, list] = /^(\S*) (.*)$/.exec(text) ?? [];
    if (name === undefined) return undefined;
    const channels = list!.split(",").filter(isChannel);
    others = [...others.filter((other) => other.name !== name), { name, channels }];
    return channels;
  };

  /** The leader's response to a tab that asks for the stream. */
  const reportStream = () => host.say(watchdog.isBroken() ? "broke" : "here");

  const state = (now: number): State => {
    const state = watchdog.state(now);
    return state === State.Live && !isActive() ? State.Stale : state;
  };

  const onMessage = (text: string, now: number, random: number) => {
    const [, word, rest] = /^(\S*) ?(.*)$/.exec(text) ?? [];
    const leads = role === Role.Leading;
    if (word === "want") {
      const channels = recordChannels(rest!);
      if (!channels || !leads) return;
      openIfIncomplete(now);
      reportStream();
      if (state(now) !== State.Live) return;
      for (const [channel, text] of latest) if (channels.includes(channel)) host.say("news " + text);
    } else if (word === "bye") {
      others = others.filter(({ name }) => name !== rest);
    } else if (leads) {
      // Ignore other messages: if two tabs lead, one of them is about to get `Taken`.
      if (word === "ask") reportStream();
    } else if (word === "lead") {
      callRoll(now);
      recordChannels(rest!);
      watchdog.opened(now);
      announce("want");
    } else if (word === "here") {
      watchdog.found();
    } else if (word === "broke") {
      watchdog.broke(now, random);
    } else if (word === "tick") {
      onActivity(now);
    } else if (word === "news") {
      onCount(rest!, now);
    }
  };

  const onResponse = (text: string, now: number, random: number) => {
    const answers = text.split(",").flatMap((each) => readNews(each) ?? []);
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
      return watch(now, random, watching.since);
    }
    if (event === Event.Seen) {
      isHidden = argument as boolean;
      if (role === Role.Resting) return isHidden ? undefined : watch(now, random);
      if (!isActive()) return;
      if (canRest()) return rest();
      if (!isHidden) askLeader(now, random);
      return check(now, random);
    }
    if (event === Event.Closed) {
      leave();
      role = Role.Out;
      return;
    }
    if (!isActive()) return;
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
        announce("want");
      } else {
        shares = false;
        watch(now, random);
      }
    } else if (event === Event.Said) {
      onMessage(argument as string, now, random);
    } else if (event === Event.Count) {
      onCount(argument as string, now);
    } else if (event === Event.Tick) {
      host.say("tick");
      onActivity(now);
    } else if (event === Event.Broken) {
      watchdog.broke(now, random);
      host.close();
      host.say("broke");
    } else if (event === Event.Answered) {
      watchdog.answered(now, argument as boolean);
    } else if (event === Event.Told) {
      onResponse(argument as string, now, random);
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
    wait: (now: number) => (isActive() ? watchdog.wait(now, isHidden) : undefined),
  };
};
