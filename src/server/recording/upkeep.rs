//! The upkeep of what is kept: merges rows, completes broadcasts and removes what is no longer kept. Each node does it for
//! the parts that it owns.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Recorder;
use crate::{
    domain::Timestamp,
    server::{
        database::{Archive, Retention},
        store_error::StoreError,
    },
};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(20);

/// How long after its end a window of minutes is merged, so that all nodes have written their last row of it.
const SETTLE: Duration = Duration::from_secs(130);

/// The length of a window, in milliseconds. A row of 15 minutes is made of all minutes in it, those of its part included.
const WINDOW_MS: u64 = 900_000;

/// Runs forever.
pub async fn run(recorder: Recorder, archive: Archive, retention: Retention) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The channel after which the removal continues.
    let mut cleaned = String::new();
    loop {
        rounds.tick().await;
        let now = recorder.now();
        if let Err(error) = round(&recorder, &archive, now).await {
            tracing::debug!(%error, "history not merged; retrying later");
        }
        if recorder.ownership().parts().contains(&0) {
            match archive.clean(&cleaned, retention, now).await {
                Ok(last) => cleaned = last.unwrap_or_default(),
                Err(error) => tracing::debug!(%error, "old history not removed; retrying later"),
            }
        }
    }
}

/// Lengthens the broadcasts of nodes that were killed, merges what is due in the parts of this node, and completes
/// broadcasts. What fails is left for the next round, and does not keep the rest from being done.
///
/// # Errors
/// The first error of the database.
pub async fn round(recorder: &Recorder, archive: &Archive, now: Timestamp) -> Result<(), StoreError> {
    // First, since it follows from rows that are merged below, and of broadcasts that are not complete. If it fails, both
    // must wait.
    while archive.lengthen_abandoned(now).await? {}
    // The row of a part says that its channels are empty, so no channel is merged before it.
    let settled = (now - SETTLE).min(recorder.progress().written_before()).as_millis();
    let before = Timestamp::from_millis(settled / WINDOW_MS * WINDOW_MS);
    let parts = recorder.ownership().parts();
    let mut result = Ok(());
    for part in &parts {
        result = result.and(merge(archive, *part, before).await);
    }
    if parts.contains(&0) {
        result = result.and(archive.complete(now).await);
    }
    result
}

async fn merge(archive: &Archive, part: u16, before: Timestamp) -> Result<(), StoreError> {
    while archive.compact(part, before).await? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;
    use crate::{
        domain::ChannelId,
        server::{
            clock::ManualClock,
            config::DatabaseConfig,
            database::{Database, OnAir, Row, RowKind, Sight},
            history::{Minute, Span},
        },
    };

    const START: u64 = 1_790_000_100_000;

    #[tokio::test]
    async fn a_part_that_fails_keeps_no_other_part_from_being_merged_and_no_broadcast_from_being_completed() {
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::open(&file).await.unwrap();
        let archive = Archive::new(database.clone());
        let at = |millis| Timestamp::from_millis(START + millis);
        let mut rows = Vec::new();
        for part in 0..ChannelId::PARTS {
            let mut names = (0..).map(|nth| ChannelId::parse(&format!("c{nth}")).unwrap());
            let channel = names.find(|channel| channel.part() == part).unwrap();
            let mut minute = Minute::default();
            minute.watch(at(0), 1_000, 3);
            let (channel, data) = (channel.to_string(), minute.encode());
            rows.push(Row { kind: RowKind::Minute, channel, part, start: at(0), node: 7, data, held: None });
        }
        archive.store(&rows).await.unwrap();
        let (broken, other) = (&rows[0].channel, ChannelId::parse(&rows[1].channel).unwrap());
        let span = Span::new(at(0), at(60_000));
        archive
            .note_on_air(&[OnAir { channel: other, span, observed_from: span.from, sight: Sight::Ended }])
            .await
            .unwrap();
        let refuse = format!(
            "CREATE TRIGGER broken BEFORE INSERT ON history WHEN NEW.channel = '{broken}' \
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        );
        sqlx::query(sqlx::AssertSqlSafe(refuse)).execute(database.pool()).await.unwrap();

        let clock = Arc::new(ManualClock::new(at(7_200_000)));
        let recorder = Recorder::new(7, Duration::ZERO, clock);
        let all: Vec<u16> = (0..ChannelId::PARTS).collect();
        recorder.ownership().set(&all, Instant::now() + Duration::from_secs(600));
        assert!(round(&recorder, &archive, recorder.now()).await.is_err());
        for (query, expected) in [
            ("SELECT COUNT(*) FROM fresh_minutes", 1),
            ("SELECT COUNT(DISTINCT channel) FROM history", i64::from(ChannelId::PARTS) - 1),
            ("SELECT COUNT(*) FROM broadcasts WHERE figures IS NOT NULL", 1),
        ] {
            let found: i64 = sqlx::query_scalar(query).fetch_one(database.pool()).await.unwrap();
            assert_eq!(found, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn what_waits_for_the_database_is_not_merged_before_its_part() {
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::open(&file).await.unwrap();
        let archive = Archive::new(database.clone());
        let at = |millis| Timestamp::from_millis(START + millis);
        let mut minute = Minute::default();
        minute.watch(at(0), 1_000, 3);
        let (channel, part) = ("ana".to_owned(), ChannelId::parse("ana").unwrap().part());
        let data = minute.encode();
        let row = Row { kind: RowKind::Minute, channel, part, start: at(0), node: 7, data, held: None };
        archive.store(&[row]).await.unwrap();
        let recorder = Recorder::new(7, Duration::ZERO, Arc::new(ManualClock::new(at(7_200_000))));
        recorder.ownership().set(&[part], Instant::now() + Duration::from_secs(600));
        for (waiting, expected) in [(Some(at(60_000)), 1), (None, 0)] {
            recorder.progress().wait_from(waiting);
            round(&recorder, &archive, recorder.now()).await.unwrap();
            let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM fresh_minutes")
                .fetch_one(database.pool())
                .await
                .unwrap();
            assert_eq!(left, expected, "{waiting:?}");
        }
    }
}
