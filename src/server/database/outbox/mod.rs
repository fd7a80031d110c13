//! The outbox: what was announced of broadcasts, and the events that receivers have not taken yet.
//!
//! Promises:
//! - [`Outbox::announce`] changes what was announced and adds the events in one transaction, if nobody else has announced
//!   anything of the broadcast since it was read. So an event is added once, and no crash loses it.
//! - An event waits for each receiver by itself until it is removed.
//! - An event is not due while an older one of its channel waits for the same receiver and has failed less than
//!   [`HOLDING_ATTEMPTS`] times. The wait is in the row, so looking for what is due costs the same however much waits.

mod announce;
mod deliver;
mod held;
mod upkeep;

use std::{collections::BTreeSet, sync::Arc};

use sqlx::{Any, Row as _, Transaction, any::AnyRow};

use super::{
    Batch, CALL_LIMIT, Database,
    columns::{millis, optional_time},
    gather::{Canceled, Gatherer},
};

pub use self::{
    announce::{Announced, Announcement, NewEvent, Open},
    deliver::{Delivery, Outcome},
    held::HOLDING_ATTEMPTS,
    upkeep::Backlog,
};

/// The number of the lock of the first part of the channels, which writers of its events hold.
const FIRST_LOCK: i64 = 64;

/// The outbox in a [`Database`]. Cloning is cheap.
#[derive(Clone)]
pub struct Outbox {
    database: Database,
    /// The sizes of the transactions that drop events.
    drops: Arc<Batch>,
    outcomes: Arc<Gatherer<Outcome, ()>>,
}

impl Outbox {
    /// The outbox in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let outcomes = Arc::new(Gatherer::new(Canceled::Runs, CALL_LIMIT));
        Self { database, drops: Arc::new(Batch::new(upkeep::MAX_DROPPED)), outcomes }
    }

    /// Begins a transaction that writes events of these parts. All nodes lock the parts in the same order.
    async fn begin(&self, parts: &BTreeSet<u16>) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        for part in parts {
            self.database.lock(&mut transaction, FIRST_LOCK + i64::from(*part)).await?;
        }
        Ok(transaction)
    }
}

fn count(row: &AnyRow, column: &str) -> Result<u32, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}
