//! The bounds of broadcasts: spans on air of all nodes, and of nodes that are killed.

use std::time::Duration;

use aforo::{
    domain::{ChannelId, Policy, SessionId, SessionKey, Timestamp, ViewerId},
    server::{
        database::{Archive, Database, Kept, OnAir, Sight, part_key},
        history::{Figures, Place, Span, Track},
        recording::simulated::SimulatedNode,
    },
};

use super::{GAP, HOUR, START, ana, archive, as_rows, at, both_databases, ended, of_part, points, rows};
use crate::support::viewer;

#[tokio::test]
async fn a_broadcast_that_goes_on_lasts_as_long_as_its_node_observes_the_part() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        let goes_on = OnAir {
            channel: ana(),
            span: Span::new(at(137), at(4_137)),
            observed_from: at(137),
            sight: Sight::GoesOn(1),
        };
        let present = async |now: u64| {
            let now = at(now);
            archive.broadcasts(&ana(), now, 1, now).await.unwrap().remove(0).figures
        };
        let mut part = Track::default();
        let mut track = Track::default();
        for second in 0..=200_u64 {
            let now = at(second * 1_000 + 137);
            track.observe(7, now, true, GAP);
            part.observe(0, now, true, GAP);
            if second % 4 == 0 {
                archive.store(&as_rows(track.take_news(now), "ana", 1)).await.unwrap();
                archive.store(&as_rows(part.take_dirty(now), &part_key(ana().part()), 1)).await.unwrap();
            }
            if second == 4 {
                archive.note_on_air(std::slice::from_ref(&goes_on)).await.unwrap();
            }
            if second % 50 == 4 {
                let figures = present(second * 1_000 + 500).await;
                let written = second / 4 * 4;
                assert_eq!(figures.watch_seconds, (7 * written) as f64, "{figures:?}");
                assert_eq!((figures.average, figures.observed), (Some(7.0), 1.0), "{figures:?}");
            }
        }
        // The node is killed. What follows is not known.
        let killed = present(290_000).await;
        assert_eq!((killed.watch_seconds, killed.observed), (1_400.0, 1.0));
        assert_eq!(killed.ended_at, None);
        // The next owner sees it go on, and end.
        let resumed = |to: u64, sight| {
            let span = Span::new(at(204_000), at(to));
            OnAir { channel: ana(), span, observed_from: span.from, sight }
        };
        archive.note_on_air(&[resumed(205_000, Sight::GoesOn(2))]).await.unwrap();
        assert!(present(210_000).await.observed < 1.0);
        archive.note_on_air(&[resumed(206_000, Sight::Ended)]).await.unwrap();
        archive.note_on_air(std::slice::from_ref(&goes_on)).await.unwrap();
        let ended = present(600_000).await;
        assert_eq!(ended.ended_at, Some(at(206_000)), "{ended:?}");
        assert_eq!(ended.watch_seconds, 1_400.0);
    }
}

#[tokio::test]
async fn a_signal_that_lasts_goes_on_as_one_broadcast_after_an_outage_of_all_nodes() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        // The outage begins long after the signal, or moments after. Another node may convert its start to another time.
        for (name, until, starts) in
            [("long", 600_000, [5_000; 2]), ("short", 8_000, [5_000; 2]), ("clocks", 8_000, [5_000, 4_700])]
        {
            let channel = ChannelId::parse(name).unwrap();
            let seen = |from: u64, observed_from: u64, to: u64| {
                let span = Span::new(at(from), at(to));
                OnAir {
                    channel: channel.clone(),
                    span,
                    observed_from: at(observed_from),
                    sight: Sight::Ended,
                }
            };
            archive.note_on_air(&[seen(starts[0], 6_000, until)]).await.unwrap();
            // The same signal, observed again after twenty minutes.
            for to in [1_800_000, 1_830_000] {
                archive.note_on_air(&[seen(starts[1], 1_800_000, to)]).await.unwrap();
            }
            let kept = archive.broadcasts(&channel, at(HOUR), 9, at(HOUR)).await.unwrap();
            let bounds: Vec<_> =
                kept.iter().map(|kept| (kept.broadcast.started_at, kept.broadcast.last_on_air)).collect();
            assert_eq!(bounds, [(at(starts[1]), at(1_830_000))], "{name}");
        }
    }
}

