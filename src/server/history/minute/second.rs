//! One second of a channel.

/// What was known of a channel's count within one second.
///
/// The integral of the count lies between its lowest and its highest value times the observed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Second {
    observed_ms: u16,
    watched_ms: u64,
    /// The lowest and the highest count.
    pub(super) counts: Option<(u32, u32)>,
}

impl Second {
    /// A second from its parts; `None` if they contradict each other.
    #[must_use]
    pub fn new(observed_ms: u16, watched_ms: u64, counts: Option<(u32, u32)>) -> Option<Self> {
        let (lowest, highest) = counts.unwrap_or_default();
        let between =
            u64::from(lowest) * u64::from(observed_ms)..=u64::from(highest) * u64::from(observed_ms);
        let is_known = counts.is_some() || observed_ms == 0;
        (observed_ms <= 1000 && lowest <= highest && is_known && between.contains(&watched_ms))
            .then_some(Self { observed_ms, watched_ms, counts })
    }

    /// Milliseconds in which the count was known, 0–1000.
    #[must_use]
    pub const fn observed_ms(&self) -> u16 {
        self.observed_ms
    }

    /// The integral of the count over them, in viewer-milliseconds.
    #[must_use]
    pub const fn watched_ms(&self) -> u64 {
        self.watched_ms
    }

    /// The lowest count that was seen.
    #[must_use]
    pub fn lowest(&self) -> Option<u32> {
        self.counts.map(|(lowest, _)| lowest)
    }

    /// The highest count that was seen.
    #[must_use]
    pub fn highest(&self) -> Option<u32> {
        self.counts.map(|(_, highest)| highest)
    }

    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.observed_ms == 0 && self.counts.is_none()
    }

    pub(super) fn note(&mut self, count: u32) {
        let (lowest, highest) = self.counts.unwrap_or((count, count));
        self.counts = Some((lowest.min(count), highest.max(count)));
    }

    /// Adds observed time with a count that was noted.
    pub(super) fn watch(&mut self, millis: u16, count: u32) {
        let millis = millis.min(1000 - self.observed_ms);
        self.observed_ms += millis;
        self.watched_ms += u64::from(millis) * u64::from(count);
    }

    /// Leaves out what was observed beyond `millis` milliseconds. The count is taken to have been lowest in what is left
    /// out.
    pub(super) fn limit(&mut self, millis: u16) {
        self.observed_ms = self.observed_ms.min(millis);
        let most = u64::from(self.observed_ms) * u64::from(self.highest().unwrap_or_default());
        self.watched_ms = self.watched_ms.min(most);
    }

    /// Takes the more complete observation, and the outer counts of both.
    pub(super) fn merge(&mut self, other: &Self) {
        (self.observed_ms, self.watched_ms) =
            (self.observed_ms, self.watched_ms).max((other.observed_ms, other.watched_ms));
        if let Some((lowest, highest)) = other.counts {
            self.note(lowest);
            self.note(highest);
        }
    }

    /// Counts time that was observed of `part`, but not of this second, as time with the count 0.
    pub(super) fn add_idle(&mut self, part: &Self) {
        if part.observed_ms > self.observed_ms {
            self.observed_ms = part.observed_ms;
            self.note(0);
        }
    }
}
