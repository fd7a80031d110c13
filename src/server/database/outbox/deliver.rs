//! Deliveries: the events that are due for a receiver, and their outcomes. When [`Outbox::settle`] returns without an
//! error, the outcome is in the database.

use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{Outbox, count, held::release, millis};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{database::archive::numbers, store_error::StoreError},
};

/// An event that waits for a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The id of the event.
    pub event: String,
    /// The channel.
    pub channel: ChannelId,
    /// The body of the request.
    pub body: String,
    /// The attempts so far.
    pub attempts: u32,
}

/// The outcome of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The channel of the event.
    pub channel: ChannelId,
    /// The event.
    pub event: String,
    /// The receiver.
    pub receiver: String,
    /// How many attempts have failed, and when the next one is due. `None`: the receiver has taken the event, or it is
    /// given up.
    pub again: Option<(u32, Timestamp)>,
    /// When it came.
    pub now: Timestamp,
}

impl Outbox {
    /// The events of some parts that are due for a receiver, those that are due longest first, without those of some
    /// channels. There may be several of a channel.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due(
        &self,
        parts: &[u16],
        receiver: &str,
        without: &[ChannelId],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let places: String = (0..without.len()).map(|nth| format!(", ${}", nth + 4)).collect();
        let work = async {
            // No channel has an empty name.
            let statement = format!(
                "SELECT event, channel, body, attempts FROM deliveries WHERE receiver = $1 AND due_at <= $2 \
                 AND part IN ({}) AND channel NOT IN (''{places}) ORDER BY due_at, number LIMIT $3",
                numbers(parts)
            );
            let mut query = sqlx::query(AssertSqlSafe(statement))
                .bind(receiver.to_owned())
                .bind(millis(now))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX));
            for channel in without {
                query = query.bind(channel.as_str().to_owned());
            }
            let rows = query.fetch_all(self.database.pool()).await?;
            let mut due = Vec::new();
            for row in &rows {
                due.extend(delivery(row)?);
            }
            Ok(due)
        };
        self.database.read(Box::pin(work)).await
    }

    /// Writes the outcomes of deliveries that [`Outbox::settle`] gets, forever. Those that arrive together are one
    /// transaction.
    pub async fn run(&self) {
        let write = |outcomes: Vec<Outcome>, until| async move {
            self.database.write_until(until, Box::pin(self.settle_all(&outcomes))).await?;
            Ok(vec![(); outcomes.len()])
        };
        self.outcomes.run(write).await;
    }

    /// Writes the outcome of a delivery, while [`Outbox::run`] runs. The next event of the channel is due then, unless
    /// another one holds it.
    ///
    /// # Errors
    /// When the database fails. The outcome may have been written.
    pub async fn settle(&self, outcome: Outcome) -> Result<(), StoreError> {
        self.outcomes.call(outcome).await
    }

    async fn settle_all(&self, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
        let parts = outcomes.iter().map(|outcome| outcome.channel.part()).collect();
        let mut transaction = self.begin(&parts).await?;
        for Outcome { channel, event, receiver, again, now } in outcomes {
            let statement = match again {
                None => "DELETE FROM deliveries WHERE event = $1 AND receiver = $2",
                Some(_) => {
                    "UPDATE deliveries SET attempts = $3, due_at = $4 \
                     WHERE event = $1 AND receiver = $2 AND attempts < $3"
                }
            };
            let mut statement = sqlx::query(statement).bind(event.clone()).bind(receiver.clone());
            if let Some((attempts, due_at)) = again {
                statement = statement.bind(i64::from(*attempts)).bind(millis(*due_at));
            }
            statement.execute(&mut *transaction).await?;
            release(&mut transaction, channel, receiver, *now).await?;
        }
        transaction.commit().await
    }
}

fn delivery(row: &AnyRow) -> Result<Option<Delivery>, sqlx::Error> {
    let Ok(channel) = ChannelId::parse(row.try_get("channel")?) else { return Ok(None) };
    Ok(Some(Delivery {
        event: row.try_get("event")?,
        channel,
        body: row.try_get("body")?,
        attempts: count(row, "attempts")?,
    }))
}
