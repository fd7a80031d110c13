//! The order of the events of a channel: which of them waits for an older one. [`release`] makes the next one due, in the
//! transaction that adds it or takes away what held it.

use sqlx::{Any, AssertSqlSafe, Transaction};

use super::millis;
use crate::domain::{ChannelId, Timestamp};

/// The attempts after which a waiting event no longer holds up the later events of its channel.
pub const HOLDING_ATTEMPTS: u32 = 3;

/// When an event is due that waits for an older one.
pub(super) const HELD: i64 = i64::MAX;

/// Makes the oldest held event of a channel due, unless another one holds it.
pub(super) async fn release(
    transaction: &mut Transaction<'_, Any>,
    channel: &ChannelId,
    receiver: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let statement = format!(
        "UPDATE deliveries SET due_at = $1 WHERE channel = $2 AND receiver = $3 AND number = (SELECT MIN(number) \
         FROM deliveries WHERE channel = $2 AND receiver = $3 AND due_at = {HELD}) AND NOT EXISTS (SELECT 1 \
         FROM deliveries holder WHERE holder.channel = $2 AND holder.receiver = $3 \
         AND holder.attempts < {HOLDING_ATTEMPTS} AND holder.due_at < {HELD})"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(millis(now))
        .bind(channel.as_str().to_owned())
        .bind(receiver.to_owned())
        .execute(&mut **transaction)
        .await
        .map(drop)
}
