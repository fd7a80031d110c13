//! Broadcasts in the past, written into a database as nodes would have written them.

use std::path::Path;

use aforo::{
    domain::{ChannelId, Timestamp, ViewerId},
    server::{
        config::DatabaseConfig,
        database::{Archive, Database, OnAir, Row, RowKind, Sight},
        history::{HashKey, Minute, Place, Sketch, Span},
    },
};
use tempfile::TempDir;

use super::viewer;

const MINUTE: u64 = 60_000;

/// The random number of the node that has written.
const NODE: u64 = 7;

/// A database with a past.
pub struct Past {
    archive: Archive,
    /// The flag with which a server uses this database.
    pub flag: String,
    _folder: Option<TempDir>,
}

impl Past {
    /// An empty database.
    pub async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let past = Self::in_folder(folder.path()).await;
        Self { _folder: Some(folder), ..past }
    }

    /// A database in the folder of a server's data.
    pub async fn in_folder(folder: &Path) -> Self {
        let file = folder.join("aforo.db");
        let flag = format!("--database-url=sqlite:{}", file.display());
        let database = Database::open(&DatabaseConfig::Sqlite(file)).await.unwrap();
        Self { archive: Archive::new(database), flag, _folder: None }
    }

    /// Writes the minutes of a channel from `start` on. `count`: the viewers in each minute; `None` if nothing is known.
    /// `places`: who is new in each minute: the viewers of the site, and those of a host.
    pub async fn minutes(
        &self,
        channel: &str,
        start: u64,
        minutes: u64,
        count: impl Fn(u64) -> Option<u32>,
        places: impl Fn(u64) -> (u32, Option<&'static str>),
    ) {
        let part = ChannelId::parse(channel).unwrap().part();
        let mut rows = Vec::new();
        for nth in 0..minutes {
            let from = start + nth * MINUTE;
            let mut minute = Minute::default();
            let Some(count) = count(nth) else { continue };
            for second in 0..60 {
                minute.watch(Timestamp::from_millis(from + second * 1_000), 1_000, count);
            }
            let (site, host) = places(nth);
            for _ in 0..site {
                minute.arrive(NODE, Place::Site);
                host.inspect(|host| minute.arrive(NODE, Place::Embed(host)));
            }
            let start = Timestamp::from_millis(from);
            let channel = channel.to_owned();
            let data = minute.encode();
            rows.push(Row { kind: RowKind::Minute, channel, part, start, node: NODE, data, held: None });
        }
        self.archive.store(&rows).await.unwrap();
    }

    /// Writes that a channel was on air, with this many distinct viewers.
    pub async fn broadcast(&self, channel: &str, from: u64, to: u64, uniques: u32) {
        let key = HashKey::new(*self.archive.id().unwrap().as_bytes());
        let mut sketch = Sketch::default();
        for _ in 0..uniques {
            sketch.insert(ViewerId::parse(&viewer().to_string()).unwrap(), &key);
        }
        let id = ChannelId::parse(channel).unwrap();
        let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
        let row = Row {
            kind: RowKind::Viewers,
            channel: channel.to_owned(),
            part: id.part(),
            start: from,
            node: NODE,
            data: sketch.encode(),
            held: None,
        };
        self.archive.store(&[row]).await.unwrap();
        self.archive
            .note_on_air(&[OnAir {
                channel: id,
                span: Span::new(from, to),
                observed_from: from,
                sight: Sight::Ended,
            }])
            .await
            .unwrap();
    }

    /// Merges what was written before an instant, as nodes do after some minutes.
    pub async fn compact(&self, before: u64) {
        for part in 0..ChannelId::PARTS {
            while self.archive.compact(part, Timestamp::from_millis(before)).await.unwrap() {}
        }
    }
}
