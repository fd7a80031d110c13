//! What arrives late: joins and minutes change what is merged already.

use aforo::{
    domain::ChannelId,
    server::{
        database::{Archive, Retention, Row, joins_key},
        history::{Joins, Span, Track, joins},
    },
};

use super::{HOUR, ana, at, both_databases, ended, half_an_hour, points, rows};

#[tokio::test]
async fn joins_are_read_the_same_before_and_after_they_are_merged() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
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
}

#[tokio::test]
async fn joins_that_arrive_late_change_the_figures_of_their_broadcast() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
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
}

#[tokio::test]
async fn minutes_that_arrive_late_change_the_figures_of_their_broadcast() {
    let (databases, _folder) = both_databases().await;
    for archive in databases.map(Archive::new) {
        let of_node = |rows: Vec<Row>| rows.into_iter().partition(|row| row.node == 1);
        let (late, in_time): (Vec<Vec<Row>>, Vec<Vec<Row>>) = half_an_hour().into_iter().map(of_node).unzip();
        // One write has each row once.
        for rows in &in_time {
            archive.store(rows).await.unwrap();
        }
        archive.note_on_air(&[ended(ana(), Span::new(at(7_137), at(1_799_137)))]).await.unwrap();
        while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
        let now = at(2 * HOUR);
        archive.complete(now).await.unwrap();
        let kept = async || archive.broadcasts(&ana(), now, 5, now).await.unwrap().remove(0).figures;
        let before = kept().await;
        assert!(before.observed < 0.7, "the owner's rows are missing: {before:?}");

        for rows in &late {
            archive.store(rows).await.unwrap();
        }
        while archive.compact(ana().part(), at(HOUR)).await.unwrap() {}
        archive.complete(now).await.unwrap();
        let after = kept().await;
        assert!(after.observed > 0.99 && after.watch_seconds > before.watch_seconds, "{after:?}");
        assert_eq!(after.ended_at, Some(at(1_799_137)));
    }
}
