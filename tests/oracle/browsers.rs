//! Honest crowds: pages that join, beat, hide, reload, leave and vanish, and those that watch the numbers.

use super::{
    plan::{Act, Action, CHANNELS, Call, Millis, What},
    random::Random,
    rules::Rules,
};

/// The pages of a crowd.
pub fn crowd(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    for viewer in 1..=random.between(rules.crowd.0, rules.crowd.1) {
        let channel = random.below(CHANNELS);
        // A client of the older kind knows no sessions: its viewer is taken for one, so it has one page.
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
    /// The balancer sends it to the same node always.
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
                // The tab of whoever is still there is closed, or the machine sleeps.
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
                    self.call(random, actions, Act::Beat { hidden });
                }
                _ => self.call(random, actions, Act::Beat { hidden }),
            }
        }
    }

    /// Comes and goes.
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

    /// Leaves. A beat may be on its way still, and arrive later; it may also come so late that the leave is forgotten.
    fn leave(&mut self, random: &mut Random, actions: &mut Vec<Action>) {
        self.call(random, actions, Act::Leave);
        if random.chance(20) {
            self.at += if random.chance(80) { random.between(10, 2_000) } else { 15_000 };
            self.call(random, actions, Act::Beat { hidden: false });
        }
    }

    /// The page goes and comes back; a moment later as a new session, or as the same if it knows none.
    fn reload(&mut self, random: &mut Random, actions: &mut Vec<Action>) {
        // A page that is torn down hard says nothing.
        if random.chance(80) {
            self.call(random, actions, Act::Leave);
        }
        self.at += self.pause(random, 100, 4_000);
        if !self.is_old {
            self.call.session += 1;
        }
        self.call(random, actions, Act::Join { hidden: false });
    }

    /// A pause of a length that was chosen for the usual span.
    fn pause(&self, random: &mut Random, from: Millis, to: Millis) -> Millis {
        random.between(self.rules.scaled(from), self.rules.scaled(to))
    }

    fn call(&mut self, random: &mut Random, actions: &mut Vec<Action>, act: Act) {
        if !self.sticks {
            self.call.node = random.index(self.nodes);
        }
        actions.push(Action { at: self.at, what: What::Call(Call { act, ..self.call }) });
    }
}

/// Streams on the channels of the crowd, some for all the time.
pub fn watchers(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    for channel in 0..CHANNELS {
        for node in 0..nodes {
            let (at, lasts) = match random.below(3) {
                0 => continue,
                1 => (0, rules.watched),
                _ => (random.below(rules.span / 2), random.between(1_000, rules.span / 2)),
            };
            actions.push(Action { at, what: What::Watch { node, channel, lasts } });
        }
    }
    actions
}

/// Streams that come and go by the hundred.
pub fn churn(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let lasts = random.between(rules.scaled(20_000), rules.scaled(90_000));
    let what = What::Churn { node: random.index(nodes), per_second: random.between(11, 300), lasts };
    vec![Action { at: random.below(rules.span - lasts), what }]
}
