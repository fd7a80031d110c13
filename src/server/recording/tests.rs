use super::*;
use crate::server::{
    clock::ManualClock,
    database::part_key,
    history::{Minute, Sketch},
};

const START: u64 = 1_790_000_040_000;

#[test]
fn a_channel_is_written_once_a_minute_and_after_each_gap_in_the_observation_of_its_part() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let recorder = Recorder::new(7, Duration::ZERO, clock);
    let ana = ChannelId::parse("ana").unwrap();
    let mut written = Vec::new();
    for second in 0..130_u64 {
        let at = Timestamp::from_millis(START + second * 1_000);
        recorder.note_time(at);
        let sample = recorder.next_sample(&[ana.part()]);
        recorder.sampled(&ana, Count::fresh(3, at), sample);
        assert_eq!(recorder.missing(&[ana.part()], sample), []);
        let is_whole = !(30..32).contains(&second);
        recorder.sampled_part(ana.part(), Some(at).filter(|_| is_whole));
        if recorder.take(false).iter().any(|taken| taken.channel == "ana" && !taken.minutes.is_empty()) {
            written.push(second);
        }
    }
    assert_eq!(written, [0, 30, 31, 32, 60, 120]);
    assert_eq!(recorder.missing(&[ana.part()], recorder.next_sample(&[ana.part()])), [ana]);
}

#[test]
fn who_joins_while_the_store_is_away_is_recorded_at_that_time() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let recorder = Recorder::new(7, Duration::ZERO, clock);
    recorder.set_key(Uuid::from_u128(7));
    let earlier = Count::fresh(3, Timestamp::from_millis(START - 3_600_000));
    for (name, count) in [
        ("never-known", Count::unknown(Timestamp::default())),
        ("stale", earlier.into_stale()),
        ("unknown", Count::unknown(earlier.as_of())),
    ] {
        let (channel, viewer) = (ChannelId::parse(name).unwrap(), ViewerId::new(Uuid::from_u128(1)).unwrap());
        recorder.wrote(&channel, Some(viewer), count);
        recorder.joined(&channel, viewer, Place::Site, Some(true), count);
        let taken = recorder.take(true).into_iter().find(|taken| taken.channel == name).unwrap();
        let minute = Timestamp::from_millis(START - START % 60_000);
        let minutes: Vec<_> = taken.minutes.iter().chain(&taken.joins).map(|minute| minute.start).collect();
        assert_eq!(minutes, [minute; 2], "{name}");
        assert_eq!(taken.viewers[0].0, Timestamp::from_millis(START), "{name}");
    }
}

/// After five minutes without a count another broadcast begins.
#[test]
fn who_watches_through_a_long_outage_is_a_viewer_of_the_broadcast_after_it() {
    for is_owner in [true, false] {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
        let recorder = Recorder::new(7, Duration::ZERO, Arc::clone(&clock) as Arc<dyn Clock>);
        recorder.set_key(Uuid::from_u128(7));
        let ana = ChannelId::parse("ana").unwrap();
        let parts: &[u16] = if is_owner { &[ana.part()] } else { &[] };
        recorder.ownership().set(parts, Instant::now() + Duration::from_secs(3_600));
        let viewers = [1, 2, 3].map(|nth| ViewerId::new(Uuid::from_u128(nth)).unwrap());
        let mut starts = Vec::new();
        for second in (0..420).step_by(30) {
            let now = Timestamp::from_millis(START + second * 1_000);
            for viewer in viewers {
                let fresh = Count::fresh(3, now);
                let is_away = (30..390).contains(&second);
                recorder.wrote(&ana, Some(viewer), if is_away { fresh.into_stale() } else { fresh });
            }
            clock.advance(Duration::from_secs(30));
            let taken = recorder.take(true).into_iter().filter(|taken| taken.channel == "ana");
            let rows = taken.flat_map(|taken| taken.viewers);
            let is_of_all = |row: &RowData| {
                let RowData::Encoded(sketch) = row else { return false };
                Sketch::decode(sketch).unwrap().count() == 3
            };
            starts.extend(rows.filter(|(_, row)| is_of_all(row)).map(|(start, _)| start));
        }
        let start = |second: u64| Timestamp::from_millis(START + second * 1_000);
        assert_eq!(starts, [start(0), start(390)], "owner: {is_owner}");
    }
}

