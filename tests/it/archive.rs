//! The archive of counts: rows of several nodes are merged to the same result in any order, and survive what happens to
//! nodes and databases.

use std::time::{Duration, Instant};

use aforo::{
    domain::{ChannelId, Policy, SessionId, SessionKey, Timestamp, ViewerId},
    server::{
        config::{self, Config, DatabaseConfig},
        database::{Archive, Database, Kept, OnAir, Retention, Row, RowKind, joins_key, part_key},
        history::{
            Cuts, Figures, HashKey, Joins, Place, Point, Sketch, Span, TakenMinute, Track, Zone, joins,
        },
        recording::simulated::SimulatedNode,
    },
};
use tempfile::TempDir;

use crate::support::{Postgres, viewer};

const START: u64 = 1_790_000_100_000;
const HOUR: u64 = 3_600_000;
const GAP: Duration = Duration::from_secs(5);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn ana() -> ChannelId {
    ChannelId::parse("ana").unwrap()
}

/// A span on air that is over.
fn ended(channel: ChannelId, span: Span) -> OnAir {
    OnAir { channel, span, seen_by: None }
}

async fn archive() -> (Archive, TempDir) {
    let folder = TempDir::new().unwrap();
    let config = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
    (Archive::new(Database::open(&config).await.unwrap()), folder)
}

/// A database of each kind.
async fn both_databases() -> ([Database; 2], TempDir) {
    let url = Postgres::shared().await.database().await;
    let Config { database: postgres, .. } =
        config::read(["aforo", &format!("--database-url={url}")]).unwrap();
    let folder = TempDir::new().unwrap();
    let sqlite = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
    ([Database::open(&sqlite).await.unwrap(), Database::open(&postgres).await.unwrap()], folder)
}

/// The rows of what a track holds.
fn rows(track: &mut Track, channel: &str, node: u64, now: Timestamp) -> Vec<Row> {
    as_rows(track.take_dirty(now), channel, node)
}

fn as_rows(minutes: Vec<TakenMinute>, channel: &str, node: u64) -> Vec<Row> {
    let part = ana().part();
    let row = |TakenMinute { start, minute, held }| Row {
        kind: RowKind::Minute,
        channel: channel.to_owned(),
        part,
        start,
        node,
        data: minute.encode(),
        held,
    };
    minutes.into_iter().map(row).collect()
}

/// Half an hour of a channel with two nodes: the first owns it, dies after 12 minutes and 20 seconds, and the second owns
/// it 4 seconds later. The count goes up and down every few seconds. The owner also sees the complete list of its part,
/// but for one minute.
fn half_an_hour() -> Vec<Vec<Row>> {
    let (mut first, mut second, mut part) = (Track::default(), Track::default(), Track::default());
    let mut taken = Vec::new();
    let death = 740_000;
    for second_of_run in 0..1_800_u64 {
        let now = second_of_run * 1_000 + 137;
        let count = u32::try_from((second_of_run / 7) % 23).unwrap();
        let is_first_alive = now < death;
        if is_first_alive {
            first.observe(count, at(now), true, GAP);
        }
        let owns = now >= death + 4_000;
        second.observe(count, at(now), owns, GAP);
        let is_list_known = !(600_000..660_000).contains(&now);
        if is_list_known && (is_first_alive || owns) {
            part.observe(0, at(now), true, GAP);
        } else {
            part.unknown(at(now));
        }
        if second_of_run % 97 == 0 {
            second.arrive(2, Place::Embed("news.example"), at(now));
        }
        if second_of_run % 4 == 0 {
            if is_first_alive {
                taken.push(rows(&mut first, "ana", 1, at(now)));
            }
            taken.push(rows(&mut second, "ana", 2, at(now)));
            let owner = if is_first_alive { 1 } else { 2 };
            taken.push(rows(&mut part, &part_key(ana().part()), owner, at(now)));
        }
    }
    taken
}

async fn points(archive: &Archive, from: u64, to: u64, step: u64) -> Vec<Point> {
    let cuts = Cuts::new(at(from), at(to), Some(step), &Zone::utc()).unwrap();
    archive.points(&ana(), &cuts).await.unwrap()
}

/// All ways to read the half hour.
async fn readings(archive: &Archive) -> (Vec<Vec<Point>>, Figures) {
    let mut all = Vec::new();
    for (from, to, step) in [
        (0, 1_800_000, 60),
        (0, 1_800_000, 300),
        (0, 1_800_000, 900),
        (0, 1_800_000, 1_800),
        (61_500, 1_333_100, 77),
        (HOUR, 2 * HOUR, 300),
    ] {
        all.push(points(archive, from, to, step).await);
    }
    let figures = archive.figures(&ana(), Span::new(at(0), at(1_799_137)), None).await.unwrap();
    (all, figures)
}

