//! The figures of a script, by the plainest arithmetic. All instants are in milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use aforo::domain::ViewerId;

use super::MINUTE;

/// The time in which a page of a viewer counts.
#[derive(Debug, Clone, Copy)]
pub struct Stay {
    pub viewer: ViewerId,
    pub host: Option<&'static str>,
    pub from: u64,
    pub to: u64,
}

/// The figures of a script, by the plainest arithmetic.
pub struct Model {
    /// The count after each event, in their order.
    steps: Vec<(u64, u32)>,
    pub uniques: usize,
    /// The peak, and when it was first reached.
    pub peak: (u32, u64),
    /// Who is new, by minute and host.
    pub new: BTreeMap<(u64, Option<&'static str>), u64>,
}

impl Model {
    pub fn new(stays: &[Stay]) -> Self {
        let edges = stays.iter().flat_map(|stay| [(stay.from, true, stay), (stay.to, false, stay)]);
        let mut edges: Vec<_> = edges.filter(|(_, _, stay)| stay.from < stay.to).collect();
        // At one instant, whoever goes is gone before the others come.
        edges.sort_by_key(|(at, comes, _)| (*at, *comes));
        let (mut present, mut steps, mut peak) = (BTreeMap::<_, u32>::new(), Vec::new(), (0, 0));
        let mut count = 0;
        for (at, comes, stay) in edges {
            let pages = present.entry(stay.viewer.uuid()).or_default();
            if comes {
                *pages += 1;
                count += u32::from(*pages == 1);
            } else {
                *pages -= 1;
                count -= u32::from(*pages == 0);
            }
            steps.push((at, count));
            if count > peak.0 {
                peak = (count, at);
            }
        }
        let mut stays: Vec<_> = stays.iter().collect();
        stays.sort_by_key(|stay| stay.from);
        let (mut known, mut new) = (BTreeSet::new(), BTreeMap::new());
        for stay in stays {
            if known.insert(stay.viewer.uuid()) {
                *new.entry((stay.from / MINUTE, stay.host)).or_default() += 1;
            }
        }
        Self { steps, uniques: known.len(), peak, new }
    }

    /// The events from one instant to another.
    fn during(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u32)> {
        self.steps.iter().copied().filter(move |(at, _)| (from..to).contains(at))
    }

    /// The viewer-milliseconds of a span.
    pub fn watched(&self, from: u64, to: u64) -> u64 {
        let (mut at, mut count, mut sum) = (from, self.at(from), 0);
        for (next, value) in self.during(from, to) {
            sum += (next - at) * u64::from(count);
            (at, count) = (next, value);
        }
        sum + (to - at) * u64::from(count)
    }

    /// The count at an instant.
    pub fn at(&self, at: u64) -> u32 {
        self.during(0, at + 1).last().map_or(0, |(_, count)| count)
    }

    /// The lowest and the highest count of a minute.
    pub fn extremes(&self, from: u64) -> (u32, u32) {
        let all: Vec<u32> =
            self.during(from, from + MINUTE).map(|(_, count)| count).chain([self.at(from)]).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    }
}
