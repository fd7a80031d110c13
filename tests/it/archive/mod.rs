//! The archive of counts: rows of several nodes are merged to the same result in any order, and survive what happens to
//! nodes and databases.

mod broadcasts;
mod late;
mod retention;

use std::time::{Duration, Instant};

use aforo::{
    domain::{ChannelId, Timestamp, ViewerId},
    server::{
        config::{self, Config, DatabaseConfig},
        database::{Archive, Database, OnAir, Row, RowKind, Sight, part_key},
        history::{Cuts, Figures, HashKey, Place, Point, Sketch, Span, TakenMinute, Track, Zone},
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

/// The name of another channel of the same part as `ana`.
fn of_part(number: u32) -> String {
    let name = |letter| ChannelId::parse(&format!("c{number}{letter}")).unwrap();
    ('a'..='z').map(name).find(|channel| channel.part() == ana().part()).unwrap().to_string()
}

/// A span on air that is over.
fn ended(channel: ChannelId, span: Span) -> OnAir {
    OnAir { channel, span, observed_from: span.from, sight: Sight::Ended }
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
    let (databases, _one) = both_databases().await;
    let (others, _other) = both_databases().await;
    for (archive_in_order, merged) in databases.map(Archive::new).into_iter().zip(others.map(Archive::new)) {
        for rows in &in_order {
            archive_in_order.store(rows).await.unwrap();
        }
        let expected = readings(&archive_in_order).await;

        let figures = &expected.1;
        assert_eq!(figures.peak, Some(22));
        assert_eq!(figures.peak_at, Some(at(22 * 7_000 + 137)), "the first time, to the millisecond");
        let observed_seconds = figures.observed * 1_799.137;
        assert!(
            (figures.average.unwrap() * observed_seconds - figures.watch_seconds).abs() < 1.0,
            "{figures:?}"
        );
        // The first node was killed 3 seconds after its last write, and the second took over 5 seconds after its last sample.
        assert!((observed_seconds - (1_799.0 - 3.0 - 5.0)).abs() < 0.01, "{figures:?}");

        // Merged while rows are written, by two nodes.
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
    let (databases, _one) = both_databases().await;
    let (others, _other) = both_databases().await;
    let (whole, news) = (quiet_channels(&names, true), quiet_channels(&names, false));
    let of_channels = |all: &[Vec<Row>]| all.iter().flatten().filter(|row| row.channel == "ana").count();
    assert!(of_channels(&news) <= 16 + 2 * 6 && of_channels(&whole) > 220, "{}", of_channels(&news));
    for (every_time, once) in databases.map(Archive::new).into_iter().zip(others.map(Archive::new)) {
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
}

#[tokio::test]
async fn viewers_of_a_range_are_merged_and_not_added() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
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
        let rows =
            [row(1, 1_000, &people[..40]), row(2, 3_000, &people[20..60]), row(1, HOUR, &people[30..90])];
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
        // The store was away when the first viewers of the next broadcast came.
        archive.store(&[row(2, 700_000, &people[..10])]).await.unwrap();
        archive.note_on_air(&[ended(ana(), Span::new(at(910_000), at(920_000)))]).await.unwrap();
        let kept = archive.broadcasts(&ana(), now, 2, now).await.unwrap();
        assert_eq!(kept.iter().map(|kept| kept.figures.uniques).collect::<Vec<_>>(), [10, 60]);
    }
}

#[tokio::test]
async fn the_cost_of_a_range_depends_on_what_is_stored() {
    const CENTURIES: u64 = 221_000_000_000_000;
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
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
}