#[test]
fn what_is_read_is_recorded_when_it_differs_from_the_last_second() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let recorder = Recorder::new(7, Duration::ZERO, clock);
    let ana = ChannelId::parse("ana").unwrap();
    let sample = recorder.next_sample(&[ana.part()]);
    recorder.sampled(&ana, Count::fresh(3, Timestamp::from_millis(START)), sample);
    let changed = |count, millis| {
        recorder.read(&ana, Count::fresh(count, Timestamp::from_millis(START + millis)));
        let taken = recorder.take(true).into_iter().find(|taken| taken.channel == "ana");
        taken.is_some_and(|taken| !taken.minutes.is_empty())
    };
    assert!(changed(3, 0), "the sample");
    let read = [(3, 999, false), (3, 1_000, true), (4, 1_001, true), (4, 1_500, false), (3, 1_501, true)];
    for (count, millis, is_recorded) in read {
        assert_eq!(changed(count, millis), is_recorded, "{count} at {millis}");
    }
}

#[test]
fn a_broadcast_that_goes_on_is_written_every_half_minute_and_at_once_after_a_gap_and_when_it_ends() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let recorder = Recorder::new(7, Duration::ZERO, clock);
    let ana = ChannelId::parse("ana").unwrap();
    let mut written = Vec::new();
    for second in 0..80_u64 {
        let at = Timestamp::from_millis(START + second * 1_000);
        recorder.note_time(at);
        // Another node owns the channel for three seconds.
        let parts: &[u16] = if (50..53).contains(&second) { &[] } else { &[ana.part()] };
        let sample = recorder.next_sample(parts);
        if !parts.is_empty() {
            recorder.sampled(&ana, Count::fresh(u32::from(second < 72), at), sample);
            // The store is away for a moment.
            recorder.sampled_part(ana.part(), Some(at).filter(|_| second != 40));
        }
        let taken = recorder.take(second == 60).into_iter().find_map(|taken| taken.on_air);
        written.extend(
            taken.map(|on_air| (second, on_air.span.millis() / 1_000, on_air.sight == Sight::GoesOn(7))),
        );
    }
    let on = [0, 30, 40, 41, 53, 60].map(|second| (second, second, true));
    assert_eq!(written, [&on[..], &[(72, 72, false)]].concat());
}

/// A store that comes back empty gives the parts to the node that asks first.
#[test]
fn no_time_in_which_another_node_owned_a_part_is_recorded_with_the_count_0() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let ana = ChannelId::parse("ana").unwrap();
    let until = Instant::now() + Duration::from_secs(3_600);
    for (lost_at, returns_at) in [(3_300, 5_200), (3_300, 3_700), (4_000, 4_900)] {
        let recorder = Recorder::new(7, Duration::ZERO, Arc::clone(&clock) as Arc<dyn Clock>);
        let at = |millis| Timestamp::from_millis(START + millis);
        recorder.ownership().set(&[ana.part()], until);
        for millis in (0..10_000).step_by(100) {
            match millis {
                _ if millis == lost_at => recorder.ownership().set(&[], until),
                _ if millis == returns_at => recorder.ownership().set(&[ana.part()], until),
                _ => {}
            }
            // The node's own calls.
            recorder.wrote(&ana, None, Count::fresh(5, at(millis)));
            let parts = recorder.ownership().parts();
            if millis % 1_000 == 0 && !parts.is_empty() {
                let sample = recorder.next_sample(&parts);
                recorder.sampled(&ana, Count::fresh(5, at(millis)), sample);
                recorder.sampled_part(ana.part(), Some(at(millis)));
            }
        }
        let taken = recorder.take(true);
        let minute = |key: &str| {
            let taken = taken.iter().find(|taken| taken.channel == key).unwrap();
            taken.minutes.iter().find(|minute| minute.start <= at(0)).unwrap().minute.clone()
        };
        let minute = minute("ana").with_idle(&minute(&part_key(ana.part())));
        for (nth, second) in minute.seconds().iter().enumerate() {
            assert_ne!(second.lowest(), Some(0), "{nth} after {lost_at} to {returns_at}");
        }
        assert!(
            minute.seconds()[Minute::second_of(at(1_500))].observed_ms() == 1_000,
            "the rest is observed"
        );
    }
}

