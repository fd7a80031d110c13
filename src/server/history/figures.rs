//! What is reported of a broadcast or another range.

use serde::{Deserialize, Serialize};

use super::{Joins, Sketch, Span, Tally};
use crate::domain::Timestamp;

/// The figures of a broadcast or another range.
///
/// `average` is `watch_seconds` ÷ (`observed` × the length of the range in seconds), up to floating-point rounding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The start, in milliseconds since the Unix epoch.
    pub started_at: Timestamp,
    /// The end; `None` while it is not known.
    pub ended_at: Option<Timestamp>,
    /// The highest count; `None` if no count was seen.
    pub peak: Option<u32>,
    /// When the peak was first reached.
    pub peak_at: Option<Timestamp>,
    /// The mean count over the observed time; `None` if nothing was observed.
    pub average: Option<f64>,
    /// The integral of the count over the observed time, in viewer-seconds.
    pub watch_seconds: f64,
    /// The number of distinct viewers: exact if small, else an estimate.
    pub uniques: u64,
    /// The share of the range in which the count was known, 0–1.
    pub observed: f64,
    /// Joins with and without a ticket, by the minute; absent if none was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
}

impl Figures {
    /// The figures of a range from its tally and its viewers. `range` ends now if the end is not known. The peak of a
    /// second in which the range starts or ends has the instant of that start or end, if it is not in the range.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "reported figures need no more than 53 bits")]
    pub fn new(range: Span, ended_at: Option<Timestamp>, tally: &Tally, viewers: &Sketch) -> Self {
        let observed_ms = tally.observed_ms.min(range.millis());
        let is_observed = observed_ms > 0;
        let watched_ms = tally.watched_ms as f64;
        let in_range = |at: Timestamp| {
            let at = at.max(range.from);
            ended_at.map_or(at, |end| at.min(end))
        };
        Self {
            started_at: range.from,
            ended_at,
            peak: tally.peak.map(|peak| peak.count),
            peak_at: tally.peak.map(|peak| in_range(peak.at)),
            average: is_observed.then(|| watched_ms / observed_ms as f64),
            watch_seconds: if is_observed { watched_ms / 1000.0 } else { 0.0 },
            uniques: viewers.count(),
            observed: if is_observed { observed_ms as f64 / range.millis() as f64 } else { 0.0 },
            joins: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::server::history::Peak;

    #[test]
    fn the_peak_is_not_before_the_start_or_after_the_end() {
        let at = Timestamp::from_millis;
        let range = Span::new(at(1_901), at(9_545));
        let peak_at = |seen: u64, ended_at: Option<Timestamp>| {
            let tally = Tally { peak: Some(Peak { count: 20, at: at(seen) }), ..Tally::default() };
            Figures::new(range, ended_at, &tally, &Sketch::default()).peak_at
        };
        assert_eq!(peak_at(1_000, None), Some(at(1_901)));
        assert_eq!(peak_at(5_000, None), Some(at(5_000)));
        assert_eq!(peak_at(9_700, None), Some(at(9_700)), "it goes on");
        assert_eq!(peak_at(9_700, Some(range.to)), Some(at(9_545)));
    }

    #[test]
    fn figures_that_were_kept_without_joins_are_read_and_say_nothing_of_them() {
        let kept = json!({
            "startedAt": 1, "endedAt": 2, "peak": 3, "peakAt": 1, "average": 2.5, "watchSeconds": 4.5, "uniques": 6,
            "observed": 0.5,
        });
        let mut figures: Figures = serde_json::from_value(kept.clone()).unwrap();
        assert_eq!(figures.joins, None);
        assert_eq!(serde_json::to_value(&figures).unwrap(), kept);
        figures.joins = Some(Joins { with_ticket: 7, without_ticket: 8 });
        let written: Value = serde_json::to_value(&figures).unwrap();
        assert_eq!(written["joins"], json!({"withTicket": 7, "withoutTicket": 8}));
        assert_eq!(serde_json::from_value::<Figures>(written).unwrap(), figures);
    }
}
