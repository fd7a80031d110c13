//! Generates honest viewers: pages that join, send heartbeats, hide, reload, leave or vanish, and pages that watch
//! streams.

use super::{
    plan::{Act, Action, ActionKind, CHANNELS, Call, Millis},
    random::Random,
    rules::Rules,
};

/// The calls of a crowd of pages.
pub fn crowd(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    for viewer in 1..=random.between(rules.crowd.0, rules.crowd.1) {
        let channel = random.below(CHANNELS);
        // An older client sends no session id. The server uses the viewer id instead, so the viewer has one page only.
        let is_old = random.chance(30);
        let pages = if is_old { 1 } else { 1 + random.below(3) };
        for page in 0..pages {
            let session = if is_old { viewer } else { viewer * 1000 + page * 100 };
            let sticks = random.chance(40);
            let home = random.index(nodes);
            let call = Call {
                node: home,
                address: u32::try_from(viewer).unwrap(),
                channel,
                viewer,
                session,
                act: Act::Leave,
            };
            let page = Page { call, rules, is_old, sticks, nodes, at: random.below(rules.span / 2) };
            if random.chance(25) {
                page.zap(random, &mut actions);
            } else {
                page.live(random, &mut actions);
            }
        }
    }
    actions
}

struct Page<'a> {
    call: Call,
    rules: &'a Rules,
    is_old: bool,
    /// The load balancer always routes it to the same node.
    sticks: bool,
    nodes: usize,
    at: Millis,
}

impl Page<'_> {
    fn live(mut self, random: &mut Random, actions: &mut Vec<Action>) {
        self.call(random, actions, Act::Join { hidden: false });
        let mut hidden = false;
        loop {
            let beat = self.rules.heartbeat();
            self.at += if hidden { 2 * beat } else { random.between(beat / 10 * 8, beat) };
            if self.at > self.rules.span {
                // The tab is closed, or the machine goes to sleep.
                if random.chance(50) {
                    self.at = self.rules.span;
                    self.call(random, actions, Act::Leave);
                }
                return;
            }
            match random.below(20) {
                0 => return,
                1 => return self.leave(random, actions),
                2 | 3 => self.reload(random, actions),
                4 | 5 => {
                    hidden = !hidden;
                    self.call(random, actions, Act::Heartbeat { hidden });
                }
                _ => self.call(random, actions, Act::Heartbeat { hidden }),
            }
        }
    }

    /// Joins and leaves several times in a row.
    fn zap(mut self, random: &mut Random, actions: &mut Vec<Action>) {
        for _ in 0..random.between(2, 12) {
            self.call(random, actions, Act::Join { hidden: false });
            self.at += self.pause(random, 300, 9_000);
            self.leave(random, actions);
            self.at += self.pause(random, 300, 9_000);
            if !self.is_old {
                self.call.session += 1;
            }
        }
    }

    /// Leaves. A heartbeat that was in flight may arrive after the leave, even after the leave memory has expired.
    fn leave(&mut self, random: &mut Random, actions: &mut Vec<Action>) {
        self.call(random, actions, Act::Leave);
        if random.chance(20) {
            self.at += if random.chance(80) { random.between(10, 2_000) } else { 15_000 };
            self.call(random, actions, Act::Heartbeat { hidden: false });
        }
    }

    /// Reloads the page: it joins again with a new session. An older client joins with the same session.
    fn reload(&mut self, random: &mut Random, actions: &mut Vec<Action>) {
        // A page that crashes sends no leave.
        if random.chance(80) {
            self.call(random, actions, Act::Leave);
        }
        self.at += self.pause(random, 100, 4_000);
        if !self.is_old {
            self.call.session += 1;
        }
        self.call(random, actions, Act::Join { hidden: false });
    }

    /// A random pause. The bounds apply to the usual span and are scaled.
    fn pause(&self, random: &mut Random, from: Millis, to: Millis) -> Millis {
        random.between(self.rules.scaled(from), self.rules.scaled(to))
    }

    fn call(&mut self, random: &mut Random, actions: &mut Vec<Action>, act: Act) {
        if !self.sticks {
            self.call.node = random.index(self.nodes);
        }
        actions.push(Action { at: self.at, kind: ActionKind::Call(Call { act, ..self.call }) });
    }
}

/// Streams on the channels of the crowd. Some stay open the whole time.
pub fn watchers(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    for channel in 0..CHANNELS {
        for node in 0..nodes {
            let (at, lasts) = match random.below(3) {
                0 => continue,
                1 => (0, rules.watched),
                _ => (random.below(rules.span / 2), random.between(1_000, rules.span / 2)),
            };
            actions.push(Action { at, kind: ActionKind::Watch { node, channel, lasts } });
        }
    }
    actions
}

/// Opens and closes up to 300 streams per second.
pub fn churn(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let lasts = random.between(rules.scaled(20_000), rules.scaled(90_000));
    let kind = ActionKind::Churn { node: random.index(nodes), per_second: random.between(11, 300), lasts };
    vec![Action { at: random.below(rules.span - lasts), kind }]
}
