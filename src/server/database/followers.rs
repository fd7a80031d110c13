//! Followers in the database. Calls that arrive together are one query, or one transaction.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row, any::AnyArguments, query::Query};

use super::{
    CALL_LIMIT, Database,
    gather::{Canceled, Gatherer},
};
use crate::{
    domain::{ChannelId, ViewerId},
    server::{follows::Followers, store_error::StoreError},
};

/// The most rows in a statement. Databases limit the number of parameters.
const MAX_ROWS: usize = 256;

/// The followers of channels in a [`Database`].
pub struct DatabaseFollowers {
    database: Database,
    changes: Gatherer<Change, u32>,
    questions: Gatherer<Follower, bool>,
    counts: Gatherer<ChannelId, u32>,
}

type Follower = (ChannelId, ViewerId);

/// A change of one follower.
struct Change {
    follower: Follower,
    follows: bool,
}

impl DatabaseFollowers {
    /// Followers in `database`. Calls are answered while [`DatabaseFollowers::run`] runs.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            // A change goes on when its browser has left the page.
            changes: Gatherer::new(Canceled::Runs, CALL_LIMIT),
            questions: Gatherer::new(Canceled::Dropped, CALL_LIMIT),
            counts: Gatherer::new(Canceled::Dropped, CALL_LIMIT),
        }
    }

    /// Runs the calls, forever.
    pub async fn run(&self) {
        let database = &self.database;
        futures::join!(
            self.changes.run(|changes, until| async move {
                database.write_until(until, write(database, &changes)).await
            }),
            self.questions.run(|followers, until| async move {
                database.read_until(until, has(database, &followers)).await
            }),
            self.counts.run(|channels, until| async move {
                database.read_until(until, counts(database, &channels)).await
            }),
        );
    }

    /// Waits until all changes so far are written, but no longer than `limit`. Returns whether they are.
    pub async fn flush(&self, limit: Duration) -> bool {
        self.changes.flush(limit).await
    }
}

#[async_trait]
impl Followers for DatabaseFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        self.changes.call(Change { follower: (channel.clone(), viewer), follows }).await
    }

    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError> {
        self.questions.call((channel.clone(), viewer)).await
    }

    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        self.counts.call(channel.clone()).await
    }
}

/// Whether each of these followers exists.
async fn has(database: &Database, followers: &[Follower]) -> Result<Vec<bool>, sqlx::Error> {
    let mut connection = database.pool().acquire().await?;
    let found = existing(&mut connection, followers).await?;
    Ok(followers.iter().map(|follower| found.contains(follower)).collect())
}

/// The number of followers of each channel.
async fn counts(database: &Database, channels: &[ChannelId]) -> Result<Vec<u32>, sqlx::Error> {
    let mut found = HashMap::new();
    for some in channels.chunks(MAX_ROWS).map(padded) {
        let statement = format!(
            "SELECT channel, followers FROM follower_counts WHERE channel IN ({})",
            each(some.len(), 1, ", ", |at| format!("${at}"))
        );
        let query = sqlx::query(AssertSqlSafe(statement));
        let query = some.into_iter().fold(query, |query, channel| query.bind(channel.to_string()));
        for row in query.fetch_all(database.pool()).await? {
            found.insert(row.try_get::<String, _>(0)?, to_u32(row.try_get(1)?));
        }
    }
    Ok(channels.iter().map(|channel| found.get(channel.as_str()).copied().unwrap_or_default()).collect())
}

