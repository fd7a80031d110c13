//! The watch over a channel against simulated crowds, honest and invented ones, and against random acts.

use std::{sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestRng},
};
use uuid::Uuid;

use super::{
    watch::{Found, MAX_FOLLOWED, MAX_RESULTS, MAX_WAVES},
    *,
};
use crate::{domain::Timestamp, server::clock::ManualClock};

const LEASE: Duration = Duration::from_secs(60);
const START: u64 = 1_790_000_000_000;
const SECOND: f64 = 1_000.0;
const MINUTE: f64 = 60_000.0;

/// An act of a session at a time in milliseconds after [`START`].
#[derive(Debug, Clone, Copy)]
enum What {
    Join,
    Beat,
    Leave,
}

/// A crowd that is simulated: its acts, in any order.
struct Sim {
    random: TestRng,
    acts: Vec<(u64, u64, What)>,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are positive and small")]
impl Sim {
    fn new(seed: u8) -> Self {
        Self { random: TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]), acts: Vec::new() }
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, from: f64, to: f64) -> f64 {
        from + self.unit() * (to - from)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum();
        mean + (sum - 6.0) * deviation
    }

    /// A session that joins, beats at intervals from `pauses`, and ends with or without a leave.
    fn session(&mut self, join: f64, end: f64, pauses: (f64, f64), leaves: bool) {
        let id = self.random.next_u64();
        let (join, end) = (join.max(0.0), end.max(join));
        self.acts.push((join as u64, id, What::Join));
        let mut beat = join + self.between(pauses.0, pauses.1);
        while beat < end {
            self.acts.push((beat as u64, id, What::Beat));
            beat += self.between(pauses.0, pauses.1);
        }
        if leaves {
            self.acts.push((end as u64, id, What::Leave));
        }
    }

    /// A page: beats with jitter, and one in ten goes without a leave.
    fn page(&mut self, join: f64, end: f64) {
        let leaves = self.unit() < 0.9;
        self.session(join, end, (24.0 * SECOND, 30.0 * SECOND), leaves);
    }

    /// A program that beats exactly every 30 s.
    fn program(&mut self, join: f64, end: f64, leaves: bool) {
        self.session(join, end, (30.0 * SECOND, 30.0 * SECOND), leaves);
    }

    /// An audience that comes and goes: `per_minute` joins, who stay for 20 minutes on average.
    fn audience(&mut self, per_minute: f64, until: f64) {
        let mut at = 0.0;
        while at < until {
            at += self.exponential(MINUTE / per_minute);
            let stay = self.exponential(20.0 * MINUTE);
            self.page(at, at + stay);
        }
    }

    /// What a watch reports of the crowd long after its end.
    fn watch(mut self) -> ChannelReport {
        self.acts.sort_unstable_by_key(|(at, _, _)| *at);
        let at = |millis: u64| Timestamp::from_millis(START + millis);
        let mut watch = Watch::new(at(0));
        let mut round = 0;
        for (millis, id, what) in self.acts {
            while round <= millis {
                let _found = watch.advance(at(round));
                round += 10_000;
            }
            match what {
                What::Join => watch.join(id, at(millis), LEASE, true),
                What::Beat => watch.beat(id, at(millis), LEASE),
                What::Leave => watch.leave(id, at(millis)),
            }
        }
        for round in (round..round + 300_000).step_by(10_000) {
            let _found = watch.advance(at(round));
        }
        watch.report()
    }
}

const SEEDS: u8 = 20;

/// How many of the simulations with a scenario have a wave that is likely to be invented, and how many have an unclear
/// one at most.
fn judged(scenario: impl Fn(&mut Sim)) -> (usize, usize) {
    let has = |report: &ChannelReport, score| report.waves.iter().any(|wave| wave.verdict.score == score);
    (0..SEEDS).fold((0, 0), |(likely, unclear), seed| {
        let mut sim = Sim::new(seed);
        scenario(&mut sim);
        let report = sim.watch();
        assert!(report.is_complete);
        let is_likely = has(&report, Score::Likely);
        let is_unclear = !is_likely && has(&report, Score::Unclear);
        (likely + usize::from(is_likely), unclear + usize::from(is_unclear))
    })
}