#[tokio::test]
async fn rows_merge_to_the_same_result_in_any_order_and_however_often() {
    let in_order = half_an_hour();
    let (archive_in_order, _one) = archive().await;
    for rows in &in_order {
        archive_in_order.store(rows).await.unwrap();
    }
    let expected = readings(&archive_in_order).await;

    let figures = &expected.1;
    assert_eq!(figures.peak, Some(22));
    assert_eq!(figures.peak_at, Some(at(22 * 7_000 + 137)), "the first time, to the millisecond");
    let observed_seconds = figures.observed * 1_799.137;
    assert!((figures.average.unwrap() * observed_seconds - figures.watch_seconds).abs() < 1.0, "{figures:?}");
    // The first node was killed 3 seconds after its last write, and the second took over 5 seconds after its last sample.
    assert!((observed_seconds - (1_799.0 - 3.0 - 5.0)).abs() < 0.01, "{figures:?}");

    // Merged while rows are written, by two nodes.
    let (merged, _other) = archive().await;
    for (nth, rows) in in_order.iter().enumerate() {
        merged.store(rows).await.unwrap();
        if nth % 50 == 0 {
            let before = at(u64::try_from(nth).unwrap() * 1_300);
            while merged.compact(ana().part(), before).await.unwrap() {}
        }
    }
    assert_eq!(readings(&merged).await, expected);
    while merged.compact(ana().part(), at(HOUR)).await.unwrap() {}
    assert_eq!(readings(&merged).await, expected);
    // Written again, as after a lost answer, and merged again.
    for rows in in_order.iter().rev().take(60).rev() {
        merged.store(rows).await.unwrap();
    }
    assert_eq!(readings(&merged).await, expected);
    while merged.compact(ana().part(), at(HOUR)).await.unwrap() {}
    assert_eq!(readings(&merged).await, expected);
}

/// A quarter of an hour of some channels on one node that is killed at its end, as a server writes it every four seconds:
/// whole rows each time, or only news. Somebody comes or goes every few minutes.
fn quiet_channels(channels: &[&str], everything: bool) -> Vec<Vec<Row>> {
    let (mut tracks, mut part) =
        (channels.iter().map(|_| Track::default()).collect::<Vec<_>>(), Track::default());
    let mut taken = Vec::new();
    for second in 0..=900_u64 {
        let now = at(second * 1_000 + 137);
        for (nth, track) in (0..).zip(&mut tracks) {
            track.observe(u32::try_from((second + 7 * nth) / (150 + nth)).unwrap() % 3 * 5, now, true, GAP);
        }
        part.observe(0, now, true, GAP);
        if second % 4 == 0 {
            let of_channels = channels.iter().zip(&mut tracks).flat_map(|(channel, track)| {
                let minutes = if everything { track.take_dirty(now) } else { track.take_news(now) };
                as_rows(minutes, channel, 1)
            });
            let mut rows: Vec<Row> = of_channels.collect();
            rows.extend(as_rows(part.take_dirty(now), &part_key(ana().part()), 1));
            taken.push(rows);
        }
    }
    taken
}

