//! Random histories of a channel on several nodes, against a plain model with one cell per millisecond.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::{track::Change, *};
use crate::domain::{Timestamp, ViewerId};

const START: u64 = 1_790_000_039_000;
const GAP: Duration = Duration::from_secs(5);
const NODES: usize = 3;
const KEY: HashKey = HashKey::new([7; 16]);

#[derive(Debug, Clone)]
enum Step {
    /// Viewers come or go, and a node sees the new count at its write.
    Change { node: usize, viewer: u16, joins: bool },
    /// The owners read the count.
    Sample,
    /// A node cannot read the count any more.
    Unknown { node: usize },
    /// A node begins or ceases to believe that it owns the channel.
    Own { node: usize, owns: bool },
    /// A node hears of an older count.
    Late { node: usize, by: u64, count: u32 },
    /// A node writes its rows.
    Write { node: usize },
    /// A node is killed, and starts again without its memory.
    Kill { node: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        6 => (node.clone(), 0..400_u16, prop::bool::weighted(0.6))
            .prop_map(|(node, viewer, joins)| Step::Change { node, viewer, joins }),
        8 => Just(Step::Sample),
        1 => node.clone().prop_map(|node| Step::Unknown { node }),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, owns)| Step::Own { node, owns }),
        1 => (node.clone(), 1..60_000_u64, 0..500_u32).prop_map(|(node, by, count)| Step::Late { node, by, count }),
        3 => node.clone().prop_map(|node| Step::Write { node }),
        1 => node.prop_map(|node| Step::Kill { node }),
    ]
}

/// What a node has seen, as the model keeps it: everything, in the order in which it came.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Count { at: u64, count: u32, owned: bool },
    Unknown,
}

#[derive(Default)]
struct Node {
    track: Track,
    viewers: Sketch,
    owns: bool,
    seen: Vec<Seen>,
    /// What of it is in rows that were written, and survives a kill.
    written: usize,
    /// The runs of this node before the present one.
    earlier: Vec<Vec<Seen>>,
}

/// What a track can learn, and that its news are written.
#[derive(Debug, Clone, Copy)]
enum News {
    Sample { count: u32 },
    Call { count: u32 },
    Late { by: u64, count: u32 },
    Unknown,
    PartUnknown,
    Write,
}

fn any_news() -> impl Strategy<Value = News> {
    prop_oneof![
        8 => (1..3_u32).prop_map(|count| News::Sample { count }),
        4 => (1..3_u32).prop_map(|count| News::Call { count }),
        1 => (1..60_000_u64, 0..4_u32).prop_map(|(by, count)| News::Late { by, count }),
        1 => Just(News::Unknown),
        1 => Just(News::PartUnknown),
        4 => Just(News::Write),
    ]
}

/// The watch time and observed time of every second, by the plain rule: a cell per millisecond.
fn plain_seconds(seen: &[Seen]) -> BTreeMap<u64, (u64, u64)> {
    let mut cells = BTreeMap::<u64, u32>::new();
    let mut newest: Option<(u64, u32, bool)> = None;
    for one in seen {
        let Seen::Count { at, count, owned } = *one else {
            newest = newest.map(|(at, count, _)| (at, count, false));
            continue;
        };
        if newest.is_some_and(|(newest, ..)| at < newest) {
            continue;
        }
        if let Some((from, held, true)) = newest
            && owned
            && at - from <= u64::try_from(GAP.as_millis()).unwrap()
        {
            cells.extend((from..at).map(|millisecond| (millisecond, held)));
        }
        newest = Some((at, count, owned));
    }
    let mut seconds = BTreeMap::<u64, (u64, u64)>::new();
    for (millisecond, count) in cells {
        let second = seconds.entry(millisecond / 1000).or_default();
        second.0 += 1;
        second.1 += u64::from(count);
    }
    seconds
}