/// Many join within seconds and leave at different times.
fn raid(sim: &mut Sim, mean_stay: f64) {
    sim.audience(10.0, 60.0 * MINUTE);
    for _ in 0..300 {
        let join = 20.0 * MINUTE + sim.exponential(4.0 * SECOND);
        let stay = sim.exponential(mean_stay);
        sim.page(join, join + stay);
    }
}

/// A class joins within a minute and leaves at the bell.
fn class(sim: &mut Sim, pupils: usize, deviation: f64) {
    for _ in 0..pupils {
        let join = sim.between(5.0 * MINUTE, 6.0 * MINUTE);
        let end = sim.normal(50.0 * MINUTE, deviation);
        sim.page(join, end);
    }
}

/// Programs join within five seconds.
fn programs(sim: &mut Sim, number: usize, leaves: bool) {
    for _ in 0..number {
        let join = 10.0 * MINUTE + sim.unit() * 5.0 * SECOND;
        let end = 40.0 * MINUTE + sim.unit() * 0.5 * SECOND;
        sim.program(join, end, leaves);
    }
}

#[test]
fn honest_waves_are_not_told_as_inventions() {
    let check = |name: &str, most_unclear: usize, scenario: &dyn Fn(&mut Sim)| {
        let (likely, unclear) = judged(scenario);
        println!("{name}: likely {likely}, unclear {unclear} of {SEEDS}");
        assert_eq!(likely, 0, "{name}");
        assert!(unclear <= most_unclear, "{name}: {unclear} unclear");
    };
    check("audience", 0, &|sim| sim.audience(60.0, 60.0 * MINUTE));
    check("raid, 5 minutes on average", 0, &|sim| raid(sim, 5.0 * MINUTE));
    check("raid, 30 seconds on average", 0, &|sim| raid(sim, 30.0 * SECOND));
    check("pages of a host that end at one instant", 0, &|sim| {
        sim.audience(5.0, 60.0 * MINUTE);
        for _ in 0..200 {
            let join = sim.between(0.0, 30.0 * MINUTE);
            let end = 40.0 * MINUTE + sim.unit() * 300.0;
            sim.page(join, end);
        }
    });
    check("class of 30, within 6 seconds of the bell", 0, &|sim| class(sim, 30, 3.0 * SECOND));
    check("lecture of 300, within 6 seconds of the bell", 0, &|sim| class(sim, 300, 3.0 * SECOND));
    check("lecture of 300, within 2 seconds of the bell", 20, &|sim| class(sim, 300, 1.0 * SECOND));
    check("the end of a broadcast, after which the site sends everybody away", 20, &|sim| {
        sim.audience(10.0, 39.0 * MINUTE);
        raid(sim, 500.0 * MINUTE);
        for (at, _, what) in &mut sim.acts {
            if matches!(what, What::Leave) {
                *at = (*at).min(40 * 60_000);
            }
        }
        sim.acts.retain(|(at, _, _)| *at <= 40 * 60_000);
    });
    check("two deploys that reload all pages", 20, &|sim| {
        let deploys = [20.0 * MINUTE, 40.0 * MINUTE];
        for _ in 0..500 {
            let mut join = sim.between(0.0, 10.0 * MINUTE);
            for deploy in deploys {
                let end = deploy + sim.unit() * 600.0;
                sim.page(join, end);
                join = end + sim.between(0.5, 4.0) * SECOND;
            }
            let stay = sim.exponential(10.0 * MINUTE);
            sim.page(join, join + stay);
        }
    });
    check("a restart of this node, after which all pages beat here", 0, &|sim| {
        for _ in 0..500 {
            let (join, end) = (sim.between(0.0, 10.0 * MINUTE), sim.between(20.0, 60.0) * MINUTE);
            sim.page(join, end);
        }
        sim.acts.retain(|(at, _, _)| *at >= 15 * 60_000);
    });
    check("a raid behind a balancer that sends every beat to another node", 0, &|sim| {
        raid(sim, 5.0 * MINUTE);
        let mut random = Sim::new(7);
        sim.acts.retain(|(_, _, what)| matches!(what, What::Join) || random.unit() < 0.1);
    });
}

