//! The watch over one channel: finds waves of joins, follows their sessions, and keeps what came of it for some hours.
//! It has no clock and no input or output, and its memory has a limit.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::{
    crowd::{Crowd, Stay},
    verdict::{Score, Verdict, is_open, settled_ends},
};
use crate::domain::Timestamp;

/// The window in which joins are counted, in milliseconds.
pub(super) const WINDOW_MS: u32 = 10_000;

/// The joins of a window that are no wave however quiet the channel is.
const MIN_JOINS: f64 = 20.0;

/// How many times the usual number of joins a wave has, beyond [`MIN_JOINS`].
const TIMES_USUAL: f64 = 4.0;

/// The number of windows over which the usual number of joins is averaged: five minutes.
const USUAL_WINDOWS: f64 = 30.0;

/// Windows that follow each other this closely are one wave, in milliseconds.
const GAP_MS: u32 = 2_000;

/// The longest wave, in milliseconds.
const MAX_WAVE_MS: u32 = 60_000;

/// The most sessions of a wave that are followed.
pub(super) const MAX_FOLLOWED: usize = 1_024;

/// The most waves of a channel that are followed at a time.
pub(super) const MAX_WAVES: usize = 8;

/// How long a wave is followed.
const MAX_FOLLOW: Duration = Duration::from_secs(12 * 3_600);

/// The most sessions outside of waves that are followed for comparison.
pub(super) const MAX_OTHERS: usize = 32;

/// How long the end of such a session is remembered.
const OTHERS_FOR: Duration = Duration::from_secs(300);

/// The number of past windows whose joins are remembered.
const MAX_BURSTS: usize = 64;

/// How long results are kept.
pub(super) const KEEP: Duration = Duration::from_secs(6 * 3_600);

/// The most results of a channel. Beyond, ordinary ones go first.
pub(super) const MAX_RESULTS: usize = 32;

/// The hours that are kept: six, and the present one.
const MAX_HOURS: usize = 7;

const HOUR_MS: u64 = 3_600_000;

/// The joins of one window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    /// The first join.
    pub from: Timestamp,
    /// How many more joins there were than usual.
    pub excess: f64,
}

/// The watch over one channel.
#[derive(Debug)]
pub(super) struct Watch {
    /// When the watch began.
    since: Timestamp,
    /// The last join.
    active: Timestamp,
    /// The usual number of joins in a window.
    usual: f64,
    /// When the last window began.
    last_window: Timestamp,
    /// The present window.
    window: Option<Window>,
    waves: Vec<Wave>,
    others: Crowd,
    bursts: VecDeque<Burst>,
    hours: VecDeque<Hour>,
    results: VecDeque<WaveReport>,
    /// When sessions were last not followed because of a limit.
    missed: Option<Timestamp>,
    /// What was found since [`Watch::advance`] was last called.
    found: Found,
}

/// Joins that came one after the other.
#[derive(Debug)]
struct Window {
    from: Timestamp,
    to: Timestamp,
    crowd: Crowd,
}

/// A wave that is followed.
#[derive(Debug)]
struct Wave {
    window: Window,
    usual: f64,
    verdict: Verdict,
    /// Whether it was reported as likely.
    is_told: bool,
}

/// The joins of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hour {
    /// The start of the hour.
    pub at: Timestamp,
    /// The sessions that joined at this node.
    pub joins: u32,
    /// How many of them belong to waves that are likely to be invented.
    pub likely_invented: u32,
}

/// A wave and its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveReport {
    /// The first join.
    pub from: Timestamp,
    /// The last join.
    pub to: Timestamp,
    /// The sessions that joined. Above 1,024 an estimate.
    pub joins: u32,
    /// The usual number of joins in ten seconds at that time.
    pub usual_joins: f64,
    /// The sessions that are followed: all, or a random sample of a large wave.
    pub followed: usize,
    /// The judgement.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// When the wave was dropped from the watch. Not part of the answer.
    #[serde(skip)]
    done: Timestamp,
}

/// What a node knows of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelReport {
    /// When the watch over the channel began.
    pub since: Timestamp,
    /// Whether all sessions were followed that a limit did not leave out.
    pub is_complete: bool,
    /// The hours with joins, oldest first.
    pub hours: Vec<Hour>,
    /// The waves, oldest first.
    pub waves: Vec<WaveReport>,
}

/// Waves that were found to be likely inventions, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub waves: u64,
    pub joins: u64,
}

