//! The judgement of a wave: whether its sessions ended together or stayed equally long, and what explains it.

use serde::Serialize;

use super::{
    crowd::{Crowd, End},
    watch::{Burst, WINDOW_MS},
};
use crate::domain::Timestamp;

/// The longest time between the first and the last of what counts as the same second, in milliseconds.
const SECOND_MS: u64 = 1_000;

/// Shorter stays are not judged, in milliseconds: many real viewers close a page right away.
const MIN_STAY_MS: u64 = 30_000;

/// How long after an end it is judged, in milliseconds: by then it is known whether the sessions joined again.
pub(super) const SETTLE_MS: u64 = 40_000;

/// The share of a wave that makes it likely to be invented.
const LIKELY: f64 = 0.6;

/// The share of a wave that makes it unclear.
const UNCLEAR: f64 = 0.35;

/// The least number of sessions in a verdict other than ordinary.
const MIN_SESSIONS: usize = 12;

/// How far apart the ends of other sessions and of the wave may be, in milliseconds.
const BESIDE_MS: u32 = 2_000;

/// The least number of other sessions that say something about a wave.
const MIN_OTHERS: usize = 3;

/// How long after the end of a wave joins may belong to the same viewers, in milliseconds.
const AGAIN_MS: u32 = 30_000;

/// How a wave is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Score {
    /// Most sessions ended in the same second or stayed equally long, and nothing else explains it.
    Likely,
    /// A part of the sessions did, or something else may explain it.
    Unclear,
    /// The sessions ended at different times after stays of different lengths.
    Ordinary,
    /// Too many sessions still watch.
    Open,
}

/// What else may explain a wave that ended together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Explanation {
    /// Half of the other sessions of the channel or more ended at the same time.
    OthersEndedToo,
    /// About as many sessions joined right after the end, as when pages reload.
    JoinedAgain,
}

/// Sessions that ended in the same second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Together {
    /// The first of these ends.
    pub at: Timestamp,
    /// How many of the followed sessions.
    pub sessions: usize,
}

/// Sessions that stayed equally long, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SameLength {
    /// The shortest of these stays, in whole seconds.
    pub seconds: u64,
    /// How many of the followed sessions.
    pub sessions: usize,
}

/// The judgement of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The number of ends that are known and judged.
    pub ended: usize,
    /// The most sessions that ended in the same second.
    pub ended_together: Option<Together>,
    /// The most sessions that stayed equally long.
    pub same_length: Option<SameLength>,
    /// The larger of the two as a share of the followed sessions, 0 to 1.
    pub share: f64,
    /// The judgement in a word.
    pub score: Score,
    /// What else may explain it.
    pub explanation: Option<Explanation>,
}

impl Verdict {
    /// The verdict on a wave of which nothing is known yet.
    pub(super) const OPEN: Self = Self {
        ended: 0,
        ended_together: None,
        same_length: None,
        share: 0.0,
        score: Score::Open,
        explanation: None,
    };

    /// Judges a wave by the ends that are old enough at `now`. `others`: sessions of the channel outside of waves.
    pub(super) fn on<'a>(
        wave: &Crowd,
        others: &Crowd,
        bursts: impl Iterator<Item = &'a Burst>,
        now: Timestamp,
    ) -> Self {
        let mut ends: Vec<(u64, u64)> = settled(wave, now).collect();
        let ended = ends.len();
        ends.retain(|(_, length)| *length >= MIN_STAY_MS);
        ends.sort_unstable();
        let together = densest(&ends, |(end, _)| *end);
        let mut lengths = ends.clone();
        lengths.sort_unstable_by_key(|(_, length)| *length);
        let same_length = densest(&lengths, |(_, length)| *length);
        let is_together = together.len() >= same_length.len();
        let group = if is_together { together } else { same_length };
        let share = group.len() as f64 / wave.len().max(1) as f64;
        let counts = group.len() >= MIN_SESSIONS;
        let explanation = (counts && share >= LIKELY)
            .then(|| {
                let (first, last) = span(group)?;
                if is_together && ended_too(others, first, last, now) {
                    return Some(Explanation::OthersEndedToo);
                }
                joined_again(wave.scaled(group.len()), bursts, first, last)
                    .then_some(Explanation::JoinedAgain)
            })
            .flatten();
        let score = match (counts, explanation) {
            (true, None) if share >= LIKELY => Score::Likely,
            (true, _) if share >= UNCLEAR => Score::Unclear,
            _ if wave.stays().any(|stay| is_open(stay.end(now), now)) => Score::Open,
            _ => Score::Ordinary,
        };
        Self {
            ended,
            ended_together: together
                .first()
                .map(|(at, _)| Together { at: Timestamp::from_millis(*at), sessions: together.len() }),
            same_length: same_length
                .first()
                .map(|(_, length)| SameLength { seconds: length / 1_000, sessions: same_length.len() }),
            share,
            score,
            explanation,
        }
    }

    /// Whether this verdict is on the same sessions as another one.
    pub(super) fn has_groups_of(&self, other: &Self) -> bool {
        (self.ended_together, self.same_length) == (other.ended_together, other.same_length)
    }
}