#[test]
fn invented_waves_are_found() {
    let check = |name: &str, least: usize, scenario: &dyn Fn(&mut Sim)| {
        let (likely, unclear) = judged(scenario);
        println!("{name}: likely {likely}, unclear {unclear} of {SEEDS}");
        assert!(likely >= least, "{name}: {likely}");
    };
    let audience = |sim: &mut Sim| sim.audience(10.0, 50.0 * MINUTE);
    check("100 that leave in the same second", 20, &|sim| {
        audience(sim);
        programs(sim, 100, true);
    });
    check("100 that are killed at once", 19, &|sim| {
        audience(sim);
        programs(sim, 100, false);
    });
    check("40 in a channel that nobody else watches", 19, &|sim| programs(sim, 40, true));
    check("5,000, of which a sample is followed", 20, &|sim| programs(sim, 5_000, true));
    check("100 that join over 40 seconds and stay ten minutes each", 14, &|sim| {
        audience(sim);
        for _ in 0..100 {
            let join = 10.0 * MINUTE + sim.unit() * 40.0 * SECOND;
            let end = join + 10.0 * MINUTE + sim.unit() * 200.0;
            sim.program(join, end, true);
        }
    });
    check("200 in the middle of a raid of 80", 19, &|sim| {
        audience(sim);
        programs(sim, 200, true);
        for _ in 0..80 {
            let join = 10.0 * MINUTE + sim.unit() * 5.0 * SECOND;
            let stay = sim.exponential(5.0 * MINUTE);
            sim.page(join, join + stay);
        }
    });
    check("400 in a busy channel", 19, &|sim| {
        sim.audience(200.0, 50.0 * MINUTE);
        programs(sim, 400, true);
    });
}

#[test]
fn what_looks_alike_is_told_alike() {
    // The limits of the method, as the documentation states them.
    let (likely, _) = judged(|sim| {
        sim.audience(10.0, 60.0 * MINUTE);
        for _ in 0..200 {
            let join = 10.0 * MINUTE + sim.unit() * 10.0 * SECOND;
            let end = 40.0 * MINUTE + sim.unit() * 300.0;
            sim.page(join, end);
        }
    });
    assert!(likely >= 18, "a host that starts and ends the player of all its pages by a script: {likely}");
    let (likely, unclear) = judged(|sim| {
        sim.audience(10.0, 60.0 * MINUTE);
        for _ in 0..200 {
            let join = sim.between(10.0 * MINUTE, 20.0 * MINUTE);
            let end = sim.between(40.0 * MINUTE, 45.0 * MINUTE);
            sim.program(join, end, true);
        }
    });
    assert_eq!((likely, unclear), (0, 0), "programs that come and go like people are not found");
}

#[test]
fn a_report_says_what_happened() {
    let mut sim = Sim::new(1);
    programs(&mut sim, 100, true);
    let report = sim.watch();
    let [wave] = report.waves[..] else { panic!("{:?}", report.waves) };
    assert_eq!((wave.joins, wave.followed, wave.verdict.ended), (100, 100, 100));
    assert!(wave.to.as_millis() - wave.from.as_millis() < 5_000);
    let together = wave.verdict.ended_together.unwrap();
    assert_eq!(together.sessions, 100);
    assert_eq!(together.at.as_millis() / 1_000, (START + 40 * 60_000) / 1_000);
    assert!((wave.verdict.share - 1.0).abs() < 1e-9);
    assert_eq!((wave.verdict.score, wave.verdict.explanation), (Score::Likely, None));
    let hours: Vec<_> = report.hours.iter().map(|hour| (hour.joins, hour.likely_invented)).collect();
    assert_eq!(hours, [(100, 100)]);
}

