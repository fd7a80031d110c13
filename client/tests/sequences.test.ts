/**
 * Replays the sequences that tests/it/sequences.rs recorded from the state machines in Rust. The TypeScript ones must
 * give the same results.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Event, makeRelay, type Host } from "../src/rules/relay.ts";
import * as tracker from "../src/rules/tracker.ts";

const load = <Step>(name: string) =>
  JSON.parse(readFileSync(`tests/sequences/${name}.json`, "utf8")) as Step[][];

test("the relay gives the same commands, states and waits as the Rust relay", () => {
  const events: Record<string, Event> = {
    watching: Event.Watching,
    seen: Event.Seen,
    closed: Event.Closed,
    granted: Event.Granted,
    taken: Event.Taken,
    said: Event.Said,
    count: Event.Count,
    tick: Event.Tick,
    broken: Event.Broken,
    answered: Event.Answered,
    told: Event.Told,
    online: Event.Online,
    offline: Event.Offline,
    woken: Event.Woken,
  };
  type Step = [number, number, string, unknown, string, number | null, unknown[][]];
  const sequences = load<Step>("relay");
  assert.ok(sequences.length >= 50);
  for (const [nth, sequence] of sequences.entries()) {
    let called: unknown[][] = [];
    const host = new Proxy({} as Host, {
      get:
        (_, command: string) =>
        (...args: unknown[]) =>
          // A copy: the relay may change the arrays later.
          called.push([command, ...(JSON.parse(JSON.stringify(args)) as unknown[])]),
    });
    const relay = makeRelay("me", host);
    for (const [at, [now, random, name, argument, state, wait, commands]] of sequence.entries()) {
      called = [];
      relay.on(events[name]!, argument, now, random);
      assert.deepEqual(
        [called, ["live", "stale", "unknown"][relay.state(now)], relay.wait(now) ?? null],
        [commands, state, wait],
        `sequence ${nth + 1}, step ${at + 1}: ${name} ${JSON.stringify(argument)}`,
      );
    }
  }
});

test("the tracker sends the same requests and gives the same waits as the Rust tracker", () => {
  const events: Record<string, tracker.Event> = {
    opened: tracker.Event.Opened,
    seen: tracker.Event.Seen,
    woken: tracker.Event.Woken,
    online: tracker.Event.Online,
    answered: tracker.Event.Answered,
    failed: tracker.Event.Failed,
    refused: tracker.Event.Refused,
    ticket: tracker.Event.Ticket,
    unloading: tracker.Event.Unloading,
    closed: tracker.Event.Closed,
  };
  type Step = [number, number, string, unknown, number | null, [string, boolean?, boolean?] | null];
  const sequences = load<Step>("tracker");
  assert.ok(sequences.length >= 50);
  for (const [nth, sequence] of sequences.entries()) {
    const machine = tracker.makeTracker(30_000);
    for (const [at, [now, random, name, argument, wait, command]] of sequence.entries()) {
      const send = machine.on(events[name]!, argument, now, random);
      const [hidden, ticket] = [machine.isHidden(), machine.sendsTicket()];
      const sent = [null, ["join", hidden, ticket], ["heartbeat", hidden, ticket], ["leave"]][send];
      assert.deepEqual(
        [sent, machine.wait(now) ?? null],
        [command, wait],
        `sequence ${nth + 1}, step ${at + 1}: ${name} ${JSON.stringify(argument)}`,
      );
    }
  }
});
