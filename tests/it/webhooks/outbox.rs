//! The contract of the outbox, which every database keeps.

use aforo::{
    domain::{ChannelId, Timestamp},
    server::{
        config,
        database::{
            Announced, Announcement, Archive, Backlog, Database, NewEvent, OnAir, Open, Outbox, Outcome,
            Sight,
        },
        history::{Broadcast, Span},
    },
};
use tempfile::TempDir;

use super::until;
use crate::support::Postgres;

const ALL: [u16; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

fn span(name: &str, from: u64, to: u64) -> OnAir {
    OnAir {
        channel: channel(name),
        span: Span::new(at(from), at(to)),
        observed_from: at(from),
        sight: Sight::Ended,
    }
}

fn events(names: &[&str]) -> Vec<NewEvent> {
    names.iter().map(|name| NewEvent { id: (*name).to_owned(), body: format!("{{\"{name}\":1}}") }).collect()
}

fn live(open: &Open, names: &[&str]) -> Announcement {
    let announced = Announced { is_live: true, ..open.announced };
    Announcement { open: open.clone(), announced, events: events(names) }
}

/// Checks the contract, with two nodes over one database.
async fn check_contract(here: Database, there: Database) {
    let (archive, outbox, other) =
        (Archive::new(here.clone()).announcing(), Outbox::new(here), Outbox::new(there.clone()));
    let receivers = ["one".to_owned(), "two".to_owned()];
    let due = async |receiver: &str, now: u64| -> Vec<String> {
        let due = outbox.due(&ALL, receiver, &[], at(now), 100).await.unwrap();
        due.into_iter().map(|delivery| delivery.event).collect()
    };

    let settle = async |outbox: &Outbox, event: &str, receiver: &str, again, now| {
        let (event, receiver) = (event.to_owned(), receiver.to_owned());
        outbox
            .settle(Outcome { channel: channel("ana"), event, receiver, again, now: at(now) })
            .await
            .unwrap();
    };
    for one in [&outbox, &other] {
        let one = one.clone();
        tokio::spawn(async move { one.run().await });
    }

    // A broadcast is registered when it begins, once, and keeps its identity when it turns out to have begun earlier.
    archive.note_on_air(&[span("ana", 10, 20), span("eva.tv", 10, 20)]).await.unwrap();
    archive.note_on_air(&[span("ana", 15, 30), span("ana", 5, 12)]).await.unwrap();
    let open = outbox.open_new(&ALL, Timestamp::default()).await.unwrap();
    assert_eq!(open.len(), 2);
    let ana = &open[0];
    assert_eq!((ana.channel.as_str(), ana.first_start), ("ana", at(10)));
    assert_eq!(ana.broadcast, Some(Broadcast { started_at: at(5), last_on_air: at(30) }));
    assert_eq!(outbox.open(&[channel("eva.tv").part()]).await.unwrap(), open[1..]);
    assert_eq!(outbox.open(&[]).await.unwrap(), []);

    // Two nodes that announce the same: one does.
    let announcement = live(ana, &["a1", "a2"]);
    assert_eq!(outbox.announce(std::slice::from_ref(&announcement), &receivers, at(30)).await.unwrap(), 1);
    assert_eq!(other.announce(&[announcement], &receivers, at(31)).await.unwrap(), 0);
    assert_eq!(outbox.open_new(&ALL, Timestamp::default()).await.unwrap(), open[1..]);
    let racers: Vec<_> =
        (0..8).map(|nth| (if nth % 2 == 0 { &outbox } else { &other }, live(&open[1], &["e1"]))).collect();
    let made = racers.iter().map(|(node, announcement)| async {
        node.announce(std::slice::from_ref(announcement), &receivers, at(31)).await.unwrap()
    });
    assert_eq!(futures::future::join_all(made).await.iter().sum::<usize>(), 1);

    // Events of a channel come one at a time, in order, to each receiver by itself.
    assert_eq!(due("one", 29).await, Vec::<String>::new());
    assert_eq!(due("one", 31).await, ["a1", "e1"]);
    settle(&outbox, "a1", "one", None, 31).await;
    assert_eq!(due("one", 31).await, ["e1", "a2"]);
    assert_eq!(due("two", 31).await, ["a1", "e1"]);
    assert_eq!(outbox.due(&[channel("ana").part()], "two", &[], at(31), 100).await.unwrap().len(), 1);
    assert_eq!(outbox.due(&ALL, "two", &[], at(31), 1).await.unwrap().len(), 1);
    let others = outbox.due(&ALL, "two", &[channel("ana"), channel("bob")], at(31), 100).await.unwrap();
    assert_eq!(others.into_iter().map(|one| one.event).collect::<Vec<_>>(), ["e1"]);
    assert_eq!(due("three", 31).await, Vec::<String>::new());

    // A failed event holds up the later ones of its channel, until it has failed three times.
    for attempts in 1..=3_u32 {
        settle(&outbox, "a1", "two", Some((attempts, at(100))), 31).await;
        let expected: &[&str] = if attempts < 3 { &["e1"] } else { &["e1", "a2"] };
        assert_eq!(due("two", 31).await, expected, "after {attempts} attempts");
    }
    assert_eq!(due("two", 100).await, ["e1", "a2", "a1"], "what is due longest comes first");
    settle(&other, "a1", "two", Some((2, at(50))), 50).await;
    assert_eq!(due("two", 50).await, ["e1", "a2"], "an outcome that arrives late changes nothing");
    let delivery = outbox.due(&ALL, "two", &[], at(100), 10).await.unwrap().pop().unwrap();
    assert_eq!((delivery.attempts, &*delivery.body), (3, "{\"a1\":1}"));
    assert_eq!(outbox.backlog(&ALL, "two").await.unwrap(), Backlog { events: 3, oldest: Some(at(30)) });

    // An end is announced only while it is one.
    let open = outbox.open(&ALL).await.unwrap();
    let ended = |open: &Open, name: &str| {
        let announced = Announced { ended_at: Some(at(30)), ..open.announced };
        Announcement { open: open.clone(), announced, events: events(&[name]) }
    };
    archive.note_on_air(&[span("ana", 30, 40)]).await.unwrap();
    assert_eq!(outbox.announce(&[ended(&open[0], "a3")], &receivers, at(400)).await.unwrap(), 0);
    let open = outbox.open(&ALL).await.unwrap();
    assert_eq!(outbox.announce(&[ended(&open[0], "a3")], &receivers, at(400)).await.unwrap(), 1);
    assert_eq!(outbox.open(&ALL).await.unwrap().len(), 1, "its end was announced");

    // A channel is on air again, and its signal says that this began before the end that was announced.
    let late = |from: u64, to: u64| OnAir { observed_from: at(600), ..span("ana", from, to) };
    for (from, to) in [(35, 610), (35, 640), (0, 670)] {
        archive.note_on_air(&[late(from, to)]).await.unwrap();
    }
    let open = outbox.open_new(&ALL, Timestamp::default()).await.unwrap();
    let began = Timestamp::from_millis(at(340).as_millis() + 1);
    assert_eq!((open.len(), open[0].first_start), (1, began), "the next broadcast is announced");
    assert_eq!(open[0].broadcast, Some(Broadcast { started_at: began, last_on_air: at(670) }));
    let kept = archive.broadcasts(&channel("ana"), at(5_000), 9, at(5_000)).await.unwrap();
    assert_eq!(kept[1].figures.ended_at, Some(at(40)), "the end that was announced holds");
    assert_eq!(kept.len(), 2);
    outbox.forget(&open[0]).await.unwrap();

    // Broadcasts that turn out to be one are read as one.
    archive.note_on_air(&[span("bob", 10, 20), span("bob", 600, 610)]).await.unwrap();
    archive.note_on_air(&[span("bob", 250, 400)]).await.unwrap();
    let bob: Vec<Open> =
        outbox.open(&ALL).await.unwrap().into_iter().filter(|open| open.channel.as_str() == "bob").collect();
    let whole = Some(Broadcast { started_at: at(10), last_on_air: at(610) });
    assert!(bob.len() == 2 && bob.iter().all(|open| open.broadcast == whole), "{bob:?}");
    outbox.forget(&bob[1]).await.unwrap();

    // Broadcasts that began without webhooks are found while they are on air.
    let silent = Archive::new(there);
    silent.note_on_air(&[span("old", 10, 20), span("now", 990, 1_000)]).await.unwrap();
    silent.note_on_air(&[span("now", 985, 1_000)]).await.unwrap();
    archive.register_present(&[channel("ana").part()], at(900)).await.unwrap();
    archive.register_present(&ALL, at(900)).await.unwrap();
    archive.register_present(&ALL, at(900)).await.unwrap();
    let found: Vec<_> = outbox.open_new(&ALL, Timestamp::default()).await.unwrap();
    let found: Vec<_> = found.iter().map(|open| (open.channel.as_str(), open.first_start)).collect();
    assert_eq!(found, [("bob", at(10)), ("now", at(985))]);

    // What is too old or too much is dropped.
    let now = &outbox.open_new(&ALL, Timestamp::default()).await.unwrap()[1];
    let names: Vec<String> = (0..20).map(|nth| format!("n{nth:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    outbox.announce(&[live(now, &names)], &receivers, at(1_000)).await.unwrap();
    assert_eq!(outbox.drop_oldest(&ALL, "two", at(35), 1_000, at(1_000)).await.unwrap(), 3, "a1, a2 and e1");
    assert_eq!(outbox.drop_oldest(&ALL, "two", at(35), 5, at(1_000)).await.unwrap(), 16);
    assert_eq!(due("two", 2_000).await, ["n15"], "the newest are left");
    assert_eq!(outbox.backlog(&ALL, "one").await.unwrap().events, 23, "other receivers keep theirs");
    outbox.clean(&ALL, &["one".to_owned()], at(1_001), at(1_001)).await.unwrap();
    assert_eq!(
        outbox.backlog(&ALL, "one").await.unwrap().events,
        23,
        "a configured receiver keeps its events"
    );
    outbox.clean(&ALL, &[], at(1_001), at(1_001)).await.unwrap();
    assert_eq!(outbox.backlog(&ALL, "one").await.unwrap(), Backlog::default());
    assert_eq!(outbox.open(&ALL).await.unwrap().len(), 3, "open broadcasts stay");
}

/// Checks the contract with nodes over the database at an address.
async fn check(url: &str) {
    let config = config::read(["aforo", "--database-url", url]).unwrap().database;
    let open = async || {
        let database = Database::open(&config).await.unwrap();
        tokio::spawn(database.clone().run());
        until("contact with the database", async || database.is_available()).await;
        database
    };
    check_contract(open().await, open().await).await;
    // Everything is still there after a restart.
    assert_eq!(Outbox::new(open().await).open(&ALL).await.unwrap().len(), 3);
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = TempDir::new().unwrap();
    check(&format!("sqlite:{}/aforo.db", folder.path().display())).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    check(&Postgres::shared().await.database().await).await;
}