#[tokio::test]
async fn a_node_that_learns_late_of_the_end_of_a_signal_ends_the_broadcast_where_the_signal_ended() {
    let (databases, _folder) = both_databases().await;
    for database in databases {
        let archive = Archive::new(database.clone());
        // The node has observed the part up to 580 s, and written the broadcast up to 550 s.
        let mut part = Track::default();
        for second in 540..=580 {
            part.observe(0, at(second * 1_000), true, GAP);
        }
        archive.store(&rows(&mut part, &part_key(ana().part()), 1, at(580_000))).await.unwrap();
        let note = async |from: u64, to: u64, sight: Sight| {
            let span = Span::new(at(from), at(to));
            archive
                .note_on_air(&[OnAir { channel: ana(), span, observed_from: at(100_000), sight }])
                .await
                .unwrap();
        };
        for (start, end) in [(100_000, 579_250), (95_000, 550_000)] {
            note(100_000, 550_000, Sight::GoesOn(1)).await;
            // The signal of the second one began before the broadcast that is written.
            note(start, end, Sight::Ended).await;
            let kept = archive.broadcasts(&ana(), at(HOUR), 9, at(HOUR)).await.unwrap();
            let ends: Vec<_> =
                kept.iter().map(|kept| (kept.figures.started_at, kept.figures.ended_at)).collect();
            assert_eq!(ends, [(at(start), Some(at(end)))]);
            sqlx::query("DELETE FROM broadcasts").execute(database.pool()).await.unwrap();
        }
    }
}

/// A node whose one viewer of `ana` has watched from the first second to the last write before `until`.
async fn with_a_viewer(database: &Database, until: u64) -> (SimulatedNode, SessionKey) {
    let node = SimulatedNode::new(database, Policy::default(), at(0), Duration::from_secs(4));
    let (viewer, session) = (ViewerId::new(viewer()).unwrap(), SessionId::new(uuid::Uuid::new_v4()).unwrap());
    let who = SessionKey { channel: ana(), viewer, session };
    node.advance_to(at(1_000)).await.unwrap();
    node.join(&who, Place::Site).await.unwrap();
    node.advance_to(at(30_000)).await.unwrap();
    node.heartbeat(&who).await.unwrap();
    node.advance_to(at(until)).await.unwrap();
    (node, who)
}

#[tokio::test]
async fn the_time_before_the_first_viewer_is_no_part_of_a_present_broadcast() {
    let (databases, _folder) = both_databases().await;
    for database in databases {
        // The node has observed for seconds that there is nobody when all come, late in a second, and stay.
        let node = SimulatedNode::new(&database, Policy::default(), at(0), Duration::from_secs(4));
        node.advance_to(at(3_850)).await.unwrap();
        for _ in 0..20 {
            let session = SessionId::new(uuid::Uuid::new_v4()).unwrap();
            let who = SessionKey { channel: ana(), viewer: ViewerId::new(viewer()).unwrap(), session };
            node.join(&who, Place::Site).await.unwrap();
        }
        let archive = Archive::new(database);
        for now in [5_000, 8_300, 9_000, 21_000] {
            node.advance_to(at(now)).await.unwrap();
            let kept = archive.broadcasts(&ana(), at(now), 9, at(now)).await.unwrap().remove(0);
            let (figures, span) = (kept.figures, kept.broadcast);
            assert_eq!((span.started_at, figures.peak_at), (at(3_850), Some(at(3_850))), "{figures:?}");
            let seconds = (span.last_on_air.as_millis() - span.started_at.as_millis()) as f64 / 1_000.0;
            assert!(at(now) - Duration::from_secs(4) < span.last_on_air, "{span:?} at {now}");
            assert_eq!(
                (figures.average, figures.peak, figures.observed),
                (Some(20.0), Some(20), 1.0),
                "{now}"
            );
            assert!((figures.watch_seconds - 20.0 * seconds).abs() < 1e-6, "{seconds} s: {figures:?}");
        }
    }
}

