//! The errors of a store, of the Redis behind it, and of the database.

/// Why a store operation failed. The message is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store did not respond in time.
    #[error("the store does not respond: {0}")]
    Unreachable(String),
    /// The database is away, busy or overloaded. Its own log lines say more.
    #[error("the database is away: {0}")]
    Away(String),
    /// The store returned an error, for example because it is read-only or out of memory.
    #[error("the store refused the operation: {0}")]
    Refused(String),
    /// The data of this channel can't be read. The next write replaces it.
    #[error("the channel's data in the store is damaged")]
    Damaged,
    /// A later version of this program keeps the channel in a format that this version can't read or write.
    #[error("a later version keeps the channel in a newer format")]
    Newer,
}

impl StoreError {
    /// The error for a response of an unknown form.
    pub(crate) fn unexpected() -> Self {
        Self::Refused("unexpected response".to_owned())
    }

    /// The error for a call that arrived so late that the store did not apply it.
    pub(crate) fn late() -> Self {
        Self::Unreachable("the call arrived late".to_owned())
    }
}
