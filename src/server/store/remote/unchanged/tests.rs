use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["ana", "ben", "eva"];

fn channel(nth: usize) -> ChannelId {
    ChannelId::parse(NAMES[nth]).unwrap()
}

fn counts(counts: Vec<ChannelId>) -> Changed {
    Changed { counts, ..Changed::default() }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A store with the ends of the leases of each channel, and its list of changes.
#[derive(Clone, Default)]
struct Server {
    now: u64,
    epoch: u64,
    leases: [Vec<u64>; NAMES.len()],
    last: u64,
    /// Changes up to this number are no longer in the list.
    forgotten: u64,
    changed: BTreeMap<usize, u64>,
}

/// What the store has returned, on its way to the node.
enum Response {
    /// With the counts at the time of the response.
    Changes(Changes, [u32; NAMES.len()]),
    Read(usize, Reading, Option<Timestamp>, Option<Position>),
}

impl Server {
    /// In the millisecond of a change, the counts before and after are both right. So a change takes one here.
    fn note(&mut self, nth: usize) {
        self.now += 1;
        self.last += 1;
        self.changed.insert(nth, self.last);
    }

    fn count(&self, nth: usize) -> u32 {
        u32::try_from(self.leases[nth].iter().filter(|end| **end > self.now).count()).unwrap()
    }

    fn epoch(&self) -> Option<Epoch> {
        Some(Epoch(self.epoch))
    }

    fn changes(&self, since: u64) -> Response {
        let is_known = self.forgotten <= since && since <= self.last;
        let channels = self.changed.iter().filter(|(_, number)| **number > since);
        let changes = Changes {
            since,
            as_of: at(self.now),
            epoch: self.epoch(),
            number: self.last,
            changed: is_known.then(|| counts(channels.map(|(nth, _)| channel(*nth)).collect())),
            was_away: false,
        };
        Response::Changes(changes, [0, 1, 2].map(|nth| self.count(nth)))
    }

    fn read(&self, nth: usize, known: Option<Position>) -> Response {
        let reading = Reading { epoch: self.epoch(), ..Reading::certain(self.count(nth), at(self.now)) };
        let next = self.leases[nth].iter().filter(|end| **end > self.now).min();
        Response::Read(nth, reading, next.copied().map(at), known)
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Time passes.
    Pass(u64),
    Join(usize, u64),
    /// The first viewer of a channel leaves.
    Leave(usize),
    /// All leases of a channel get longer, which is no change.
    Beat(usize, u64),
    /// The list forgets its oldest changes.
    Forget,
    /// The data is replaced by what it was at the last time, over a new connection.
    GoBack,
    Remember,
    Ask,
    /// A read begins of a channel that was not known at the last response.
    Read(usize),
    /// The response that was sent at this place among those on their way arrives.
    Receive(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let nth = || 0..NAMES.len();
    prop_oneof![
        2 => (1..50_u64).prop_map(Step::Pass),
        2 => (nth(), 1..100_u64).prop_map(|(nth, lease)| Step::Join(nth, lease)),
        1 => nth().prop_map(Step::Leave),
        1 => (nth(), 1..100_u64).prop_map(|(nth, lease)| Step::Beat(nth, lease)),
        1 => Just(Step::Forget),
        1 => Just(Step::GoBack),
        1 => Just(Step::Remember),
        4 => Just(Step::Ask),
        4 => nth().prop_map(Step::Read),
        8 => (0..3_usize).prop_map(Step::Receive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Every known count is the store's count at the time of the response, whatever happens in whatever order.
    #[test]
    fn known_counts_are_those_of_the_store(steps in prop::collection::vec(step(), 1..120)) {
        let mut server = Server { now: 1_000, last: 10, forgotten: 10, ..Server::default() };
        let (mut before, mut node) = (server.clone(), Unchanged::default());
        let (mut on_their_way, mut known) = (Vec::new(), None);
        for step in steps {
            match step {
                Step::Pass(millis) => server.now += millis,
                Step::Join(nth, lease) => {
                    server.leases[nth].push(server.now + lease);
                    server.note(nth);
                }
                Step::Leave(nth) if server.count(nth) > 0 => {
                    server.leases[nth].remove(0);
                    server.note(nth);
                }
                Step::Leave(_) => {}
                Step::Beat(nth, lease) => {
                    let now = server.now;
                    server.leases[nth].retain(|end| *end > now);
                    server.leases[nth].iter_mut().for_each(|end| *end = (*end).max(now + lease));
                }
                Step::Forget => {
                    server.forgotten = server.last;
                    server.changed.clear();
                }
                Step::GoBack => {
                    server = Server { now: server.now, epoch: server.epoch + 1, ..before.clone() };
                }
                Step::Remember => before = server.clone(),
                Step::Ask => on_their_way.push(server.changes(node.up_to())),
                Step::Read(nth) => on_their_way.push(server.read(nth, known)),
                Step::Receive(_) if on_their_way.is_empty() => {}
                Step::Receive(place) => match on_their_way.remove(place % on_their_way.len()) {
                    Response::Read(nth, reading, next_end, known) => {
                        if let Some(known) = known {
                            node.insert(&channel(nth), &reading, next_end, known);
                        }
                    }
                    Response::Changes(changes, counts) => {
                        node.apply(&changes, Instant::now());
                        known = changes.position();
                        for (nth, count) in counts.into_iter().enumerate() {
                            let known = node.reading(&channel(nth), &changes, Instant::now());
                            prop_assert!(known.is_none_or(|known| known.count == count), "{nth}: {known:?}, not {count}");
                        }
                    }
                },
            }
        }
    }
}

fn changes(since: u64, number: u64, channels: Option<&[usize]>) -> Changes {
    let changed = channels.map(|channels| counts(channels.iter().map(|nth| channel(*nth)).collect()));
    Changes { since, as_of: at(5_000), epoch: Some(Epoch(1)), number, changed, was_away: false }
}

fn position(number: u64) -> Position {
    Position { number, epoch: Some(Epoch(1)) }
}

fn reading(count: u32) -> Reading {
    Reading { epoch: Some(Epoch(1)), ..Reading::certain(count, at(4_000)) }
}

/// The node after it has read the first channel.
fn node() -> Unchanged {
    let mut node = Unchanged::default();
    node.apply(&changes(0, 7, None), Instant::now());
    node.insert(&channel(0), &reading(3), Some(at(9_000)), position(7));
    node
}

fn count(node: &Unchanged, changes: &Changes, later: Duration) -> Option<u32> {
    node.reading(&channel(0), changes, Instant::now() + later).map(|reading| reading.count)
}

#[test]
fn a_count_is_known_until_it_changes() {
    let mut node = node();
    for (number, changed) in [(7, &[][..]), (8, &[1]), (9, &[2, 1])] {
        let changes = changes(node.up_to(), number, Some(changed));
        node.apply(&changes, Instant::now());
        assert_eq!(count(&node, &changes, Duration::ZERO), Some(3));
    }
    let changes = changes(9, 10, Some(&[0]));
    node.apply(&changes, Instant::now());
    assert_eq!(count(&node, &changes, Duration::ZERO), None);
}

#[test]
fn a_count_is_known_until_its_next_lease_ends() {
    let node = node();
    let at = |millis| Changes { as_of: at(millis), ..changes(7, 7, Some(&[])) };
    for (millis, known) in [(3_999, None), (4_000, Some(3)), (8_999, Some(3)), (9_000, None)] {
        assert_eq!(count(&node, &at(millis), Duration::ZERO), known, "{millis}");
    }
}

#[test]
fn a_count_is_known_for_some_seconds() {
    let (node, changes) = (node(), changes(7, 7, Some(&[])));
    assert_eq!(count(&node, &changes, KNOWN_FOR - SPREAD * 16), Some(3));
    assert_eq!(count(&node, &changes, KNOWN_FOR + SPREAD), None);
}

#[test]
fn nothing_is_known_over_a_new_connection_or_without_a_list() {
    let new = Changes { epoch: Some(Epoch(2)), ..changes(7, 7, Some(&[])) };
    for changes in [new, changes(7, 0, None), changes(7, 7, None)] {
        let mut node = node();
        node.apply(&changes, Instant::now());
        assert_eq!(count(&node, &changes, Duration::ZERO), None);
        assert!(node.counts.is_empty());
    }
    let mut node = node();
    node.apply(&changes(7, 0, None), Instant::now());
    node.insert(&channel(0), &reading(3), None, position(0));
    assert!(node.counts.is_empty(), "the store does not number changes");
}

#[test]
fn a_read_that_a_change_may_have_overtaken_is_not_kept() {
    let mut node = node();
    node.apply(&changes(7, 8, Some(&[1])), Instant::now());
    node.insert(&channel(1), &reading(2), None, position(7));
    node.insert(&channel(2), &Reading { was_away: true, ..reading(2) }, None, position(8));
    assert!(!node.counts.contains_key(&channel(1)) && !node.counts.contains_key(&channel(2)));
}

#[test]
fn a_response_without_changes_is_no_position() {
    assert_eq!(changes(7, 8, Some(&[])).position(), Some(position(8)));
    assert!(changes(7, 8, None).position().is_none() && changes(0, 0, Some(&[])).position().is_none());
}

#[test]
fn nothing_is_known_for_a_while_after_the_clock_was_set_back() {
    let mut node = node();
    let start = Instant::now();
    let back = |millis| Changes { as_of: at(millis), ..changes(7, 7, Some(&[])) };
    node.apply(&back(5_001), start);
    node.apply(&back(1), start);
    assert_eq!(node.counts.len(), 1, "the response was overtaken");
    node.apply(&back(0), start);
    assert!(node.counts.is_empty());
    node.insert(&channel(0), &reading(3), None, position(7));
    assert!(node.counts.is_empty());
    node.apply(&back(9_000), start + CLOCK_SETTLES_IN);
    node.unsettled_until = Some(start);
    node.insert(&channel(0), &reading(3), None, position(7));
    assert_eq!(node.counts.len(), 1);
}

#[test]
fn names_are_known_until_they_are_old_and_with_those_that_are_entered() {
    // Both are in one part.
    let [one, other] = ["a", "q"].map(|name| ChannelId::parse(name).unwrap());
    let (part, start) = (one.part(), Instant::now());
    let names = |node: &Unchanged, changes: &Changes, now| {
        let names = node.names(&[part], changes, now)?;
        let mut names: Vec<_> = names.iter().flat_map(|names| names.iter()).cloned().collect();
        names.sort_unstable();
        Some(names)
    };
    let mut node = Unchanged::default();
    node.apply(&changes(0, 7, None), start);
    let same = changes(7, 7, Some(&[]));
    node.insert_names(part, std::slice::from_ref(&one), position(7), start);
    assert_eq!(names(&node, &same, start), Some(vec![one.clone()]));
    assert!(node.names(&[part, part + 1], &same, start).is_none());

    let entered = Changed { names: vec![other.clone()], ..Changed::default() };
    let entered = Changes { changed: Some(entered), ..changes(7, 8, None) };
    node.apply(&entered, start);
    assert_eq!(names(&node, &entered, start), Some(vec![one.clone(), other]));
    assert!(names(&node, &entered, start + NAMES_KNOWN_FOR).is_none());
    let away = Changes { was_away: true, ..changes(8, 8, Some(&[])) };
    assert!(names(&node, &away, start).is_none());

    node.insert_names(part, &[], position(7), start);
    assert_eq!(names(&node, &entered, start).unwrap().len(), 2, "the list may be older than a change");
    node.apply(&changes(8, 9, None), start);
    assert!(names(&node, &same, start).is_none());
    node.insert_names(part, &[one], position(9), start);
    assert_eq!(names(&node, &same, start).unwrap().len(), 1);
}
