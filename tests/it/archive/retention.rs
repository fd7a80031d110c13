//! Retention: what is removed when, and what is read of the rest meanwhile.

use aforo::{
    domain::{ChannelId, Timestamp},
    server::{
        database::{Archive, Retention, Row, RowKind, joins_key},
        history::{Cuts, Joins, Span, Track, Zone, joins},
    },
};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::{GAP, HOUR, ana, archive, at, both_databases, ended, half_an_hour, of_part, points, rows};

const DAY: u64 = 24 * HOUR;

#[tokio::test]
async fn old_details_go_and_the_rest_stays() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
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
}

#[tokio::test]
async fn no_channel_is_shown_empty_while_old_rows_are_removed() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        // More channels than one call cleans, and all of them come before the parts in the order of names.
        let names: Vec<String> = (10..80).map(|nth| format!("-{nth}")).collect();
        let mut channels = names.iter().map(|name| ChannelId::parse(name).unwrap());
        let first = channels.find(|channel| channel.part() == ana().part()).unwrap();
        for mut of_node in half_an_hour() {
            for row in of_node.iter_mut().filter(|row| row.channel == "ana") {
                row.channel = first.to_string();
            }
            archive.store(&of_node).await.unwrap();
        }
        for name in names.iter().filter(|name| **name != *first.as_str()) {
            let mut track = Track::default();
            track.observe(1, at(0), true, GAP);
            archive.store(&rows(&mut track, name, 1, at(1_000))).await.unwrap();
        }
        while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
        let quarters = async || {
            let cuts = Cuts::new(at(0), at(1_800_000), Some(900), &Zone::utc()).unwrap();
            archive.points(&first, &cuts).await.unwrap()
        };
        let before = quarters().await;
        let mut after = String::new();
        while let Some(last) = archive.clean(&after, Retention::days(None), at(100 * DAY)).await.unwrap() {
            assert_eq!(quarters().await, before, "after {last}");
            after = last;
        }
        assert!(*after > **names.last().unwrap(), "parts and channels were cleaned: {after}");
    }
}

#[tokio::test]
async fn damaged_rows_keep_no_other_broadcast_from_being_completed() {
    let (archive, folder) = archive().await;
    // More damaged ones than one call completes, all of them older than the others.
    let (damaged, whole) = (60, 5);
    for number in 0..damaged + whole {
        let channel = ChannelId::parse(&of_part(number)).unwrap();
        let from = u64::from(number) * 1_000;
        archive.note_on_air(&[ended(channel.clone(), Span::new(at(from), at(from + 60_000)))]).await.unwrap();
        if number < damaged {
            let row = Row {
                kind: RowKind::Viewers,
                channel: channel.to_string(),
                part: channel.part(),
                start: at(from),
                node: 1,
                data: b"damaged".to_vec(),
                held: None,
            };
            archive.store(&[row]).await.unwrap();
        }
    }
    archive.complete(at(HOUR)).await.unwrap();
    let url = format!("sqlite:{}", folder.path().join("aforo.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let open = "SELECT COUNT(*) FROM broadcasts WHERE figures IS NULL";
    let open: i64 = sqlx::query(open).fetch_one(&mut connection).await.unwrap().get(0);
    assert_eq!(open, i64::from(damaged));
}