#[test]
fn repeated_joins_are_one_session() {
    let at = |seconds: u64| Timestamp::from_millis(START + seconds * 1_000);
    let mut watch = Watch::new(at(0));
    for seconds in 0..100 {
        for id in 0..15_u64 {
            watch.join(id << 32, at(seconds), LEASE, true);
        }
        let _found = watch.advance(at(seconds));
    }
    let report = watch.report();
    assert!(report.waves.is_empty(), "{:?}", report.waves);
    assert_eq!(report.hours.iter().map(|hour| hour.joins).sum::<u32>(), 15);
}

#[test]
fn results_are_kept_for_hours_and_then_dropped() {
    let at = |minutes: u64| Timestamp::from_millis(START + minutes * 60_000);
    let mut watch = Watch::new(at(0));
    for id in 0..50 {
        watch.join(id, at(0), LEASE, true);
        watch.beat(id, at(1), LEASE);
        watch.leave(id, at(2));
    }
    let joined = watch.advance(at(1));
    assert_eq!(joined, Found::default());
    assert_eq!(watch.advance(at(4)), Found { waves: 1, joins: 50 });
    assert_eq!(watch.advance(at(5)), Found::default(), "told once");
    assert!(!watch.is_over(at(300), true), "even under pressure");
    let _found = watch.advance(at(363));
    assert_eq!(watch.report().waves.len(), 1);
    let _found = watch.advance(at(365));
    assert!(watch.report().waves.is_empty());
    let _found = watch.advance(at(480));
    assert!(watch.is_over(at(480), false));
}