#[test]
fn a_broadcast_that_ended_while_the_node_did_not_own_it_ends_when_it_was_last_observed() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let recorder = Recorder::new(7, Duration::ZERO, clock);
    let ana = ChannelId::parse("ana").unwrap();
    let mut written = Vec::new();
    for second in 0..30_u64 {
        let at = Timestamp::from_millis(START + second * 1_000);
        recorder.note_time(at);
        if (10..20).contains(&second) {
            // Another node owns it. A call shows that all have left.
            recorder.next_sample(&[]);
            recorder.read(&ana, Count::fresh(0, at));
        } else {
            let sample = recorder.next_sample(&[ana.part()]);
            if second < 10 {
                recorder.sampled(&ana, Count::fresh(1, at), sample);
            }
            for missing in recorder.missing(&[ana.part()], sample) {
                recorder.sampled(&missing, Count::fresh(0, at), sample);
            }
            recorder.sampled_part(ana.part(), Some(at));
        }
        let taken = recorder.take(false).into_iter().find_map(|taken| taken.on_air);
        written.extend(
            taken.map(|on_air| (second, on_air.span.millis() / 1_000, on_air.sight == Sight::GoesOn(7))),
        );
    }
    assert_eq!(written, [(0, 0, true), (20, 9, false)]);
}

/// Signals over a store without any, which a test changes itself.
mod signals {
    use async_trait::async_trait;

    use super::*;
    use crate::{
        domain::{LiveMode, signal::Report},
        server::{
            metrics::Metrics,
            signals::{Changes, SignalSettings, SignalStore},
            store::StoreError,
        },
    };

    /// A store in which the only channel goes on air, and off air, at the time that it shows.
    #[derive(Default)]
    struct Clocked(Mutex<(u64, Option<Change>)>);

    #[async_trait]
    impl SignalStore for Clocked {
        async fn report(&self, channel: &ChannelId, report: Report) -> Result<Change, StoreError> {
            let mut state = self.0.lock();
            let at = Timestamp::from_millis(state.0);
            let is_on = matches!(report, Report::OnAir { .. });
            let number = state.1.as_ref().map_or(0, |last| last.number) + 1;
            let change = Change {
                channel: channel.clone(),
                number,
                since: is_on.then_some(at),
                ended_at: (!is_on).then_some(at),
            };
            state.1 = Some(change.clone());
            Ok(change)
        }

        async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError> {
            let state = self.0.lock();
            let newest = state.1.as_ref().map_or(0, |last| last.number);
            let is_news = |change: &Change| after.is_none_or(|after| change.number > after);
            let changes = state.1.clone().filter(is_news).into_iter().collect();
            Ok(Changes { changes, newest, now: Timestamp::from_millis(state.0), is_whole: after.is_none() })
        }

        async fn end_silent(&self, _: Duration) -> Result<(), StoreError> {
            Ok(())
        }

        async fn forget_ended(&self, _: Duration) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// A node whose caller, or another node's, reports a signal of a quarter of a second. Returns the span that the node writes.
    async fn write_short_signal(is_owner: bool, is_told: bool) -> Option<(Span, Sight)> {
        let recorder =
            Recorder::new(7, Duration::ZERO, Arc::new(ManualClock::new(Timestamp::from_millis(START))));
        let ana = ChannelId::parse("ana").unwrap();
        let parts: &[u16] = if is_owner { &[ana.part()] } else { &[] };
        recorder.ownership().set(parts, Instant::now() + Duration::from_secs(3_600));
        let store = Arc::new(Clocked::default());
        let node = || {
            let settings =
                SignalSettings { mode: LiveMode::Signal, interval: Duration::from_secs(2), timeout: None };
            Signals::new(Arc::clone(&store) as Arc<dyn SignalStore>, settings, Metrics::default())
        };
        let (signals, told) = (node(), node());
        recorder.follow_signals(signals.clone());
        let told = if is_told { &signals } else { &told };
        let set_time = |millis: u64| {
            store.0.lock().0 = START + millis;
            recorder.note_time(Timestamp::from_millis(START + millis));
        };
        set_time(0);
        signals.poll().await;
        set_time(500);
        told.report(&ana, Report::OnAir { started_at: None, publisher: None }).await.unwrap();
        signals.poll().await;
        set_time(750);
        told.report(&ana, Report::OffAir { publisher: None }).await.unwrap();
        signals.poll().await;
        set_time(11_000);
        let taken = recorder.take(false).into_iter().find_map(|taken| taken.on_air);
        taken.map(|on_air| (on_air.span, on_air.sight))
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_between_two_samples_is_written_by_the_owner_and_by_the_node_that_is_told() {
        let span = Span::new(Timestamp::from_millis(START + 500), Timestamp::from_millis(START + 750));
        for is_told in [true, false] {
            assert_eq!(
                write_short_signal(true, is_told).await,
                Some((span, Sight::Ended)),
                "told: {is_told}"
            );
        }
        assert_eq!(write_short_signal(false, true).await, Some((span, Sight::Glimpse)));
        assert_eq!(write_short_signal(false, false).await, None, "others write it");
    }
}