/// Writes the changed minutes of a node as rows in their stored form.
fn write(node: &mut Node, rows: &mut Vec<(u64, Vec<u8>)>, now: u64) {
    for TakenMinute { start, minute, .. } in node.track.take_dirty(Timestamp::from_millis(now)) {
        rows.push((start.as_millis(), minute.encode()));
    }
    node.written = node.seen.len();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn merged_rows_say_what_the_plain_model_says(
        steps in vec((1..2500_u64, any_step()), 1..150), order: u64,
    ) {
        let mut nodes: [Node; NODES] = Default::default();
        let mut rows = Vec::new();
        let mut sketches = Vec::new();
        let mut present = HashSet::new();
        let mut ever = HashSet::new();
        let mut now = START;
        nodes[0].owns = true;
        let observe = |node: &mut Node, at: u64, count: u32| {
            node.track.observe(count, Timestamp::from_millis(at), node.owns, GAP);
            node.seen.push(Seen::Count { at, count, owned: node.owns });
        };
        for (pause, step) in steps {
            now += pause;
            match step {
                Step::Change { node, viewer, joins: true } => {
                    present.insert(viewer);
                    ever.insert(viewer);
                    let id = ViewerId::new(Uuid::from_u128(u128::from(viewer) + 1)).unwrap();
                    nodes[node].viewers.insert(id, &KEY);
                    nodes[node].track.arrive(node as u64, Place::Site, Timestamp::from_millis(now));
                    sketches.push(nodes[node].viewers.encode());
                    observe(&mut nodes[node], now, u32::try_from(present.len()).unwrap());
                }
                Step::Change { node, viewer, joins: false } => {
                    present.remove(&viewer);
                    observe(&mut nodes[node], now, u32::try_from(present.len()).unwrap());
                }
                Step::Sample => {
                    for node in nodes.iter_mut().filter(|node| node.owns) {
                        observe(node, now, u32::try_from(present.len()).unwrap());
                    }
                }
                Step::Unknown { node } => {
                    nodes[node].track.unknown(Timestamp::from_millis(now));
                    nodes[node].seen.push(Seen::Unknown);
                }
                Step::Own { node, owns } => nodes[node].owns = owns,
                Step::Late { node, by, count } => observe(&mut nodes[node], now - by, count),
                Step::Write { node } => write(&mut nodes[node], &mut rows, now),
                Step::Kill { node } => {
                    let Node { mut seen, written, mut earlier, viewers, .. } = std::mem::take(&mut nodes[node]);
                    seen.truncate(written);
                    earlier.push(seen);
                    nodes[node] = Node { viewers, earlier, ..Node::default() };
                }
            }
        }
        for node in &mut nodes {
            write(node, &mut rows, now);
        }

        // Rows are read in any order, and repeatedly.
        let mut merged = BTreeMap::<u64, Minute>::new();
        let mut shuffled = [rows.clone(), rows].concat();
        shuffled.sort_by_key(|(start, row)| {
            let mix = |hash: u64, byte: &u8| (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9);
            row.iter().fold(order ^ start, mix)
        });
        for (start, row) in shuffled {
            merged.entry(start).or_default().merge(&Minute::decode(&row).unwrap());
        }
        let mut tally = Tally::default();
        for (start, minute) in &merged {
            tally.add(&Tally::of_minute(Timestamp::from_millis(*start), minute));
        }

        // The model: of each second the better observation of any run of a node.
        let runs = nodes.iter().flat_map(|node| node.earlier.iter().chain([&node.seen]));
        let runs: Vec<Vec<Seen>> = runs.cloned().collect();
        let mut seconds = BTreeMap::<u64, (u64, u64)>::new();
        for (second, figures) in runs.iter().flat_map(|run| plain_seconds(run)) {
            let best = seconds.entry(second).or_default();
            *best = figures.max(*best);
        }
        let observed: u64 = seconds.values().map(|(observed, _)| observed).sum();
        let watched: u64 = seconds.values().map(|(_, watched)| watched).sum();
        prop_assert_eq!((tally.observed_ms, tally.watched_ms), (observed, watched));
        for (second, (observed, watched)) in &seconds {
            let minute = &merged[&(second / 60 * 60_000)];
            let found = minute.seconds()[usize::try_from(second % 60).unwrap()];
            prop_assert_eq!((u64::from(found.observed_ms()), found.watched_ms()), (*observed, *watched));
        }
        let counts = || runs.iter().flatten().filter_map(|seen| match *seen {
            Seen::Count { at, count, .. } => Some((count, at)),
            Seen::Unknown => None,
        });
        let highest = counts().map(|(count, _)| count).max();
        let peak = highest.map(|highest| {
            let earliest = counts().filter(|(count, _)| *count == highest).map(|(_, at)| at).min();
            Peak { count: highest, at: Timestamp::from_millis(earliest.unwrap()) }
        });
        prop_assert_eq!(tally.peak, peak);
        prop_assert_eq!(tally.lowest, counts().map(|(count, _)| count).min());

        // Distinct viewers, and the identity of the mean.
        let mut viewers = Sketch::default();
        for sketch in sketches.iter().rev().chain(&sketches) {
            viewers.merge(&Sketch::decode(sketch).unwrap());
        }
        prop_assert_eq!(viewers.count(), ever.len() as u64);
        let range = Span::new(Timestamp::from_millis(START - 60_000), Timestamp::from_millis(now));
        let figures = Figures::new(range, None, &tally, &viewers);
        prop_assert_eq!(figures.watch_seconds, watched as f64 / 1000.0);
        let length = range.millis() as f64 / 1000.0;
        let expected = figures.average.unwrap_or(0.0) * figures.observed * length;
        prop_assert!((expected - figures.watch_seconds).abs() <= 1e-9 * figures.watch_seconds.max(1.0));
        prop_assert!((0.0..=1.0).contains(&figures.observed));
    }

    /// A row that is not written again while its count holds says, with the row of the part, what it would say by itself.
    #[test]
    fn rows_that_are_not_rewritten_say_the_same(
        steps in vec((1..2500_u64, any_news()), 1..200),
    ) {
        let at = Timestamp::from_millis;
        let (mut track, mut part) = (Track::default(), Track::default());
        let (mut rows, mut parts) = (BTreeMap::new(), BTreeMap::new());
        let (mut now, mut sampled, mut has_gap) = (START, START, false);
        for (pause, step) in steps.into_iter().chain([(1, News::Sample { count: 1 }), (1, News::Write)]) {
            now += pause;
            match step {
                News::Sample { count } => {
                    track.observe(count, at(now), true, GAP);
                    has_gap |= !part.observe(0, at(now), true, GAP);
                    sampled = now;
                }
                News::Call { count } => _ = track.observe(count, at(now), true, GAP),
                News::Late { by, count } => _ = track.observe(count, at(now - by), true, GAP),
                News::Unknown => {
                    track.unknown(at(now));
                    part.unknown(at(now));
                    has_gap = true;
                }
                News::PartUnknown => {
                    part.unknown(at(now));
                    has_gap = true;
                }
                News::Write => {
                    for taken in part.take_dirty(at(now)) {
                        parts.insert(taken.start, taken);
                    }
                    let least = if std::mem::take(&mut has_gap) { Change::Time } else { Change::News };
                    for taken in track.take(least, at(now)) {
                        rows.insert(taken.start, taken);
                    }
                    for TakenMinute { start, minute: whole, .. } in track.clone().take(Change::None, at(now)) {
                        let minute = rows[&start].clone().held_until(parts.get(&start).and_then(TakenMinute::observed_until));
                        prop_assert_eq!(minute.peak(), whole.peak());
                        for (nth, (second, whole)) in (1..).zip(minute.seconds().iter().zip(whole.seconds())) {
                            // What a call has shown after the last sample is written after the next one.
                            if start.as_millis() + nth * 1_000 <= sampled {
                                prop_assert_eq!(second, whole, "second {} of {:?}", nth, start);
                            }
                            prop_assert!(second.observed_ms() <= whole.observed_ms());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_mean_is_watch_time_by_observed_time(watched in 0..u64::MAX / 2, observed: u32, length: u32) {
        let tally = Tally { watched_ms: watched, observed_ms: u64::from(observed), ..Tally::default() };
        let range = Span::new(Timestamp::from_millis(START), Timestamp::from_millis(START + u64::from(length)));
        let figures = Figures::new(range, Some(range.to), &tally, &Sketch::default());
        let product = figures.average.unwrap_or(0.0) * figures.observed * f64::from(length) / 1000.0;
        prop_assert!((product - figures.watch_seconds).abs() <= 1e-9 * figures.watch_seconds.max(1.0));
        prop_assert_eq!(figures.average.is_none(), observed == 0 || length == 0);
    }
}

#[test]
fn figures_are_written_in_camel_case_and_unknown_ones_as_null() {
    let range = Span::new(Timestamp::from_millis(5), Timestamp::from_millis(5));
    let figures = Figures::new(range, None, &Tally::default(), &Sketch::default());
    let expected = serde_json::json!({
        "startedAt": 5, "endedAt": null, "peak": null, "peakAt": null, "average": null, "watchSeconds": 0.0,
        "uniques": 0, "observed": 0.0,
    });
    assert_eq!(serde_json::to_value(&figures).unwrap(), expected);
}