#[tokio::test]
async fn of_those_who_wait_before_a_signal_and_stay_after_it_only_the_time_of_the_signal_counts() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        let (mut track, mut part) = (Track::default(), Track::default());
        for second in 0..20_u64 {
            track.observe(20, at(second * 1_000 + 120), true, GAP);
            part.observe(0, at(second * 1_000 + 120), true, GAP);
        }
        archive.store(&rows(&mut track, "ana", 1, at(20_000))).await.unwrap();
        archive.store(&rows(&mut part, &part_key(ana().part()), 1, at(20_000))).await.unwrap();
        let signal = Span::new(at(3_901), at(12_545));
        archive.note_on_air(&[ended(ana(), signal)]).await.unwrap();
        let figures =
            async |now: u64| archive.broadcasts(&ana(), at(now), 1, at(now)).await.unwrap().remove(0).figures;
        let check = |figures: &Figures| {
            assert_eq!((figures.average, figures.peak, figures.observed), (Some(20.0), Some(20), 1.0));
            assert!((figures.watch_seconds - 20.0 * 8.644).abs() < 1e-6, "{figures:?}");
            assert_eq!(figures.peak_at, Some(signal.from), "they had come before");
        };
        let present = figures(15_000).await;
        assert_eq!(present.ended_at, None);
        check(&present);
        let over = figures(HOUR).await;
        assert_eq!(over.ended_at, Some(signal.to));
        check(&over);
        // Within one second.
        let short = archive.figures(&ana(), Span::new(at(5_200), at(5_450)), None).await.unwrap();
        assert_eq!((short.average, short.watch_seconds, short.observed), (Some(20.0), 5.0, 1.0));
        // The merged rows say the same.
        while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
        archive.complete(at(HOUR)).await.unwrap();
        check(&figures(HOUR).await);
    }
}

#[tokio::test]
async fn a_broadcast_whose_node_is_killed_ends_when_that_node_last_saw_it() {
    let (databases, _folder) = both_databases().await;
    for database in databases {
        drop(with_a_viewer(&database, 67_000).await);
        // Another node goes on with its part, and nobody returns.
        let next = SimulatedNode::new(&database, Policy::default(), at(71_000), Duration::from_secs(4));
        let archive = Archive::new(database);
        let figures =
            async |now: u64| archive.broadcasts(&ana(), at(now), 9, at(now)).await.unwrap().remove(0).figures;
        for (now, ended_at) in [(80_000, None), (400_000, Some(at(64_000))), (1_600_000, Some(at(64_000)))] {
            next.advance_to(at(now)).await.unwrap();
            let figures = figures(now).await;
            assert_eq!(figures.ended_at, ended_at, "{now}");
            assert_eq!((figures.watch_seconds, figures.observed), (63.0, 1.0), "{now}");
        }
    }
}

#[tokio::test]
async fn a_broadcast_never_ends_later_than_its_node_saw_it_whichever_write_fails() {
    let (databases, _folder) = both_databases().await;
    let [sqlite, _] = &databases;
    let (node, who) = with_a_viewer(sqlite, 50_000).await;
    node.leave(&who).await.unwrap();
    // From here on no end can be written, and the node is killed.
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON broadcasts BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlx::query(refuse).execute(sqlite.pool()).await.unwrap();
    for now in [52_000, 56_000, 60_000] {
        node.advance_to(at(now)).await.unwrap_err();
    }
    drop(node);
    sqlx::query("DROP TRIGGER refuse").execute(sqlite.pool()).await.unwrap();
    let archive = Archive::new(sqlite.clone());
    while archive.lengthen_abandoned(at(200_000)).await.unwrap() {}
    let figures = archive.broadcasts(&ana(), at(400_000), 9, at(400_000)).await.unwrap().remove(0).figures;
    assert_eq!(figures.ended_at, Some(at(48_000)), "its last whole write, and the viewer left at 50 s");
}

