//! How many items one call writes. The network and the database decide how long an item takes, and every call has a limit
//! of time. A batch that is too large for it would fail each time, and nothing would ever be written.
//!
//! Promises:
//! - After a call that took longer than half of [`CALL_LIMIT`] the next one has half as many items, down to one.
//! - After a call with a full batch that took less than a quarter of it, the next one has twice as many, and after another
//!   one in time an eighth more, up to the maximum: a part of the time of a call does not depend on its size.
//! - A call that fails at once says nothing about its size, so it changes nothing.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::CALL_LIMIT;

/// The first batch is smaller than the maximum by this factor.
const FIRST_SHARE: usize = 8;

/// The size of the batches of one kind of call.
#[derive(Debug)]
pub struct Batch {
    most: usize,
    size: AtomicUsize,
}

impl Batch {
    /// Batches of at most `most` items.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        let first = most / FIRST_SHARE;
        Self { most, size: AtomicUsize::new(if first > 0 { first } else { 1 }) }
    }

    /// The most items of the next call.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    /// Runs a call that writes this many items, and adapts the size of the next one.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn run<T, E>(&self, items: usize, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let result = call.await;
        self.adapt(items, began.elapsed(), result.is_ok());
        result
    }

    /// Adapts the size after a call with this many items.
    pub fn adapt(&self, items: usize, took: Duration, has_succeeded: bool) {
        let size = self.size();
        if took >= CALL_LIMIT / 2 {
            self.size.store((size.min(items) / 2).max(1), Relaxed);
        } else if has_succeeded && items >= size {
            let more = if took < CALL_LIMIT / 4 { size } else { size.div_ceil(8) };
            self.size.store((size + more).min(self.most), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Writes as many items as `batch` allows, each of which takes `each`. Returns the number of those written.
    async fn write(batch: &Batch, each: Duration) -> usize {
        let items = batch.size();
        let call = timeout(CALL_LIMIT, sleep(each * u32::try_from(items).unwrap()));
        batch.run(items, call).await.map_or(0, |()| items)
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_finds_the_size_that_is_written_in_time_and_grows_again() {
        let batch = Batch::new(512);
        let mut sizes = Vec::new();
        for millis in [1, 1, 1, 1, 20, 20, 20, 1_500, 1_500, 1_500, 1_500, 1_500, 1_500, 3_000, 1, 1] {
            sizes.push(write(&batch, Duration::from_millis(millis)).await);
        }
        // From a rare item that takes 3 s on, one is written at a time.
        assert_eq!(sizes, [64, 128, 256, 512, 0, 0, 128, 0, 0, 0, 0, 0, 2, 1, 1, 2]);
    }

    #[test]
    fn only_full_calls_in_time_enlarge_a_batch_and_failures_at_once_change_nothing() {
        let batch = Batch::new(80);
        let quick = Duration::from_millis(5);
        for (items, took, has_succeeded, size) in [
            (9, quick, true, 10),
            (10, CALL_LIMIT / 3, true, 12),
            (12, quick, false, 12),
            (12, quick, true, 24),
            (24, quick, true, 48),
            (48, quick, true, 80),
            (80, quick, true, 80),
            (80, CALL_LIMIT, false, 40),
            (40, CALL_LIMIT / 2, true, 20),
            // What has taken long was a smaller batch.
            (7, CALL_LIMIT, false, 3),
            (1, CALL_LIMIT, false, 1),
            (0, CALL_LIMIT, false, 1),
        ] {
            batch.adapt(items, took, has_succeeded);
            assert_eq!(batch.size(), size, "after {items} items in {took:?}, {has_succeeded}");
        }
        assert_eq!(Batch::new(3).size(), 1);
    }
}
