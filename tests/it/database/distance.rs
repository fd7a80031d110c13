//! PostgreSQL a network hop away: however long a round trip takes, what many channels need at once is written.

use std::time::Duration;

use aforo::{
    domain::{ChannelId, Timestamp, signal::Report},
    server::{
        database::{Archive, Database, DatabaseSignals, Row, RowKind, part_key},
        history::{Cuts, Minute, Zone},
        signals::SignalStore,
    },
};
use futures::{StreamExt, future::join_all, stream};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::TestDatabase;
use crate::support::{NO_LIMITS, PATIENCE, Postgres, SlowLink, TestApp, viewer};

/// With a round trip for each item, no call that writes a thousand of them at once would end in time.
const DELAY: Duration = Duration::from_millis(10);

const START: u64 = 1_790_000_100_000;

/// A database, its address, its address over a slow link, and the link.
async fn distant() -> (String, String, SlowLink) {
    let server = Postgres::shared().await;
    let url = server.database().await;
    let link = SlowLink::to(server.port, DELAY).await;
    let distant = url.replace(&format!(":{}/", server.port), &format!(":{}/", link.port));
    (url, distant, link)
}

async fn open(url: &str) -> Database {
    Database::open(&TestDatabase::at(url).config()).await.unwrap()
}

/// The number of rows of a table.
async fn rows(url: &str, table: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let query = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn the_minutes_of_a_thousand_channels_are_merged() {
    let (url, distant, _link) = distant().await;
    let (near, far) = (Archive::new(open(&url).await), Archive::new(open(&distant).await));
    let all = (0..).map(|nth| ChannelId::parse(&format!("c{nth}")).unwrap());
    let channels: Vec<ChannelId> = all.filter(|channel| channel.part() == 3).take(1_000).collect();
    let at = Timestamp::from_millis;
    let names = channels.iter().map(ToString::to_string).chain([part_key(3)]);
    let minute = |count| {
        let mut minute = Minute::default();
        for second in 0..60 {
            minute.watch(at(START + second * 1_000), 1_000, count);
        }
        minute
    };
    let rows_of_all: Vec<Row> = names
        .map(|channel| {
            let data = minute(if channel == part_key(3) { 0 } else { 5 }).encode();
            Row { kind: RowKind::Minute, channel, part: 3, start: at(START), node: 7, data, held: None }
        })
        .collect();
    near.store(&rows_of_all).await.unwrap();

    // A call may need too long, but then the next one has less to do.
    let mut failures = 0;
    loop {
        match far.compact(3, at(START + 300_000)).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                failures += 1;
                assert!(failures < 12, "{error}");
            }
        }
    }
    assert_eq!(rows(&url, "fresh_minutes").await, 0);
    assert_eq!(rows(&url, "history").await, 2 * 1_001);
    let cuts = Cuts::new(at(START), at(START + 300_000), Some(300), &Zone::utc()).unwrap();
    for channel in channels.iter().step_by(200) {
        let points = near.points(channel, &cuts).await.unwrap();
        assert_eq!(points[0].tally.peak.map(|peak| peak.count), Some(5), "{channel}");
    }
}

#[tokio::test]
async fn the_broadcasts_of_many_channels_that_begin_at_once_are_written() {
    let (url, distant, _link) = distant().await;
    let app = TestApp::with(&[&[&*format!("--database-url={distant}")][..], &NO_LIMITS].concat()).await;
    stream::iter(0..1_000)
        .for_each_concurrent(50, async |nth| {
            let who = json!({"channelId": format!("c{nth}"), "viewerId": viewer()});
            app.post("/api/viewer/join", &who).await;
        })
        .await;
    let written = async {
        while rows(&url, "broadcasts").await < 1_000 {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(2 * PATIENCE, written).await.expect("all broadcasts are written");
}

#[tokio::test]
async fn a_thousand_channels_that_a_video_server_reports_at_once_go_on_air() {
    let (url, distant, _link) = distant().await;
    let signals = DatabaseSignals::new(open(&distant).await);
    let reports = (0..1_000).map(|nth| {
        let channel = ChannelId::parse(&format!("c{}", nth % 900)).unwrap();
        let (signals, report) = (&signals, Report::OnAir { started_at: None, publisher: None });
        async move { signals.report(&channel, report).await }
    });
    let changes = tokio::select! {
        () = signals.run() => unreachable!("it runs forever"),
        changes = join_all(reports) => changes,
    };
    let failed = changes.iter().filter(|change| change.is_err()).count();
    assert_eq!(failed, 0);
    assert_eq!(rows(&url, "signals WHERE on_air = 1").await, 900);
}