#[tokio::test]
async fn broadcasts_that_their_node_does_not_end_last_as_long_as_it_has_observed_their_part() {
    let (databases, _folder) = both_databases().await;
    let names: Vec<String> = (0..7).map(of_part).collect();
    let channels: Vec<_> = names.iter().map(|name| ChannelId::parse(name).unwrap()).collect();
    let elsewhere = (0..).map(|nth| ChannelId::parse(&format!("d{nth}")).unwrap());
    let elsewhere = elsewhere.into_iter().find(|channel| channel.part() != ana().part()).unwrap();
    for archive in databases.map(Archive::new) {
        let note = async |channel: &ChannelId, from: u64, to: u64, sight: Sight| {
            let span = Span::new(at(from), at(to));
            archive
                .note_on_air(&[OnAir { channel: channel.clone(), span, observed_from: span.from, sight }])
                .await
                .unwrap();
        };
        let broadcasts = async |channel: &ChannelId| -> Vec<(u64, u64)> {
            let kept = archive.broadcasts(channel, at(HOUR), 9, at(HOUR)).await.unwrap();
            let bounds = |kept: &Kept| (kept.broadcast.started_at, kept.broadcast.last_on_air);
            let since = |at: Timestamp| at.as_millis() - START;
            kept.iter().map(bounds).map(|(from, to)| (since(from), since(to))).collect()
        };
        // A node observes the part for 40 seconds across the turn of a minute, and is killed.
        let mut part = Track::default();
        for second in 540..=580 {
            part.observe(0, at(second * 1_000), true, GAP);
        }
        archive.store(&rows(&mut part, &part_key(ana().part()), 1, at(580_000))).await.unwrap();
        let [lost, ended, taken_over, ended_by_another, resumed, long_before, next] = &channels[..] else {
            panic!("seven channels");
        };
        for channel in [lost, ended, taken_over, ended_by_another, resumed, next, &elsewhere] {
            note(channel, 100_000, 550_000, Sight::GoesOn(1)).await;
        }
        note(ended, 100_000, 560_000, Sight::Ended).await;
        note(taken_over, 585_000, 590_000, Sight::GoesOn(2)).await;
        note(ended_by_another, 584_000, 584_500, Sight::Ended).await;
        // Within five minutes after it was seen, but not after its written end.
        note(resumed, 870_000, 900_000, Sight::Ended).await;
        note(long_before, 100_000, 200_000, Sight::GoesOn(1)).await;
        // Not within five minutes.
        note(next, 880_001, 900_000, Sight::Ended).await;

        let check = async |when: &str| {
            assert_eq!(broadcasts(lost).await, [(100_000, 580_000)], "{when}");
            assert_eq!(broadcasts(ended).await, [(100_000, 560_000)], "{when}");
            assert_eq!(broadcasts(taken_over).await, [(100_000, 590_000)], "{when}");
            assert_eq!(broadcasts(ended_by_another).await, [(100_000, 584_500)], "{when}");
            assert_eq!(broadcasts(resumed).await, [(100_000, 900_000)], "{when}");
            assert_eq!(broadcasts(long_before).await, [(100_000, 200_000)], "{when}");
            assert_eq!(broadcasts(next).await, [(880_001, 900_000), (100_000, 580_000)], "{when}");
            assert_eq!(broadcasts(&elsewhere).await, [(100_000, 550_000)], "{when}");
        };
        check("read").await;
        assert!(!archive.lengthen_abandoned(at(609_000)).await.unwrap());
        // Every round of every node does this, and merges rows.
        for now in [620_000, 640_000, HOUR] {
            while archive.lengthen_abandoned(at(now)).await.unwrap() {}
            check("lengthened").await;
        }
        while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
        check("merged").await;
        archive.complete(at(HOUR)).await.unwrap();
        check("complete").await;

        // The node was only paused. What it writes late counts.
        archive.store(&rows(&mut part, &part_key(ana().part()), 1, at(580_000))).await.unwrap();
        note(lost, 100_000, 585_000, Sight::Ended).await;
        while archive.lengthen_abandoned(at(HOUR)).await.unwrap() {}
        assert_eq!(broadcasts(lost).await, [(100_000, 585_000)]);
        let figures = archive.broadcasts(lost, at(HOUR), 1, at(HOUR)).await.unwrap().remove(0).figures;
        assert_eq!(figures.ended_at, Some(at(585_000)));
    }
}

#[tokio::test]
async fn spans_on_air_become_broadcasts_in_any_order() {
    let span = |from: u64, to: u64| ended(ana(), Span::new(at(from * 1_000), at(to * 1_000)));
    let spans =
        [span(0, 10), span(200, 300), span(602, 700), span(8, 9), span(1_000, 1_100), span(1_101, 1_200)];
    for shift in 0..spans.len() {
        let (archive, _folder) = archive().await;
        let mut order = spans.clone();
        order.rotate_left(shift);
        for one in order.iter().chain(&spans) {
            archive.note_on_air(std::slice::from_ref(one)).await.unwrap();
        }
        let now = at(1_400_000);
        let kept = archive.broadcasts(&ana(), now, 10, now).await.unwrap();
        let bounds: Vec<_> = kept.iter().map(|one| (one.figures.started_at, one.figures.ended_at)).collect();
        assert_eq!(
            bounds,
            [(at(602_000), None), (at(0), Some(at(300_000)))],
            "a gap of 302 s ends a broadcast"
        );
        let page = archive.broadcasts(&ana(), at(602_000), 10, now).await.unwrap();
        assert_eq!(page.len(), 1, "paging by the start");
    }
}

