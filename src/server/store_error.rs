//! Why a store, or the Redis under it, could not do what it was asked for.

/// The store could not do it. The message is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It did not answer, or not in time.
    #[error("the store does not answer: {0}")]
    Unreachable(String),
    /// It answered that it can't: it is read-only, or out of memory, say.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// What is in this channel's keys can't be read. The next write starts the channel anew.
    #[error("what the store has of a channel is damaged")]
    Damaged,
    /// A later version of this program keeps the channel in a format that this version can't read or write.
    #[error("a later version keeps this channel in a newer format")]
    Newer,
}

impl StoreError {
    /// It answered something that no version of ours does.
    pub(crate) fn unexpected() -> Self {
        Self::Refused("an answer that is not understood".to_owned())
    }
}