#[tokio::test]
async fn a_count_that_holds_is_written_once_a_minute_and_read_as_if_it_were_written_each_time() {
    // All are of one part. One is before the part in the order of names, and they are merged in several transactions.
    let names: Vec<String> =
        ["ana", "..d"].into_iter().map(str::to_owned).chain((0..250).map(of_part)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (every_time, _one) = archive().await;
    let (once, _other) = archive().await;
    let (whole, news) = (quiet_channels(&names, true), quiet_channels(&names, false));
    let of_channels = |all: &[Vec<Row>]| all.iter().flatten().filter(|row| row.channel == "ana").count();
    assert!(of_channels(&news) <= 16 + 2 * 6 && of_channels(&whole) > 220, "{}", of_channels(&news));
    let compare = async |to: u64| {
        for name in ["ana", "..d", names[9]] {
            let channel = ChannelId::parse(name).unwrap();
            for step in [60, 300] {
                let cuts = Cuts::new(at(0), at(to), Some(step), &Zone::utc()).unwrap();
                let expected = every_time.points(&channel, &cuts).await.unwrap();
                assert_eq!(once.points(&channel, &cuts).await.unwrap(), expected, "{name} until {to}");
            }
        }
    };
    for (nth, (whole, news)) in (1..).zip(whole.iter().zip(&news)) {
        every_time.store(whole).await.unwrap();
        once.store(news).await.unwrap();
        if nth % 25 == 0 {
            compare(nth * 4_000).await;
        }
        if nth == 200 {
            for archive in [&every_time, &once] {
                while archive.compact(ana().part(), at(600_000)).await.unwrap() {}
            }
        }
    }
    for before in [900_000, HOUR] {
        for archive in [&every_time, &once] {
            while archive.compact(ana().part(), at(before)).await.unwrap() {}
        }
        compare(900_000).await;
    }
}

/// The name of another channel of the same part as `ana`.
fn of_part(number: u32) -> String {
    let name = |letter| ChannelId::parse(&format!("c{number}{letter}")).unwrap();
    ('a'..='z').map(name).find(|channel| channel.part() == ana().part()).unwrap().to_string()
}

#[tokio::test]
async fn a_broadcast_that_goes_on_lasts_as_long_as_its_node_observes_the_part() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        let goes_on = OnAir { channel: ana(), span: Span::new(at(137), at(4_137)), seen_by: Some(1) };
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
        let resumed =
            |to: u64, seen_by| OnAir { channel: ana(), span: Span::new(at(204_000), at(to)), seen_by };
        archive.note_on_air(&[resumed(205_000, Some(2))]).await.unwrap();
        assert!(present(210_000).await.observed < 1.0);
        archive.note_on_air(&[resumed(206_000, None)]).await.unwrap();
        archive.note_on_air(std::slice::from_ref(&goes_on)).await.unwrap();
        let ended = present(600_000).await;
        assert_eq!(ended.ended_at, Some(at(206_000)), "{ended:?}");
        assert_eq!(ended.watch_seconds, 1_400.0);
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
        let note = async |channel: &ChannelId, from: u64, to: u64, seen_by: Option<u64>| {
            let span = Span::new(at(from), at(to));
            archive.note_on_air(&[OnAir { channel: channel.clone(), span, seen_by }]).await.unwrap();
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
            note(channel, 100_000, 550_000, Some(1)).await;
        }
        note(ended, 100_000, 560_000, None).await;
        note(taken_over, 585_000, 590_000, Some(2)).await;
        note(ended_by_another, 584_000, 584_500, None).await;
        // Within five minutes after it was seen, but not after its written end.
        note(resumed, 870_000, 900_000, None).await;
        note(long_before, 100_000, 200_000, Some(1)).await;
        // Not within five minutes.
        note(next, 880_001, 900_000, None).await;

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
        note(lost, 100_000, 585_000, None).await;
        while archive.lengthen_abandoned(at(HOUR)).await.unwrap() {}
        assert_eq!(broadcasts(lost).await, [(100_000, 585_000)]);
        let figures = archive.broadcasts(lost, at(HOUR), 1, at(HOUR)).await.unwrap().remove(0).figures;
        assert_eq!(figures.ended_at, Some(at(585_000)));
    }
}

#[tokio::test]
async fn joins_are_read_the_same_before_and_after_they_are_merged() {
    let (archive, _folder) = archive().await;
    let (mut first, mut second) = (Track::default(), Track::default());
    let key = joins_key("ana");
    assert!(ChannelId::parse(&key).is_err(), "no channel has this name");
    let mut written = Vec::new();
    for second_of_run in 0..1_800_u64 {
        let now = at(second_of_run * 1_000 + 137);
        first.arrive(1, joins::place_of(second_of_run % 3 == 0), now);
        if second_of_run % 2 == 0 {
            second.arrive(2, joins::place_of(false), now);
        }
        if second_of_run % 44 == 0 {
            written.push(rows(&mut first, &key, 1, now));
            written.push(rows(&mut second, &key, 2, now));
        }
    }
    let end = at(1_800_000);
    written.extend([rows(&mut first, &key, 1, end), rows(&mut second, &key, 2, end)]);
    let of = |with_ticket, without_ticket| Some(Joins { with_ticket, without_ticket });
    let assert_all = async |when: &str| {
        for (step, expected) in [(60, of(20, 70)), (300, of(100, 350)), (900, of(300, 1_050))] {
            let points = points(&archive, 0, 1_800_000, step).await;
            assert!(points.iter().all(|point| point.joins == expected), "{when}, {step} s: {points:?}");
        }
        // From here on rows of 15 minutes are read.
        let month = points(&archive, 0, 30 * 24 * HOUR, 24 * HOUR / 1_000).await;
        assert_eq!(month[0].joins, of(600, 2_100), "{when}");
        assert!(month[1..].iter().all(|point| point.joins.is_none()), "{when}");
        let figures = archive.figures(&ana(), Span::new(at(0), at(1_799_137)), None).await.unwrap();
        assert_eq!((figures.joins, figures.observed), (of(600, 2_100), 0.0), "{when}");
    };
    for rows in &written {
        archive.store(rows).await.unwrap();
    }
    assert_all("not merged").await;
    while archive.compact(ana().part(), at(700_000)).await.unwrap() {}
    assert_all("partly merged").await;
    while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
    assert_all("merged").await;
    for rows in written.iter().rev().take(10).rev() {
        archive.store(rows).await.unwrap();
    }
    assert_all("written again").await;
    while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
    assert_all("merged again").await;
    // Minutes and rows of 5 minutes go when their time is over, and rows of 15 minutes stay.
    let now = at(100 * 24 * HOUR);
    assert_eq!(archive.clean("", Retention::days(None), now).await.unwrap(), Some(key));
    let quarters = points(&archive, 0, 1_800_000, 900).await;
    assert!(quarters.iter().all(|point| point.joins == of(300, 1_050)), "{quarters:?}");
    let figures = archive.figures(&ana(), Span::new(at(0), at(30 * 24 * HOUR)), None).await.unwrap();
    assert_eq!(figures.joins, of(600, 2_100));
    assert_eq!(points(&archive, 0, 30 * 24 * HOUR, 24 * HOUR / 1_000).await[0].joins, of(600, 2_100));
}