#[tokio::test]
async fn spans_of_many_channels_come_to_the_same_broadcasts_one_by_one_and_together() {
    let (databases, _folder) = both_databases().await;
    let [sqlite, postgres] = databases.map(Archive::new);
    let (one_by_one, _other) = archive().await;
    let channels: Vec<_> = (0..120).map(|nth| ChannelId::parse(&format!("c{nth}")).unwrap()).collect();
    let mut state = 11_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    // Each channel has spans that grow, that begin anew after a shorter or a longer pause, and that come late.
    let mut present: Vec<(u64, u64)> = channels.iter().map(|_| (1_000, 1_000)).collect();
    for _round in 0..40 {
        let mut spans = Vec::new();
        for (channel, (from, to)) in channels.iter().zip(&mut present) {
            match below(20) {
                0 => (*from, *to) = (*to + 280_000, *to + 281_000),
                1 => (*from, *to) = (*to + 320_000, *to + 321_000),
                2 => spans.push(ended(channel.clone(), Span::new(at(below(*to)), at(*to / 2)))),
                3 => continue,
                _ => *to += 4_000,
            }
            spans.push(ended(channel.clone(), Span::new(at(*from), at(*to))));
        }
        for archive in [&sqlite, &postgres] {
            archive.note_on_air(&spans).await.unwrap();
        }
        for span in spans.iter().rev() {
            one_by_one.note_on_air(std::slice::from_ref(span)).await.unwrap();
        }
    }
    let now = at(100 * HOUR);
    for channel in &channels {
        let expected = one_by_one.broadcasts(channel, now, 100, now).await.unwrap();
        assert!(!expected.is_empty());
        for archive in [&sqlite, &postgres] {
            assert_eq!(archive.broadcasts(channel, now, 100, now).await.unwrap(), expected, "{channel}");
        }
    }
}

#[tokio::test]
async fn the_time_after_a_broadcast_is_known_in_rows_of_15_minutes_too() {
    let (databases, _folder) = both_databases().await;
    for database in databases {
        let (node, _) = with_a_viewer(&database, 67_000).await;
        for minutes in 2..=60 {
            node.advance_to(at(minutes * 60_000)).await.unwrap();
        }
        let archive = Archive::new(database);
        let quarters = points(&archive, 0, 3 * 24 * HOUR, 900).await;
        let observed: Vec<u64> = quarters[..3].iter().map(|point| point.tally.observed_ms).collect();
        // Nothing was observed before the first sample.
        assert!(observed[0] >= 898_000 && observed[1..] == [900_000; 2], "{observed:?}");
        assert_eq!(quarters[0].counts().map(|(lowest, _, highest)| (lowest, highest)), Some((0, 1)));
    }
}

/// What another node than the owner has seen in its own calls.
#[tokio::test]
async fn a_glimpse_is_a_broadcast_of_its_own_or_says_when_another_began() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        let note = async |from: u64, to: u64, sight: Sight| {
            let span = Span::new(at(from), at(to));
            archive
                .note_on_air(&[OnAir { channel: ana(), span, observed_from: span.from, sight }])
                .await
                .unwrap();
        };
        // The starts and ends. `None`: it goes on, for as long as the owner observes the part.
        let broadcasts = async |now: u64| {
            let broadcasts = archive.broadcasts(&ana(), at(now), 9, at(now)).await.unwrap();
            let spans = broadcasts.iter().map(|one| (one.figures.started_at, one.figures.ended_at));
            let mut spans: Vec<_> = spans.collect();
            spans.sort_unstable();
            spans
        };
        note(10_000, 10_000, Sight::Glimpse).await;
        note(10_000, 10_400, Sight::Glimpse).await;
        assert_eq!(broadcasts(400_000).await, [(at(10_000), Some(at(10_400)))], "the owner has missed it");
        // The owner sees the next one half a second late, and goes on.
        note(900_500, 930_000, Sight::GoesOn(1)).await;
        note(900_000, 900_000, Sight::Glimpse).await;
        let both = [(at(10_000), Some(at(10_400))), (at(900_000), None)];
        assert_eq!(broadcasts(931_000).await, both);
        // Neither a later glimpse nor its end says anything about what the owner sees.
        note(900_000, 960_000, Sight::Glimpse).await;
        note(1_100_000, 1_100_000, Sight::Glimpse).await;
        assert_eq!(broadcasts(961_000).await, both);
        note(900_500, 990_000, Sight::GoesOn(1)).await;
        note(900_500, 1_000_000, Sight::Ended).await;
        assert_eq!(broadcasts(1_310_000).await[1], (at(900_000), Some(at(1_000_000))));
        // What a node has seen of the same time, and writes later than the owner, makes no end later that the owner saw.
        note(900_000, 1_000_000, Sight::Glimpse).await;
        assert_eq!(broadcasts(1_310_000).await[1], (at(900_000), Some(at(1_000_000))));
        // The owner has missed that viewers came back.
        note(1_200_000, 1_200_300, Sight::Glimpse).await;
        assert_eq!(broadcasts(1_600_000).await[1], (at(900_000), Some(at(1_200_300))));
    }
}