impl Watch {
    /// A watch that begins now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            active: now,
            usual: 0.0,
            last_window: now,
            window: None,
            waves: Vec::new(),
            others: Crowd::new(MAX_OTHERS),
            bursts: VecDeque::new(),
            hours: VecDeque::new(),
            results: VecDeque::new(),
            missed: None,
            found: Found::default(),
        }
    }

    /// Records a join. Without `has_room` a new session is not followed.
    pub(super) fn join(&mut self, id: u64, at: Timestamp, lease: Duration, has_room: bool) {
        self.active = self.active.max(at);
        if self.touch(id, at, lease) {
            // A repeated join is a beat.
            return;
        }
        self.close_window(at);
        if !has_room {
            self.missed = Some(at);
            return;
        }
        let window =
            self.window.get_or_insert_with(|| Window { from: at, to: at, crowd: Crowd::new(MAX_FOLLOWED) });
        window.to = window.to.max(at);
        window.crowd.admit(id, Stay::joined(at, lease));
    }

    /// Records a beat.
    pub(super) fn beat(&mut self, id: u64, at: Timestamp, lease: Duration) {
        if !self.touch(id, at, lease) && self.is_outside_of_waves() {
            // It joined at another node, or before this node started.
            self.others.admit(id, Stay::joined(at, lease));
        }
    }

    /// Records a leave.
    pub(super) fn leave(&mut self, id: u64, at: Timestamp) {
        self.crowds().for_each(|crowd| crowd.leave(id, at));
    }

    /// Brings the watch to the present: closes the window, judges waves, drops what is too old.
    pub(super) fn advance(&mut self, now: Timestamp) -> Found {
        self.close_window(now);
        let (mut open, mut done) = (Vec::new(), Vec::new());
        for mut wave in std::mem::take(&mut self.waves) {
            if settled_ends(&wave.window.crowd, now) != wave.verdict.ended {
                wave.judge(&self.others, self.bursts.iter(), now);
            }
            self.tell(&mut wave);
            let has_open = || wave.window.crowd.stays().any(|stay| is_open(stay.end(now), now));
            if now > wave.window.from + MAX_FOLLOW || !has_open() {
                done.push(wave);
            } else {
                open.push(wave);
            }
        }
        self.waves = open;
        for mut wave in done {
            wave.judge(&self.others, self.bursts.iter(), now);
            self.finish(wave, now);
        }
        self.others.forget(now - OTHERS_FOR, now);
        while self.hours.front().is_some_and(|hour| hour.at + KEEP + Duration::from_millis(HOUR_MS) <= now) {
            self.hours.pop_front();
        }
        self.results.retain(|result| result.done + KEEP > now);
        self.missed = self.missed.filter(|missed| *missed + KEEP > now);
        std::mem::take(&mut self.found)
    }

    /// The sessions of windows and waves that are followed.
    pub(super) fn followed(&self) -> usize {
        let windows = self.window.iter().chain(self.waves.iter().map(|wave| &wave.window));
        windows.map(|window| window.crowd.len()).sum()
    }

    /// Whether nothing is lost when the watch is dropped. Under pressure, results that say nothing may be lost.
    pub(super) fn is_over(&self, now: Timestamp, is_under_pressure: bool) -> bool {
        let is_quiet = self.window.is_none() && self.waves.is_empty() && now > self.active + OTHERS_FOR;
        let is_dispensable =
            |result: &WaveReport| is_under_pressure && result.verdict.score == Score::Ordinary;
        is_quiet && (is_under_pressure || self.hours.is_empty()) && self.results.iter().all(is_dispensable)
    }

    /// What is known of the channel.
    pub(super) fn report(&self) -> ChannelReport {
        let open = self.waves.iter().map(|wave| wave.report(Timestamp::default()));
        let mut waves: Vec<_> = self.results.iter().copied().chain(open).collect();
        waves.sort_by_key(|wave| wave.from);
        ChannelReport {
            since: self.since,
            is_complete: self.missed.is_none(),
            hours: self.hours.iter().copied().collect(),
            waves,
        }
    }

    /// Records a beat of a session that is followed. Returns whether there is one.
    fn touch(&mut self, id: u64, at: Timestamp, lease: Duration) -> bool {
        self.crowds().any(|crowd| crowd.beat(id, at, lease))
    }

    /// Whether a session that is in no crowd is outside of waves: large waves are followed by a sample only.
    fn is_outside_of_waves(&self) -> bool {
        let mut windows = self.window.iter().chain(self.waves.iter().map(|wave| &wave.window));
        windows.all(|window| window.crowd.is_whole())
    }

    fn crowds(&mut self) -> impl Iterator<Item = &mut Crowd> {
        let windows = self.window.iter_mut().chain(self.waves.iter_mut().map(|wave| &mut wave.window));
        windows.map(|window| &mut window.crowd).chain([&mut self.others])
    }

    /// Closes the present window if it is over at `at`, and decides whether it is a wave.
    fn close_window(&mut self, at: Timestamp) {
        let Some(window) = self.window.take_if(|window| at >= window.from.plus_millis(WINDOW_MS)) else {
            return;
        };
        let joins = window.crowd.total();
        self.count_hour(window.from, joins);
        // Windows without joins since the last one count too.
        let elapsed = window.from.as_millis().saturating_sub(self.last_window.as_millis());
        let windows = u32::try_from(elapsed / u64::from(WINDOW_MS)).unwrap_or(u32::MAX);
        self.usual *= (1.0 - 1.0 / USUAL_WINDOWS).powf(f64::from(windows.saturating_sub(1)));
        self.last_window = window.from;
        let (usual, joins) = (self.usual, f64::from(joins));
        if self.bursts.len() == MAX_BURSTS {
            self.bursts.pop_front();
        }
        self.bursts.push_back(Burst { from: window.from, excess: joins - usual });
        let threshold = MIN_JOINS + TIMES_USUAL * usual;
        // A wave moves the usual number only a little.
        self.usual += (joins.min(threshold) - usual) / USUAL_WINDOWS;
        if joins < threshold {
            self.others.absorb(window.crowd);
            return;
        }
        let continued = self.waves.iter_mut().find(|wave| {
            window.from <= wave.window.to.plus_millis(GAP_MS)
                && window.to <= wave.window.from.plus_millis(MAX_WAVE_MS)
        });
        if let Some(wave) = continued {
            wave.window.to = wave.window.to.max(window.to);
            wave.window.crowd.absorb(window.crowd);
            return;
        }
        if self.waves.len() == MAX_WAVES {
            let mut oldest = self.waves.remove(0);
            oldest.judge(&self.others, self.bursts.iter(), at);
            self.finish(oldest, at);
            self.missed = Some(at);
        }
        self.waves.push(Wave { window, usual, verdict: Verdict::OPEN, is_told: false });
    }

    fn count_hour(&mut self, at: Timestamp, joins: u32) {
        let at = hour(at);
        match self.hours.iter_mut().find(|hour| hour.at == at) {
            Some(hour) => hour.joins = hour.joins.saturating_add(joins),
            None => {
                if self.hours.len() == MAX_HOURS {
                    self.hours.pop_front();
                }
                self.hours.push_back(Hour { at, joins, likely_invented: 0 });
            }
        }
    }

    /// Counts a wave that has become likely to be invented.
    fn tell(&mut self, wave: &mut Wave) {
        if wave.verdict.score != Score::Likely || wave.is_told {
            return;
        }
        wave.is_told = true;
        let joins = wave.window.crowd.total();
        self.found.waves += 1;
        self.found.joins += u64::from(joins);
        let start = hour(wave.window.from);
        if let Some(hour) = self.hours.iter_mut().find(|hour| hour.at == start) {
            hour.likely_invented = hour.likely_invented.saturating_add(joins);
        }
    }

    fn finish(&mut self, mut wave: Wave, now: Timestamp) {
        self.tell(&mut wave);
        if self.results.len() == MAX_RESULTS {
            let ordinary = |result: &WaveReport| result.verdict.score == Score::Ordinary;
            let dropped = self.results.iter().position(ordinary).unwrap_or_default();
            self.results.remove(dropped);
        }
        self.results.push_back(wave.report(now));
    }
}

impl Wave {
    fn judge<'a>(&mut self, others: &Crowd, bursts: impl Iterator<Item = &'a Burst>, now: Timestamp) {
        let verdict = Verdict::on(&self.window.crowd, others, bursts, now);
        // What explains an end is known right after it, and forgotten later.
        let is_known = verdict.has_groups_of(&self.verdict) && self.verdict.score != Score::Open;
        self.verdict = if is_known { Verdict { ended: verdict.ended, ..self.verdict } } else { verdict };
    }

    fn report(&self, done: Timestamp) -> WaveReport {
        WaveReport {
            from: self.window.from,
            to: self.window.to,
            joins: self.window.crowd.total(),
            usual_joins: (self.usual * 10.0).round() / 10.0,
            followed: self.window.crowd.len(),
            verdict: self.verdict,
            done,
        }
    }
}

fn hour(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis() / HOUR_MS * HOUR_MS)
}