/// Writes changes in one transaction. Returns the number of followers after each change. The number of statements does
/// not grow with the number of changes, up to [`MAX_ROWS`].
async fn write(database: &Database, changes: &[Change]) -> Result<Vec<u32>, sqlx::Error> {
    let followers: BTreeSet<_> = changes.iter().map(|change| change.follower.clone()).collect();
    let followers: Vec<_> = followers.into_iter().collect();
    let mut transaction = database.begin().await?;
    let stored = lock(&mut transaction, &followers).await?;
    let before = existing(&mut transaction, &followers).await?;

    let (mut now, mut numbers) = (before.clone(), stored.clone());
    let mut answers = Vec::with_capacity(changes.len());
    for Change { follower, follows } in changes {
        let number = numbers.entry(follower.0.clone()).or_default();
        if *follows {
            *number += i64::from(now.insert(follower.clone()));
        } else {
            *number -= i64::from(now.remove(follower));
        }
        answers.push(to_u32(*number));
    }
    insert(&mut transaction, now.difference(&before)).await?;
    delete(&mut transaction, before.difference(&now)).await?;
    numbers.retain(|channel, number| *number <= 0 || stored.get(channel) != Some(number));
    set_numbers(&mut transaction, numbers).await?;
    transaction.commit().await?;
    Ok(answers)
}

/// Locks the numbers of channels until the end of the transaction, and returns them. All nodes lock channels first, and
/// in the same order, so they can't wait for each other in a circle.
async fn lock(
    connection: &mut AnyConnection,
    followers: &[Follower],
) -> Result<BTreeMap<ChannelId, i64>, sqlx::Error> {
    let channels: BTreeSet<_> = followers.iter().map(|(channel, _)| channel).collect();
    let channels: Vec<_> = channels.into_iter().collect();
    let mut numbers = BTreeMap::new();
    for some in pieces(&channels) {
        // An update locks a row, even if it changes nothing.
        let statement = format!(
            "INSERT INTO follower_counts (channel, followers) VALUES {} ON CONFLICT (channel) \
             DO UPDATE SET followers = follower_counts.followers RETURNING channel, followers",
            each(some.len(), 1, ", ", |at| format!("(${at}, 0)"))
        );
        let query = sqlx::query(AssertSqlSafe(statement));
        let query = some.iter().fold(query, |query, channel| query.bind(channel.to_string()));
        for row in query.fetch_all(&mut *connection).await? {
            let name: String = row.try_get(0)?;
            let channel = some.iter().find(|channel| channel.as_str() == name);
            numbers.insert(ChannelId::clone(channel.ok_or(sqlx::Error::RowNotFound)?), row.try_get(1)?);
        }
    }
    Ok(numbers)
}

/// Those of `followers` that exist.
async fn existing(
    connection: &mut AnyConnection,
    followers: &[Follower],
) -> Result<BTreeSet<Follower>, sqlx::Error> {
    let mut found = HashSet::new();
    for some in followers.chunks(MAX_ROWS).map(padded) {
        let statement = format!("SELECT channel, viewer FROM followers WHERE {}", any_of(some.len()));
        for row in bound(&statement, some).fetch_all(&mut *connection).await? {
            found.insert((row.try_get::<String, _>(0)?, row.try_get::<Vec<u8>, _>(1)?));
        }
    }
    let exists = |(channel, viewer): &&Follower| found.contains(&(channel.to_string(), id(*viewer)));
    Ok(followers.iter().filter(exists).cloned().collect())
}