#[tokio::test]
async fn joins_that_arrive_late_change_the_figures_of_their_broadcast() {
    let (archive, _folder) = archive().await;
    for rows in half_an_hour() {
        archive.store(&rows).await.unwrap();
    }
    archive.note_on_air(&[ended(ana(), Span::new(at(7_137), at(1_799_137)))]).await.unwrap();
    let now = at(2 * HOUR);
    let kept = async || {
        while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
        archive.complete(now).await.unwrap();
        archive.broadcasts(&ana(), now, 5, now).await.unwrap().remove(0).figures
    };
    let mut expected = kept().await;
    assert_eq!(expected.joins, None);
    let mut track = Track::default();
    for (node, has_ticket) in [(1, true), (2, false), (3, true)] {
        track.arrive(node, joins::place_of(has_ticket), at(900_000));
        archive.store(&rows(&mut track, &joins_key("ana"), node, at(900_000))).await.unwrap();
        kept().await;
    }
    expected.joins = Some(Joins { with_ticket: 2, without_ticket: 1 });
    assert_eq!(kept().await, expected);
}

#[tokio::test]
async fn minutes_that_arrive_late_change_the_figures_of_their_broadcast() {
    let (archive, _folder) = archive().await;
    let all = half_an_hour();
    let (late, in_time): (Vec<Row>, Vec<Row>) = all.into_iter().flatten().partition(|row| row.node == 1);
    archive.store(&in_time).await.unwrap();
    archive.note_on_air(&[ended(ana(), Span::new(at(7_137), at(1_799_137)))]).await.unwrap();
    while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
    let now = at(2 * HOUR);
    archive.complete(now).await.unwrap();
    let kept = async || archive.broadcasts(&ana(), now, 5, now).await.unwrap().remove(0).figures;
    let before = kept().await;
    assert!(before.observed < 0.7, "the owner's rows are missing: {before:?}");

    archive.store(&late).await.unwrap();
    while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
    archive.complete(now).await.unwrap();
    let after = kept().await;
    assert!(after.observed > 0.99 && after.watch_seconds > before.watch_seconds, "{after:?}");
    assert_eq!(after.ended_at, Some(at(1_799_137)));
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
async fn viewers_of_a_range_are_merged_and_not_added() {
    let (archive, _folder) = archive().await;
    let key = HashKey::new([7; 16]);
    let people: Vec<ViewerId> = (0..90).map(|_| ViewerId::new(viewer()).unwrap()).collect();
    let row = |node: u64, start: u64, people: &[ViewerId]| {
        let mut sketch = Sketch::default();
        for one in people {
            sketch.insert(*one, &key);
        }
        Row {
            kind: RowKind::Viewers,
            channel: "ana".to_owned(),
            part: ana().part(),
            start: at(start),
            node,
            data: sketch.encode(),
            held: None,
        }
    };
    let rows = [row(1, 1_000, &people[..40]), row(2, 3_000, &people[20..60]), row(1, HOUR, &people[30..90])];
    archive.store(&rows).await.unwrap();
    let uniques = async |from: u64, to: u64| {
        archive.figures(&ana(), Span::new(at(from), at(to)), None).await.unwrap().uniques
    };
    assert_eq!(uniques(0, 2 * HOUR).await, 90);
    assert_eq!(uniques(2 * HOUR, 3 * HOUR).await, 0);
    archive.note_on_air(&[ended(ana(), Span::new(at(2_500), at(600_000)))]).await.unwrap();
    let now = at(HOUR);
    let kept = archive.broadcasts(&ana(), now, 1, now).await.unwrap().remove(0);
    assert_eq!(
        kept.figures.uniques, 60,
        "those of its own span, seen a moment before the owner saw its start"
    );
}

#[tokio::test]
async fn old_details_go_and_the_rest_stays() {
    const DAY: u64 = 24 * HOUR;
    let (archive, _folder) = archive().await;
    for rows in half_an_hour() {
        archive.store(&rows).await.unwrap();
    }
    let mut track = Track::default();
    track.arrive(1, joins::place_of(true), at(900_000));
    archive.store(&rows(&mut track, &joins_key("ana"), 1, at(900_000))).await.unwrap();
    archive.note_on_air(&[ended(ana(), Span::new(at(7_137), at(1_799_137)))]).await.unwrap();
    while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
    archive.complete(at(HOUR)).await.unwrap();
    let before = points(&archive, 0, 1_800_000, 900).await;
    assert_eq!(before[1].joins, Some(Joins { with_ticket: 1, without_ticket: 0 }));
    let clean = async |days: Option<u32>, now: Timestamp| {
        let mut after = String::new();
        while let Some(last) = archive.clean(&after, Retention::days(days), now).await.unwrap() {
            after = last;
        }
    };
    clean(None, at(3 * DAY)).await;
    assert_eq!(points(&archive, 0, 1_800_000, 900).await, before, "rows of 15 minutes need no minutes");
    let minutes = points(&archive, 0, 1_800_000, 60).await;
    assert!(
        minutes.iter().all(|point| point.tally.observed_ms > 0),
        "a row of 5 minutes is shared by its minutes"
    );
    clean(None, at(100 * DAY)).await;
    let week = points(&archive, 0, 7 * DAY, 900).await;
    assert_eq!(
        week.iter().map(|point| point.tally.watched_ms).sum::<u64>(),
        before.iter().map(|point| point.tally.watched_ms).sum::<u64>()
    );
    // Also in a range for which rows of 5 minutes would be read.
    assert_eq!(points(&archive, 0, 1_800_000, 900).await, before);
    let minutes = points(&archive, 900_000, 1_800_000, 60).await;
    let watched = minutes.iter().map(|point| point.tally.watched_ms).sum::<u64>();
    // A share is rounded to the millisecond.
    assert!(watched.abs_diff(before[1].tally.watched_ms) <= 15, "{watched} {:?}", before[1]);
    let now = at(100 * DAY);
    assert_eq!(
        archive.broadcasts(&ana(), now, 5, now).await.unwrap()[0].figures.peak,
        Some(22),
        "kept for good"
    );
    clean(Some(30), now).await;
    assert_eq!(archive.broadcasts(&ana(), now, 5, now).await.unwrap(), []);
    let week = points(&archive, 0, 7 * DAY, 900).await;
    assert!(week.iter().all(|point| point.tally.observed_ms == 0));
}

#[tokio::test]
async fn the_cost_of_a_range_depends_on_what_is_stored() {
    const CENTURIES: u64 = 221_000_000_000_000;
    let (archive, _folder) = archive().await;
    for rows in half_an_hour() {
        archive.store(&rows).await.unwrap();
    }
    while archive.compact(ana().part(), at(1_200_000)).await.unwrap() {}
    let began = Instant::now();
    let everything = Span::new(Timestamp::from_millis(0), Timestamp::from_millis(CENTURIES));
    let cuts = Cuts::new(everything.from, everything.to, None, &Zone::utc()).unwrap();
    let points = archive.points(&ana(), &cuts).await.unwrap();
    let figures = archive.figures(&ana(), everything, None).await.unwrap();
    // A step for each quarter of an hour from 1970 on would take minutes.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let expected = archive.figures(&ana(), Span::new(at(0), at(HOUR)), None).await.unwrap();
    let watched: u64 = points.iter().map(|point| point.tally.watched_ms).sum();
    assert_eq!((figures.peak, figures.watch_seconds), (expected.peak, expected.watch_seconds));
    assert!((watched as f64 / 1_000.0 - expected.watch_seconds).abs() < 0.01, "{watched} {expected:?}");
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