/// The number of ends in a crowd that can be judged at `now`.
pub(super) fn settled_ends(crowd: &Crowd, now: Timestamp) -> usize {
    settled(crowd, now).count()
}

/// The ends that can be judged, each with the length of the stay, in milliseconds.
fn settled(crowd: &Crowd, now: Timestamp) -> impl Iterator<Item = (u64, u64)> {
    crowd.stays().filter_map(move |stay| match stay.end(now) {
        End::At(end) if end.as_millis() + SETTLE_MS <= now.as_millis() => {
            Some((end.as_millis(), end.as_millis().saturating_sub(stay.since.as_millis())))
        }
        _ => None,
    })
}

/// Whether a stay may still change the verdict.
pub(super) fn is_open(end: End, now: Timestamp) -> bool {
    match end {
        End::Open => true,
        End::At(end) => end.as_millis() + SETTLE_MS > now.as_millis(),
        End::Unknown => false,
    }
}

/// The longest part of a sorted list whose values are within a second.
fn densest(sorted: &[(u64, u64)], value: impl Fn(&(u64, u64)) -> u64) -> &[(u64, u64)] {
    let (mut from, mut best) = (0, 0..0);
    for (to, item) in sorted.iter().enumerate() {
        while value(item) - value(&sorted[from]) > SECOND_MS {
            from += 1;
        }
        if to + 1 - from > best.len() {
            best = from..to + 1;
        }
    }
    &sorted[best]
}

/// The first and the last end of a group.
fn span(group: &[(u64, u64)]) -> Option<(Timestamp, Timestamp)> {
    let ends = || group.iter().map(|(end, _)| *end);
    Some((Timestamp::from_millis(ends().min()?), Timestamp::from_millis(ends().max()?)))
}

/// Whether half of the other sessions or more ended with the wave.
fn ended_too(others: &Crowd, first: Timestamp, last: Timestamp, now: Timestamp) -> bool {
    let (from, to) = (first.minus_millis(BESIDE_MS), last.plus_millis(BESIDE_MS));
    let (mut present, mut ended) = (0, 0);
    for stay in others.stays().filter(|stay| stay.since < from) {
        match stay.end(now) {
            End::Open => present += 1,
            End::At(end) if end >= from => {
                present += 1;
                ended += usize::from(end <= to);
            }
            End::At(_) | End::Unknown => {}
        }
    }
    present >= MIN_OTHERS && ended * 2 >= present
}

/// Whether at least half as many sessions as a group of `sessions` joined right after its end, beyond what is usual.
fn joined_again<'a>(
    sessions: u32,
    bursts: impl Iterator<Item = &'a Burst>,
    first: Timestamp,
    last: Timestamp,
) -> bool {
    // A window that began before the end may go on after it.
    let (from, to) = (first.minus_millis(WINDOW_MS), last.plus_millis(AGAIN_MS));
    let after = bursts.filter(|burst| burst.from >= from && burst.from <= to);
    let excess: f64 = after.map(|burst| burst.excess).sum();
    excess * 2.0 >= f64::from(sessions)
}
