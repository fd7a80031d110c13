//! Instants in columns: milliseconds since the epoch.

use sqlx::{Row as _, any::AnyRow};

use crate::domain::Timestamp;

/// An instant for a column.
pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// The instant in a column. A negative one is the epoch.
pub(super) fn time(row: &AnyRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    Ok(optional_time(row, column)?.unwrap_or_default())
}

/// The instant in a column; `None` if it is negative.
pub(super) fn optional_time(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    let millis: i64 = row.try_get(column)?;
    Ok(u64::try_from(millis).ok().map(Timestamp::from_millis))
}