#[derive(Debug, Clone)]
enum Step {
    Joins { first: u16, number: u16 },
    Beats { first: u16, number: u16 },
    Leaves { first: u16, number: u16 },
    Wait { millis: u32 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let (first, number) = (0..4_000_u16, 1..3_000_u16);
    prop_oneof![
        3 => (first.clone(), number.clone()).prop_map(|(first, number)| Step::Joins { first, number }),
        2 => (first.clone(), number.clone()).prop_map(|(first, number)| Step::Beats { first, number }),
        2 => (first, number).prop_map(|(first, number)| Step::Leaves { first, number }),
        4 => prop_oneof![0..3_000_u32, 3_000..100_000_u32, Just(30_000_000)].prop_map(|millis| Step::Wait { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_acts_keep_the_limits(steps in vec(any_step(), 1..60)) {
        let mut now = Timestamp::from_millis(START);
        let mut watch = Watch::new(now);
        let (mut joins, mut found) = (0_u64, Found::default());
        let id = |index: u16| u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for step in steps {
            match step {
                Step::Joins { first, number } => {
                    joins += u64::from(number);
                    (0..number).for_each(|i| watch.join(id(first.wrapping_add(i)), now, LEASE, true));
                }
                Step::Beats { first, number } => {
                    (0..number).for_each(|i| watch.beat(id(first.wrapping_add(i)), now, LEASE));
                }
                Step::Leaves { first, number } => {
                    (0..number).for_each(|i| watch.leave(id(first.wrapping_add(i)), now));
                }
                Step::Wait { millis } => now = now.plus_millis(millis),
            }
            prop_assert!(watch.followed() <= MAX_FOLLOWED * (MAX_WAVES + 1));
            let more = watch.advance(now);
            found.waves += more.waves;
            found.joins += more.joins;
            let report = watch.report();
            prop_assert!(report.waves.len() <= MAX_RESULTS + MAX_WAVES && report.hours.len() <= 7);
            for wave in &report.waves {
                let verdict = &wave.verdict;
                prop_assert!(wave.from <= wave.to && wave.followed <= MAX_FOLLOWED);
                prop_assert!(verdict.ended <= wave.followed && (0.0..=1.0).contains(&verdict.share));
                let group = verdict.ended_together.map_or(0, |group| group.sessions);
                prop_assert!(group <= verdict.ended);
                prop_assert!(verdict.score != Score::Likely || verdict.share >= 0.6);
                prop_assert!(usize::try_from(wave.joins).unwrap() >= wave.followed);
            }
            for hour in &report.hours {
                // Samples of large crowds are estimates.
                prop_assert!(f64::from(hour.joins) <= joins as f64 * 1.5 + 100.0);
            }
        }
        prop_assert!(found.joins >= found.waves * 12);
        now = now + Duration::from_secs(13 * 3_600);
        let _found = watch.advance(now);
        now = now + Duration::from_secs(8 * 3_600);
        let _found = watch.advance(now);
        prop_assert!(watch.is_over(now, false), "everything is dropped in the end");
        prop_assert_eq!(watch.followed(), 0);
    }

    #[test]
    fn the_largest_group_is_found(ends in vec(0..20_000_u64, 20..80)) {
        let at = |millis: u64| Timestamp::from_millis(START + millis);
        let mut watch = Watch::new(at(0));
        for (id, _) in (0_u64..).zip(&ends) {
            watch.join(id, at(0), LEASE, true);
        }
        for (id, end) in (0_u64..).zip(&ends) {
            watch.beat(id, at(30_000), LEASE);
            watch.leave(id, at(60_000 + end));
        }
        let _found = watch.advance(at(200_000));
        let model = ends.iter().map(|from| ends.iter().filter(|end| (*from..=from + 1_000).contains(*end)).count());
        let report = watch.report();
        prop_assert_eq!(report.waves[0].verdict.ended_together.unwrap().sessions, model.max().unwrap());
    }
}

/// A node's watch with a clock that a test advances.
fn node() -> (Anomalies, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    (Anomalies::new(true, clock.clone(), Metrics::new()), clock)
}

fn session(channel: &str) -> SessionKey {
    let viewer = Uuid::new_v4().to_string();
    SessionKey::parse(channel, &viewer, None).unwrap()
}

const JOIN: Act = Act::Join { lease: LEASE };

#[tokio::test]
async fn channels_have_a_limit_and_quiet_ones_make_room() {
    let (node, clock) = node();
    for channel in 0..MAX_CHANNELS + 10 {
        node.acted(&session(&format!("c{channel}")), JOIN, true, Instant::now());
    }
    assert_eq!(node.channels(), MAX_CHANNELS);
    let left_out = ChannelId::parse(&format!("c{}", MAX_CHANNELS + 5)).unwrap();
    let report = node.report(&left_out);
    assert_eq!((report.since, report.is_complete), (None, false));
    assert!(node.report(&ChannelId::parse("c1").unwrap()).is_complete);
    clock.advance(Duration::from_secs(600));
    node.round().await;
    assert!(node.channels() <= MANY_CHANNELS, "{}", node.channels());
    clock.advance(Duration::from_secs(8 * 3_600));
    node.round().await;
    assert_eq!((node.channels(), node.followed()), (0, 0));
    assert!(node.report(&left_out).is_complete);
}

#[tokio::test]
async fn sessions_of_all_channels_have_a_limit() {
    let (node, clock) = node();
    for channel in 0..200 {
        for _ in 0..MAX_FOLLOWED {
            node.acted(&session(&format!("c{channel}")), JOIN, true, Instant::now());
        }
    }
    assert!(node.followed() <= MAX_SESSIONS, "{}", node.followed());
    let complete = |channel: &str| node.report(&ChannelId::parse(channel).unwrap()).is_complete;
    assert!(complete("c0") && !complete("c199"));
    clock.advance(Duration::from_secs(13 * 3_600));
    node.round().await;
    assert_eq!(node.followed(), 0);
}

#[tokio::test]
async fn what_is_not_counted_or_only_leaves_is_not_watched() {
    let (node, _) = node();
    let who = session("ana");
    node.acted(&who, JOIN, false, Instant::now());
    node.acted(&who, Act::Heartbeat { lease: LEASE }, true, Instant::now());
    node.acted(&who, Act::Leave, false, Instant::now());
    assert_eq!((node.channels(), node.report(&who.channel).since), (0, None));
}

#[tokio::test]
async fn a_node_beside_others_never_says_that_it_has_seen_all() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let node = Anomalies::new(false, clock, Metrics::new());
    let who = session("ana");
    assert!(!node.report(&who.channel).is_complete);
    node.acted(&who, JOIN, true, Instant::now());
    let report = node.report(&who.channel);
    assert_eq!((report.since, report.is_complete), (Some(Timestamp::from_millis(START)), false));
}