async fn insert(
    connection: &mut AnyConnection,
    followers: impl Iterator<Item = &Follower>,
) -> Result<(), sqlx::Error> {
    for some in followers.collect::<Vec<_>>().chunks(MAX_ROWS).map(padded) {
        let rows = each(some.len(), 2, ", ", |at| format!("(${at}, ${})", at + 1));
        let statement =
            format!("INSERT INTO followers (channel, viewer) VALUES {rows} ON CONFLICT DO NOTHING");
        bound(&statement, some.into_iter().copied()).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn delete(
    connection: &mut AnyConnection,
    followers: impl Iterator<Item = &Follower>,
) -> Result<(), sqlx::Error> {
    for some in followers.collect::<Vec<_>>().chunks(MAX_ROWS).map(padded) {
        let statement = format!("DELETE FROM followers WHERE {}", any_of(some.len()));
        bound(&statement, some.into_iter().copied()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Stores the numbers of locked channels. A channel without followers has no row.
async fn set_numbers(
    connection: &mut AnyConnection,
    numbers: BTreeMap<ChannelId, i64>,
) -> Result<(), sqlx::Error> {
    let (some, none): (Vec<_>, Vec<_>) = numbers.into_iter().partition(|(_, number)| *number > 0);
    for some in pieces(&some) {
        let statement = format!(
            "INSERT INTO follower_counts (channel, followers) VALUES {} ON CONFLICT (channel) \
             DO UPDATE SET followers = excluded.followers",
            each(some.len(), 2, ", ", |at| format!("(${at}, ${})", at + 1))
        );
        let query = sqlx::query(AssertSqlSafe(statement));
        let query =
            some.iter().fold(query, |query, (channel, number)| query.bind(channel.to_string()).bind(*number));
        query.execute(&mut *connection).await?;
    }
    for none in none.chunks(MAX_ROWS).map(padded) {
        let statement = format!(
            "DELETE FROM follower_counts WHERE channel IN ({})",
            each(none.len(), 1, ", ", |at| format!("${at}"))
        );
        let query = sqlx::query(AssertSqlSafe(statement));
        let query = none.into_iter().fold(query, |query, (channel, _)| query.bind(channel.to_string()));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A statement with the columns of followers as its parameters.
fn bound<'f>(
    statement: &str,
    followers: impl IntoIterator<Item = &'f Follower>,
) -> Query<'static, Any, AnyArguments> {
    let query = sqlx::query(AssertSqlSafe(statement));
    let bind = |query: Query<'static, Any, AnyArguments>, (channel, viewer): &Follower| {
        query.bind(channel.to_string()).bind(id(*viewer))
    };
    followers.into_iter().fold(query, bind)
}

/// The condition that a row is one of `count` followers. (SQLite would search the whole table for a list of pairs.)
fn any_of(count: usize) -> String {
    each(count, 2, " OR ", |at| format!("(channel = ${at} AND viewer = ${})", at + 1))
}

/// A part for each of `count` rows. Each part gets the number of its first parameter.
fn each(count: usize, columns: usize, between: &str, part: impl Fn(usize) -> String) -> String {
    (0..count).map(|row| part(1 + row * columns)).collect::<Vec<_>>().join(between)
}

/// The items, with the last one repeated up to a power of two. So there are few different statements, which databases
/// prepare once.
fn padded<T>(items: &[T]) -> Vec<&T> {
    let missing = items.len().next_power_of_two() - items.len();
    items.iter().chain(items.last().into_iter().cycle().take(missing)).collect()
}

/// The items in pieces of powers of two, for statements that may not repeat an item.
pub(super) fn pieces<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let (piece, rest) = items.split_at(MAX_ROWS.min(1 << items.len().checked_ilog2()?));
        items = rest;
        Some(piece)
    })
}

fn id(viewer: ViewerId) -> Vec<u8> {
    viewer.uuid().as_bytes().to_vec()
}

/// A stored number as the API has it.
fn to_u32(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_a_parameter_for_each_value() {
        assert_eq!(any_of(1), "(channel = $1 AND viewer = $2)");
        assert_eq!(each(3, 2, ", ", |at| format!("(${at}, ${})", at + 1)), "($1, $2), ($3, $4), ($5, $6)");
    }

    #[test]
    fn there_are_few_different_statements() {
        assert_eq!(padded(&[1, 2, 3]), [&1, &2, &3, &3]);
        assert_eq!(padded(&[1]), [&1]);
        assert!(MAX_ROWS.is_power_of_two(), "padding does not exceed it");
        let items: Vec<_> = (0..600).collect();
        let sizes = |items| pieces(items).map(<[u32]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&items), [256, 256, 64, 16, 8]);
        assert_eq!(sizes(&items[..1]), [1]);
        assert!(sizes(&[]).is_empty());
        assert_eq!(pieces(&items).collect::<Vec<_>>().concat(), items);
    }

    #[test]
    fn a_number_beyond_the_range_is_not_zero() {
        assert_eq!([-1, 0, 7, i64::MAX].map(to_u32), [0, 0, 7, u32::MAX]);
    }
}
